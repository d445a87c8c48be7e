import numpy as np
import pytest
from hypothesis import given
from scipy import ndimage

from service.masks.encoder import Mask
from service.masks.regions import find_regions
from tests.service.masks.masks import MASKS


def reference(mask: Mask) -> list[tuple[int, ...]]:
    """Give the regions as sets of pixels, by another library."""
    found = []
    for label in np.unique(mask):
        numbers, num_regions = ndimage.label(mask == label)
        found += [tuple(np.flatnonzero(numbers == number).tolist()) for number in range(1, num_regions + 1)]
    return sorted(found)


@given(MASKS)
def test_regions_are_pixels_of_one_label_that_touch_along_an_edge(mask: Mask) -> None:
    regions = find_regions(mask)

    rows, columns = np.indices(mask.shape)
    numbers = regions.at(rows.ravel(), columns.ravel())
    assert sorted(tuple(np.flatnonzero(numbers == number).tolist()) for number in np.unique(numbers)) == reference(mask)


@given(MASKS)
def test_small_regions_become_void(mask: Mask) -> None:
    expected = mask.copy()
    for pixels in reference(mask):
        if len(pixels) < 3:
            expected.ravel()[list(pixels)] = 255

    np.testing.assert_array_equal(find_regions(mask).without_small(3, void=255), expected)


@pytest.mark.parametrize("turn", [0, 1])
def test_a_region_that_winds_through_the_whole_mask_is_one(turn: int) -> None:
    mask = np.zeros((201, 201), np.uint8)
    mask[::2] = 1
    mask[1::4, -1] = mask[3::4, 0] = 1

    regions = find_regions(np.ascontiguousarray(np.rot90(mask, turn)))

    assert len(set(regions.numbers[regions.labels == 1].tolist())) == 1
