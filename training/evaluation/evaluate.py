"""Score a network on a dataset, at the images' own resolution, by the very way that serving takes.

Letters: C classes, H and W height and width, h and w the same as the network sees the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm  # type: ignore[import-untyped]  # tqdm has no stubs

from model_zoo.card import Metric
from model_zoo.predict import predict
from model_zoo.preprocess import network_input
from model_zoo.spec import ModelSpec
from model_zoo.upsample import upsample_confidence
from training.datasets import Sample, SegmentationDataset
from training.errors import InvalidDataset
from training.evaluation.boundaries import BoundaryMatrix
from training.evaluation.calibration import Calibration
from training.evaluation.inference import Inference, infer
from training.evaluation.metrics import Bootstrap, ConfusionMatrix
from training.processes import ALONE, Processes

Watch = Callable[[Sample, Tensor, ConfusionMatrix], None]
"""Is shown each sample, the mask that was found, uint8 ``[H, W]``, and the counts of this image alone."""


@dataclass(frozen=True, slots=True)
class Assessment:
    """Hold all that is known of how well a network does on a set; ``interval`` has 95 % of the bootstrap's mIoU."""

    scores: ConfusionMatrix
    boundary: BoundaryMatrix
    calibration: Calibration
    interval: tuple[float, float]
    num_images: int
    at_network_size: ConfusionMatrix | None = None


def evaluate(
    network: nn.Module, spec: ModelSpec, dataset: SegmentationDataset, processes: Processes = ALONE
) -> ConfusionMatrix:
    """Segment every image once, in order, and count; the network must be in eval mode.

    Of several processes each takes its share of the images, and all get the whole matrix.

    Raises:
        InvalidDataset: the dataset's classes are not those of the spec, or a sample cannot be read.
    """
    _check_classes(spec, dataset)
    matrix = ConfusionMatrix(spec.num_classes)
    for sample in _samples(dataset, processes):
        mask = predict(network, [network_input(sample.image, spec)], spec)[0].mask
        matrix.update(torch.from_numpy(sample.target), mask.cpu())
    processes.sum(matrix.counts)
    processes.sum(matrix.unlabelled)
    return matrix


@torch.inference_mode()
def assess(  # noqa: PLR0913  # what to score on what, and what else to do on the way
    network: nn.Module,
    spec: ModelSpec,
    dataset: SegmentationDataset,
    how: Inference,
    *,
    network_resolution: bool = False,
    watch: Watch | None = None,
) -> Assessment:
    """Segment every image once, in order, and score it in every way; the network must be in eval mode.

    ``watch`` sees each image as soon as it is scored.

    Raises:
        InvalidDataset: the dataset's classes are not those of the spec, or a sample cannot be read.
    """
    _check_classes(spec, dataset)
    scores, small = ConfusionMatrix(spec.num_classes), ConfusionMatrix(spec.num_classes)
    boundary, calibration, bootstrap = BoundaryMatrix(spec.num_classes), Calibration(), Bootstrap()
    for sample in _samples(dataset):
        target = torch.from_numpy(sample.target)
        logits = infer(network, sample.image, spec, how)
        mask, confidence = (found.cpu() for found in upsample_confidence(logits, (target.shape[0], target.shape[1])))
        one = ConfusionMatrix(spec.num_classes)
        one.update(target, mask)
        scores.add(one)
        bootstrap.update(one)
        boundary.update(target, mask)
        calibration.update(target, mask, confidence)
        if network_resolution:
            small.update(_shrunk(target, logits), logits.argmax(0).cpu())
        if watch is not None:
            watch(sample, mask, one)
    at_network_size = small if network_resolution else None
    return Assessment(scores, boundary, calibration, bootstrap.interval(), len(dataset), at_network_size)


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


def _check_classes(spec: ModelSpec, dataset: SegmentationDataset) -> None:
    if dataset.labels.classes != spec.classes:
        theirs, ours = len(dataset.labels.classes), spec.num_classes
        raise InvalidDataset(f"the dataset has other classes ({theirs}) than the network ({ours})")


def _samples(dataset: SegmentationDataset, processes: Processes = ALONE) -> Iterator[Sample]:
    share = range(processes.rank, len(dataset), processes.count)
    for index in tqdm(share, desc="evaluate", unit="image", leave=False, disable=None if processes.is_first else True):
        yield dataset[index]


def _shrunk(target: Tensor, logits: Tensor) -> Tensor:
    """Give the target ``[h, w]`` at the size of logits ``[C, h, w]``, each pixel the nearest of ``[H, W]``."""
    return F.interpolate(target[None, None], logits.shape[1:], mode="nearest-exact")[0, 0]
