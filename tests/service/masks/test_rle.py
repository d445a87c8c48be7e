import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from model_zoo.labels import voc_palette
from service.masks.encoder import LabelledMask, Mask
from service.masks.rle import RleAnswer, compress, encode_rle

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own

MASKS = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=30), elements=st.integers(0, 3)) | arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=30), elements=st.sampled_from([0, 0, 0, 0, 0, 0, 254])
)


def answer_for(mask: Mask) -> RleAnswer:
    sums = np.bincount(mask.ravel(), minlength=255) * 0.25
    labelled = LabelledMask(mask, "m", "1", [f"class {i}" for i in range(255)], voc_palette(255), sums.tolist())
    return RleAnswer.model_validate_json(encode_rle(labelled))


@given(MASKS)
def test_pycocotools_reads_the_very_mask(mask: Mask) -> None:
    answer = answer_for(mask)

    rebuilt = np.full_like(mask, 255)
    for segment in answer.segments:
        rebuilt[coco.decode(segment.rle.model_dump()).astype(bool)] = segment.class_id
    np.testing.assert_array_equal(rebuilt, mask)


@given(MASKS)
def test_counts_area_and_box_are_those_of_pycocotools(mask: Mask) -> None:
    for segment in answer_for(mask).segments:
        reference = coco.encode(np.asfortranarray(mask == segment.class_id))

        assert segment.rle.counts == reference["counts"].decode()
        assert segment.rle.size == tuple(reference["size"]) == mask.shape
        assert segment.area == coco.area(reference)
        assert segment.bbox == tuple(coco.toBbox(reference).astype(int))


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (2000, 1500)])
def test_large_and_thin_masks_are_encoded_alike(shape: tuple[int, int]) -> None:
    mask = (np.add.outer(np.arange(shape[0]) // 7, np.arange(shape[1]) // 300) % 3).astype(np.uint8)

    for segment in answer_for(mask).segments:
        assert segment.rle.counts == coco.encode(np.asfortranarray(mask == segment.class_id))["counts"].decode()


def test_segments_come_by_class_with_their_names_and_mean_probability() -> None:
    answer = answer_for(np.array([[2, 2], [0, 2]], np.uint8))

    assert [(s.class_id, s.label, s.area, s.probability) for s in answer.segments] == [
        (0, "class 0", 1, 0.25),
        (2, "class 2", 3, 0.25),
    ]


def test_the_text_of_counts_is_a_str_in_plain_json() -> None:
    body = json.loads(answer_for(np.eye(3, dtype=np.uint8)).model_dump_json())

    assert body["size"] == [3, 3]
    assert isinstance(body["segments"][0]["rle"]["counts"], str)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=20))
def test_any_counts_come_back_from_their_text(counts: list[int]) -> None:
    assert decompress(compress(np.array(counts, np.int64))) == counts


def test_void_is_in_no_segment() -> None:
    answer = answer_for(np.array([[255, 2], [255, 255]], np.uint8))

    assert [(s.class_id, s.area, s.bbox) for s in answer.segments] == [(2, 1, (1, 0, 1, 1))]
    assert answer_for(np.full((2, 3), 255, np.uint8)).segments == []


def decompress(text: str) -> list[int]:
    """Read COCO's text, as its C code does."""
    counts: list[int] = []
    value, shift = 0, 0
    for character in text.encode():
        bits = character - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            value -= (1 << shift) if bits & 0x10 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    return counts
