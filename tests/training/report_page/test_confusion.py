from xml.etree.ElementTree import Element

import pytest
import torch

from model_zoo.labels import COCO_PANOPTIC_CLASSES, VOC_CLASSES
from training.report_page.confusion import Confusion, confusions, draw_confusion, row_shares

COUNTS = torch.tensor([[90, 10, 0], [0, 0, 0], [50, 0, 50]])
CLASSES = ("sky", "bird", "plane")


def titles(drawing: Element) -> list[str]:
    return [title.text or "" for title in drawing.iter("title")]


def test_shares_are_of_the_pixels_of_the_true_class() -> None:
    shares = row_shares(COUNTS)

    assert shares[0].tolist() == [0.9, 0.1, 0.0]
    assert shares[1].isnan().all()


def test_the_largest_confusions_come_first() -> None:
    assert confusions(COUNTS, CLASSES) == [Confusion("plane", "sky", 0.5), Confusion("sky", "bird", 0.1)]


def test_a_perfect_network_confuses_nothing() -> None:
    assert confusions(torch.eye(3), CLASSES) == []


def test_each_cell_tells_its_classes_and_share() -> None:
    assert titles(draw_confusion(COUNTS, CLASSES)) == [
        "sky found: 90.00 %",
        "sky taken for bird: 10.00 %",
        "plane taken for sky: 50.00 %",
        "plane found: 50.00 %",
    ]


def test_shares_below_half_a_percent_are_left_out() -> None:
    counts = torch.tensor([[996, 4], [0, 1]])

    assert titles(draw_confusion(counts, ("sky", "bird"))) == ["sky found: 99.60 %", "bird found: 100.00 %"]


@pytest.mark.parametrize(("classes", "numbers"), [(VOC_CLASSES, 21), (COCO_PANOPTIC_CLASSES, 0)])
def test_cells_hold_numbers_while_they_are_large_enough(classes: tuple[str, ...], numbers: int) -> None:
    drawing = draw_confusion(torch.eye(len(classes), dtype=torch.int64), classes)

    texts = [text.text for text in drawing.iter("text")]
    assert texts.count("100") == numbers
    assert all(texts.count(name) == 2 for name in classes)


@pytest.mark.parametrize(
    ("name", "ems"),
    [("membrane", 5.48), ("WWWWMMMM", 7.41), ("數據集", 3.0), ("MAP", 2.15), ("0123456789", 6.37)],
)
def test_a_name_has_room_beside_the_matrix_and_above_it(name: str, ems: float) -> None:
    drawing = draw_confusion(torch.eye(2, dtype=torch.int64), (name, "b"))

    beside = next(text for text in drawing.iter("text") if text.text == name)
    assert float(beside.get("x", "")) >= ems * float(drawing.get("font-size", ""))  # its width in DejaVu Sans


def test_what_is_drawn_lies_inside_the_drawing() -> None:
    drawing = draw_confusion(COUNTS, CLASSES)

    side = float(drawing.get("width", ""))
    corners = [float(rect.get("x", "")) + float(rect.get("width", "")) for rect in drawing.iter("rect")]
    assert max(corners) <= side
