"""Score a network on a dataset, at the images' own resolution, by the very way that serving takes."""

from __future__ import annotations

import torch
from torch import nn
from tqdm import tqdm  # type: ignore[import-untyped]  # tqdm has no stubs

from model_zoo.card import Metric
from model_zoo.predict import predict
from model_zoo.preprocess import network_input
from model_zoo.spec import ModelSpec
from training.datasets import SegmentationDataset
from training.errors import InvalidDataset
from training.metrics import ConfusionMatrix


def evaluate(network: nn.Module, spec: ModelSpec, dataset: SegmentationDataset) -> ConfusionMatrix:
    """Segment every image once, in order, and count; the network must be in eval mode.

    Raises:
        InvalidDataset: the dataset's classes are not those of the spec, or a sample cannot be read.
    """
    if dataset.labels.classes != spec.classes:
        theirs, ours = len(dataset.labels.classes), spec.num_classes
        raise InvalidDataset(f"the dataset has other classes ({theirs}) than the network ({ours})")
    matrix = ConfusionMatrix(spec.num_classes)
    for index in tqdm(range(len(dataset)), desc="evaluate", unit="image", leave=False, disable=None):
        sample = dataset[index]
        mask = predict(network, [network_input(sample.image, spec)], spec)[0].mask
        matrix.update(torch.from_numpy(sample.target), mask)
    return matrix


def metrics_of(matrix: ConfusionMatrix, spec: ModelSpec, *, dataset: str, num_images: int) -> tuple[Metric, ...]:
    """Give the scores as a checkpoint records them, those of each class of the set included."""
    scores = {
        "mIoU": matrix.mean_iou,
        "pixel accuracy": matrix.pixel_accuracy,
        "mean accuracy": matrix.mean_accuracy,
        "fwIoU": matrix.frequency_weighted_iou,
        **{f"IoU {name}": value for name, value in zip(spec.classes, matrix.iou.tolist(), strict=True)},
    }
    return tuple(
        Metric(name=name, value=value, dataset=dataset, num_images=num_images, resolution="original")
        for name, value in scores.items()
        if value == value  # noqa: PLR0124  # NaN, of a class that is absent, differs from itself
    )
