"""Make findings by hand: two images of three classes, of which one has a name like markup and one is absent."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from model_zoo.card import CheckpointHeader, DatasetRecord, InitialWeights, SelfTest, Training
from model_zoo.spec import ModelSpec
from training.datasets import Sample
from training.evaluation.boundaries import BoundaryMatrix
from training.evaluation.calibration import Calibration
from training.evaluation.evaluate import Assessment
from training.evaluation.extremes import Extremes
from training.evaluation.metrics import ConfusionMatrix
from training.findings import Findings
from training.recipe import read_recipe

MARKUP = '<b>&"x|y'
"""A name that would break a page or a table which did not escape it."""


def toy_findings() -> Findings:
    """Give findings with a quarter of the pixels of class ``MARKUP`` taken for background, and no dog."""
    target = torch.zeros(20, 20, dtype=torch.int64)
    target[:, 10:] = 1
    mask = target.clone()
    mask[:10, 10:15] = 0
    scores, boundary, calibration, extremes = ConfusionMatrix(3), BoundaryMatrix(3), Calibration(), Extremes(1)
    for name in ("better", MARKUP):
        one = ConfusionMatrix(3)
        one.update(target, mask)
        scores.add(one)
        sample = Sample(name, Image.new("RGB", (20, 20)), target.numpy().astype(np.uint8))
        extremes.watch(sample, mask.to(torch.uint8), one)
    boundary.update(target, mask)
    calibration.update(target, mask, torch.ones(20, 20))
    recipe = read_recipe("quick", {"name": "toy", "description": f"Knows {MARKUP}."})
    spec = ModelSpec(
        architecture="unet", classes=("background", MARKUP, "dog"), palette=((0, 0, 0), (9, 9, 9), (99, 9, 9))
    )
    digest = "0" * 64
    record = DatasetRecord(name=MARKUP, split="val", num_images=2, list_sha256=digest, licence=MARKUP)
    header = CheckpointHeader(
        name=recipe.name,
        description=recipe.description,
        spec=spec,
        training=Training(
            datasets=(record,),
            command=f"segtrain fit --out {Path.home() / 'runs'}",
            initial_weights=InitialWeights(name="start.pth", sha256=digest, licence="BSD"),
        ),
        self_test=SelfTest(seed=0, height=32, width=32, histogram=(1024, 0, 0)),
        sha256=digest,
    )
    return Findings(
        recipe=recipe,
        last=header,
        num_parameters=1_500_000,
        best=None,
        rows=[{"epoch": 1.0, "loss": 0.5, "seconds": 90.0}],
        val=record,
        val_name=MARKUP,
        found=Assessment(scores, boundary, calibration, (0.25, 0.75), 2),
        extremes=extremes,
        environment={"CPU": MARKUP},
    )
