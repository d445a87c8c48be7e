from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.contact_sheet import blend, choose_samples, draw_contact_sheet
from training.datasets import LabelSpace, Sample
from training.datasets.shapes import Shapes
from training.survey import Survey, survey

LABELS = LabelSpace("two", ("background", "crop"), ((0, 0, 0), (100, 200, 0)))


def test_a_target_is_laid_over_all_but_the_background() -> None:
    sample = Sample("a", Image.new("RGB", (3, 1), (50, 50, 50)), np.array([[0, 1, 255]], np.uint8))

    assert np.asarray(blend(sample, LABELS)).tolist() == [[[50, 50, 50], [80, 140, 20], [173, 173, 173]]]


def test_where_class_0_is_no_background_it_is_laid_over_too() -> None:
    labels = LabelSpace("street", ("sky", "road"), ((0, 0, 250), (100, 200, 0)))
    sample = Sample("a", Image.new("RGB", (1, 1), (50, 50, 50)), np.array([[0]], np.uint8))

    assert np.asarray(blend(sample, labels)).tolist() == [[[20, 20, 170]]]


def test_the_rarest_classes_are_chosen_first() -> None:
    found = Survey(holders={index: frozenset({0, 7} if index == 8 else {0}) for index in range(10)})
    found.images[[0, 7]] = 10, 1

    assert choose_samples(found, 1) == [8]
    assert choose_samples(found, 4) == [0, 3, 6, 8]
    assert choose_samples(found, 99) == list(range(10))


@pytest.mark.parametrize(("num_images", "height"), [(3, 246 + 8), (5, 2 * 246 + 8), (30, 6 * 246 + 8)])
def test_a_sheet_has_four_columns_and_up_to_six_rows(num_images: int, height: int) -> None:
    dataset = Shapes(Path(str(num_images)), "val")

    sheet = draw_contact_sheet(dataset, survey(dataset))

    assert sheet.size == (4 * 448 + 8, height)
    assert len(sheet.getcolors(2**24) or ()) > 100


def test_a_set_of_which_nothing_can_be_read_gives_an_empty_sheet() -> None:
    assert draw_contact_sheet(Shapes(Path("3"), "val"), Survey()).getcolors() == [(1800 * 254, (255, 255, 255))]


def test_more_classes_than_fit_are_cut_off() -> None:
    classes = tuple(f"class of a long name {index}" for index in range(40))
    labels = LabelSpace("many", classes, tuple((index, index, index) for index in range(40)))
    dataset = Shapes(Path("1"), "val")
    dataset.labels = labels

    assert draw_contact_sheet(dataset, survey(dataset)).size == (1800, 254)
