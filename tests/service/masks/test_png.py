from io import BytesIO

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from model_zoo.labels import voc_color, voc_palette
from service.masks.encoder import LabelledMask, Mask
from service.masks.png import encode_png, grey_png

MASKS = arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 254))


def labelled(mask: Mask) -> LabelledMask:
    return LabelledMask(mask, "m", "1", ("a", "b"), ((1, 2, 3), (4, 5, 6)), (0.0, 0.0))


@given(MASKS)
def test_the_value_of_a_pixel_is_its_class(mask: Mask) -> None:
    image = Image.open(BytesIO(encode_png(labelled(mask))))

    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), mask)


def test_colours_are_those_of_the_classes_and_then_of_voc() -> None:
    image = Image.open(BytesIO(encode_png(labelled(np.array([[0, 1, 2, 254]], np.uint8)))))

    row = np.asarray(image.convert("RGB"))[0].tolist()
    assert row == [[1, 2, 3], [4, 5, 6], list(voc_color(2)), list(voc_palette()[254])]


def test_a_mask_is_always_eight_bits_deep() -> None:
    assert encode_png(labelled(np.zeros((3, 3), np.uint8)))[24:26] == b"\x08\x03"  # bit depth, indexed


@given(MASKS)
def test_a_grey_picture_has_the_very_values(values: Mask) -> None:
    image = Image.open(BytesIO(grey_png(values, values.shape[1])))
    image.verify()

    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(grey_png(values, values.shape[1])))), values)
