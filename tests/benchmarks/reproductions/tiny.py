"""Hold a suite that is run in seconds, and make up results of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.reproductions.runner import settings_of
from benchmarks.reproductions.suites import PLAIN, SHAPES, STITCHED

TINY = replace(
    SHAPES,
    name="tiny",
    changes={"train": ["shapes9:train:48"], "val": "shapes9:val:8", "steps": 6, "batch_size": 4},
    seeds=(0,),
    val_steps=3,
    shift_step=32,
)
"""Rows of a second or two: long enough to see which weights move, too short to learn anything."""


def made_up(row: str, seed: int, miou: float, **changes: object) -> dict[str, Any]:
    """Give a result that says just enough, of today's settings."""
    score = {"miou": miou, "legacy_fg_iou_13": 0.5}
    return {
        "row": row,
        "seed": seed,
        "recipe": settings_of(TINY, TINY.row(row), seed),
        "commit": "0" * 40,
        "environment": {"CPU": "abacus", "torch": "9.9", "threads": "1"},
        "scores": {PLAIN: score, STITCHED: score},
        "first_train_miou": 0.25,
        "curve": [[6, 2.0, None], [12, 1.0, miou]],
        "last_loss": 1.0,
        "train_seconds": 60.0,
        "score_seconds": 1.0,
        "unmoved": [],
        **changes,
    }
