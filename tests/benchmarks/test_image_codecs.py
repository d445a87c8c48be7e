import zlib

import numpy as np
import pytest

from benchmarks.image_codecs import decoders, lines_of, measure, packers, print_table, writers
from benchmarks.serving.images import make
from model_zoo.labels import VOC_CLASSES, voc_palette
from service.masks.encoder import LabelledMask
from service.masks.png import encode_png

MASK = LabelledMask(
    mask=np.tile(np.arange(8, dtype=np.uint8), (6, 5)),
    model="",
    version="",
    classes=VOC_CLASSES,
    palette=voc_palette(),
    probability_sums=(0.0,) * 21,
)


def test_the_lines_of_a_mask_are_its_rows_with_a_filter_each() -> None:
    assert len(lines_of(encode_png(MASK))) == 6 * (1 + 40)


def test_every_packer_packs() -> None:
    data = lines_of(encode_png(MASK))

    packed = [pack(data) for _, pack in packers()]

    assert all(isinstance(each, bytes) and zlib.decompress(each) == data for each in packed)


def test_writers_are_timed_in_every_round_and_what_they_write_has_a_size(capsys: pytest.CaptureFixture[str]) -> None:
    times, sizes = measure(dict(writers()), [MASK], rounds=3)
    print_table("ms", dict(writers()), {"0 MP": [MASK]}, rounds=1)

    assert {len(each) for each in times.values()} == {3}
    assert sizes["service"] == len(encode_png(MASK))
    assert "| service | " in capsys.readouterr().out


def test_what_is_read_has_no_size() -> None:
    _, sizes = measure(dict(decoders()), make("256")[:1], rounds=1)

    assert sizes == {}
