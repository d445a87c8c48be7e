import numpy as np
from cvat_sdk import masks, models  # type: ignore[import-untyped]  # it has no types
from hypothesis import given

from service.masks.cvat import CvatAnswer, encode_cvat
from service.masks.encoder import Mask
from tests.service.masks.masks import MASKS, NAMES, labelled, present


@given(MASKS)
def test_cvats_own_reader_finds_the_very_pixels(mask: Mask) -> None:
    answer = CvatAnswer.model_validate_json(encode_cvat(labelled(mask)))

    assert [shape.label for shape in answer.shapes] == [NAMES[label] for label in present(mask, drawn=True)]
    for shape in answer.shapes:
        found = masks.decode_mask(shape.points, image_width=mask.shape[1], image_height=mask.shape[0])
        np.testing.assert_array_equal(found, mask == shape.label_id)


def test_a_shape_is_one_that_the_sdk_uploads() -> None:
    (shape,) = CvatAnswer.model_validate_json(encode_cvat(labelled(np.array([[0, 4]], np.uint8)))).shapes

    request = models.LabeledShapeRequest(**shape.model_dump(exclude={"label"}))

    assert request.to_dict()["points"] == [0, 1, 1, 0, 1, 0]
