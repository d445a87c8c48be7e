import numpy as np
from PIL import Image

from service.masks.overlay import blend


def test_the_background_stays_and_classes_are_coloured() -> None:
    image = Image.new("RGB", (2, 1), (100, 100, 100))

    blended = blend(image, np.array([[0, 1]], np.uint8), ((0, 0, 0), (200, 0, 0)))

    assert blended.getpixel((0, 0)) == (100, 100, 100)
    assert blended.getpixel((1, 0)) in {(160, 40, 40), (160, 39, 39)}  # the rounding is Pillow's
