"""Show what an evaluation has found: a table for people, and the same as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from training.evaluation.evaluate import Assessment
from training.evaluation.metrics import ConfusionMatrix


def score_table(found: Assessment, classes: Sequence[str]) -> str:
    """Give a line for each class, with a dash where the set has none of it, and the means below."""
    scores, boundary = found.scores, found.boundary
    lines = [f"{'class':24}{'IoU':>8}{'accuracy':>10}{'Dice':>8}{'boundary IoU':>14}"]
    columns = (scores.iou.tolist(), scores.accuracy.tolist(), scores.dice.tolist(), boundary.iou.tolist())
    for name, *values in zip(classes, *columns, strict=True):
        lines.append(f"{name:24}" + "".join(map(_cell, values, (8, 10, 8, 14))))
    lines.append(
        f"pixel accuracy {scores.pixel_accuracy:.4f}, mean accuracy {scores.mean_accuracy:.4f}, "
        f"fwIoU {scores.frequency_weighted_iou:.4f}, Dice {scores.mean_dice:.4f}"
    )
    lines.append(
        f"boundary IoU {boundary.mean_iou:.4f}, calibration error {found.calibration.expected_error:.4f}, "
        f"legacy_fg_iou {scores.legacy_fg_iou:.4f}"
    )
    if found.at_network_size is not None:
        lines.append(f"at network resolution: mIoU {found.at_network_size.mean_iou:.4f}")
    low, high = found.interval
    lines.append(f"mIoU {scores.mean_iou:.4f} (95 % {low:.4f} to {high:.4f}) over {found.num_images} images")
    return "\n".join(lines)


def overall_scores(found: Assessment) -> dict[str, float]:
    """Give the scores of the whole set by the names that people know, mIoU first."""
    return {
        "mIoU": found.scores.mean_iou,
        "pixel accuracy": found.scores.pixel_accuracy,
        "mean accuracy": found.scores.mean_accuracy,
        "fwIoU": found.scores.frequency_weighted_iou,
        "mean Dice": found.scores.mean_dice,
        "boundary IoU": found.boundary.mean_iou,
        "calibration error": found.calibration.expected_error,
    }


def score_values(found: Assessment, classes: Sequence[str]) -> dict[str, Any]:
    """Give every score by its name, as JSON can hold it: null where there is none."""
    values = {
        **_matrix_values(found.scores, classes),
        "miou_95": [_number(bound) for bound in found.interval],
        "num_images": found.num_images,
        "legacy_fg_iou": _number(found.scores.legacy_fg_iou),
        "boundary_miou": _number(found.boundary.mean_iou),
        "boundary_iou": _by_class(found.boundary.iou, classes),
        "calibration_error": _number(found.calibration.expected_error),
    }
    if found.at_network_size is not None:
        values["network_resolution"] = _matrix_values(found.at_network_size, classes)
    return values


def _matrix_values(scores: ConfusionMatrix, classes: Sequence[str]) -> dict[str, Any]:
    return {
        "miou": _number(scores.mean_iou),
        "pixel_accuracy": _number(scores.pixel_accuracy),
        "mean_accuracy": _number(scores.mean_accuracy),
        "fwiou": _number(scores.frequency_weighted_iou),
        "mean_dice": _number(scores.mean_dice),
        "iou": _by_class(scores.iou, classes),
        "accuracy": _by_class(scores.accuracy, classes),
        "dice": _by_class(scores.dice, classes),
    }


def _by_class(values: Tensor, classes: Sequence[str]) -> Mapping[str, float | None]:
    return {name: _number(value) for name, value in zip(classes, values.tolist(), strict=True)}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _cell(value: float, width: int) -> str:
    return f"{'-':>{width}}" if math.isnan(value) else f"{value:{width}.4f}"
