import json
import math

import torch

from training.evaluation.boundaries import BoundaryMatrix
from training.evaluation.calibration import Calibration
from training.evaluation.evaluate import Assessment
from training.evaluation.metrics import ConfusionMatrix
from training.evaluation.scores import score_table, score_values

CLASSES = ("background", "cat", "dog")


def toy_assessment(*, at_network_size: ConfusionMatrix | None = None) -> Assessment:
    """Assess two pixels of background and two of cat, one of which was taken for background; there is no dog."""
    target, mask = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 0, 0, 1]])
    scores, boundary, calibration = ConfusionMatrix(3), BoundaryMatrix(3), Calibration()
    scores.update(target, mask)
    boundary.update(target, mask)
    calibration.update(target, mask, torch.full((1, 4), 0.5))
    return Assessment(scores, boundary, calibration, (0.25, 0.75), 1, at_network_size)


def test_a_score_that_does_not_exist_is_null_in_json() -> None:
    values = score_values(toy_assessment(at_network_size=ConfusionMatrix(3)), CLASSES)

    read = json.loads(json.dumps(values, allow_nan=False))
    assert read["iou"] == {"background": 2 / 3, "cat": 0.5, "dog": None}
    assert read["boundary_iou"]["dog"] is None
    assert read["miou_95"] == [0.25, 0.75]
    assert read["network_resolution"]["miou"] is None


def test_the_network_resolution_is_told_only_where_it_was_asked_for() -> None:
    assert "network_resolution" not in score_values(toy_assessment(), CLASSES)
    assert "network" not in score_table(toy_assessment(), CLASSES)
    assert "at network resolution: mIoU nan" in score_table(toy_assessment(at_network_size=ConfusionMatrix(3)), CLASSES)


def test_the_table_and_the_values_agree() -> None:
    found = toy_assessment()

    table, values = score_table(found, CLASSES), score_values(found, CLASSES)

    cat = [float(cell) for cell in table.splitlines()[2].split()[1:]]
    assert cat == [round(values[name]["cat"], 4) for name in ("iou", "accuracy", "dice", "boundary_iou")]
    assert table.splitlines()[-1] == f"mIoU {values['miou']:.4f} (95 % 0.2500 to 0.7500) over 1 images"
    assert math.isclose(values["calibration_error"], 0.25)
