import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.converter import brush

from service.masks.encoder import Mask, Target
from service.masks.labelstudio import LabelStudioAnswer, encode_labelstudio, pack
from tests.service.masks.masks import MASKS, NAMES, SURENESS, labelled, present

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it was written for is older than what it runs on
    from label_studio_sdk.label_interface.interface import LabelInterface

CONFIG = f"""<View><Image name="photo" value="$image"/><BrushLabels name="kind" toName="photo">{
    "".join(f'<Label value="{name}"/>'.replace("<Katze>", "&lt;Katze&gt;") for name in NAMES)
}</BrushLabels></View>"""


@given(MASKS)
def test_label_studios_own_reader_finds_the_very_pixels(mask: Mask) -> None:
    answer = LabelStudioAnswer.model_validate_json(encode_labelstudio(labelled(mask)))

    drawn = present(mask, drawn=True)
    assert [region.value.brushlabels for region in answer.result] == [[NAMES[label]] for label in drawn]
    for label, region in zip(drawn, answer.result, strict=True):
        pixels = brush.decode_rle(region.value.rle).reshape(*mask.shape, 4)
        np.testing.assert_array_equal(pixels, np.repeat((mask == label)[..., None] * np.uint8(255), 4, axis=2))
        assert (region.original_height, region.original_width) == mask.shape
        assert region.score == SURENESS


@given(st.lists(st.sampled_from([1, 2, 3, 4, 5, 63, 64, 65, 5000, 16384, 16385, 40000]), min_size=1, max_size=6))
def test_runs_of_any_length_come_back(counts: list[int]) -> None:
    decoded = brush.decode_rle(list(pack(np.array([0, *counts]))))

    expected = [value for i, count in enumerate(counts) for value in [255 * ((i + 1) % 2)] * (4 * count)]
    assert decoded.tolist() == expected


def test_a_prediction_fits_the_labelling_interface_that_it_names() -> None:
    mask = np.array([[0, 1, 3], [4, 4, 255]], np.uint8)
    target = Target(from_name="kind", to_name="photo")

    answer = LabelStudioAnswer.model_validate_json(encode_labelstudio(labelled(mask, target=target)))

    assert LabelInterface(CONFIG).validate_prediction(answer.model_dump())  # type: ignore[no-untyped-call]  # it has none
    assert answer.model_version == "voc@2"
    assert answer.score == pytest.approx(SURENESS)


def test_a_mask_without_things_is_an_empty_prediction() -> None:
    answer = LabelStudioAnswer.model_validate_json(encode_labelstudio(labelled(np.zeros((2, 2), np.uint8))))

    assert (answer.score, answer.result) == (0.0, [])
