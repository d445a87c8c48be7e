from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from model_zoo.architectures import build
from model_zoo.spec import ModelSpec, Prediction, SizeRule
from training.datasets import LabelSpace, Sample
from training.datasets.shapes import SHAPES_LABELS, Shapes
from training.errors import InvalidDataset
from training.evaluation.evaluate import assess, evaluate, metrics_of
from training.evaluation.inference import Inference
from training.evaluation.metrics import ConfusionMatrix


class AlwaysClass(nn.Module):
    """Give one class everywhere."""

    def __init__(self, winner: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.eye(4)[winner])

    def forward(self, images: Tensor) -> Prediction:
        return Prediction(self.scores.view(1, 4, 1, 1).expand(len(images), 4, *images.shape[-2:]))


@dataclass
class Watched:
    """Note which samples of a dataset are read."""

    dataset: Shapes
    read: list[int] = field(default_factory=list)

    @property
    def labels(self) -> LabelSpace:
        return self.dataset.labels

    @property
    def ids(self) -> tuple[str, ...]:
        return self.dataset.ids

    @property
    def rules(self) -> Mapping[str, str]:
        return self.dataset.rules

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        self.read.append(index)
        return self.dataset[index]

    def image_sha256(self, index: int) -> str:
        return self.dataset.image_sha256(index)


def make_spec(labels: LabelSpace = SHAPES_LABELS) -> ModelSpec:
    size = SizeRule(policy="longest", side=64)
    return ModelSpec(architecture="unet", classes=labels.classes, palette=labels.palette, size=size)


def test_trap_19_and_50_every_image_is_read_once_in_order() -> None:
    dataset = Watched(Shapes(Path("7"), "val"))

    evaluate(AlwaysClass(0), make_spec(), dataset)

    assert dataset.read == [0, 1, 2, 3, 4, 5, 6]


def test_trap_23_an_evaluation_draws_no_random_number_and_is_the_same_every_time() -> None:
    network = build("unet", 4, {"base_channels": 4, "drop_rate": 0.5}).eval()
    dataset, before = Shapes(Path("3"), "val"), torch.get_rng_state()

    first, second = (evaluate(network, make_spec(), dataset) for _ in range(2))

    assert torch.equal(first.counts, second.counts)
    assert torch.equal(torch.get_rng_state(), before)


def test_trap_49_masks_are_compared_at_the_images_own_size() -> None:
    dataset = Shapes(Path("7"), "val")

    matrix = evaluate(AlwaysClass(2), make_spec(), dataset)

    labelled = sum(int((dataset[index].target != 255).sum()) for index in range(7))
    assert int(matrix.counts.sum()) == int(matrix.counts[:, 2].sum()) == labelled


def test_a_dataset_of_other_classes_is_refused() -> None:
    labels = LabelSpace("two", ("a", "b"), ((0, 0, 0), (1, 1, 1)))

    with pytest.raises(InvalidDataset, match=r"other classes \(4\) than the network \(2\)"):
        evaluate(AlwaysClass(0), make_spec(labels), Shapes(Path("1"), "val"))


def test_metrics_leave_out_classes_without_a_score() -> None:
    matrix = ConfusionMatrix(4)
    matrix.counts[0, 0] = 5

    metrics = metrics_of(matrix, make_spec(), dataset="shapes val", num_images=7)

    scores = {metric.name: metric.value for metric in metrics}
    assert scores == {
        "mIoU": 1.0,
        "pixel accuracy": 1.0,
        "mean accuracy": 1.0,
        "fwIoU": 1.0,
        "IoU background": 1.0,
    }
    assert {(metric.dataset, metric.num_images, metric.resolution) for metric in metrics} == {
        ("shapes val", 7, "original")
    }


def test_an_assessment_counts_what_an_evaluation_counts() -> None:
    dataset = Watched(Shapes(Path("5"), "val"))
    counted = evaluate(AlwaysClass(2), make_spec(), dataset.dataset)

    found = assess(AlwaysClass(2), make_spec(), dataset, Inference())

    assert dataset.read == [0, 1, 2, 3, 4]
    assert torch.equal(found.scores.counts, counted.counts)
    assert found.at_network_size is None
    assert int(found.calibration.pixels.sum()) == int(counted.counts.sum())
    assert found.calibration.expected_error == pytest.approx(
        abs(torch.eye(4)[2].softmax(0)[2].item() - counted.pixel_accuracy), abs=1e-6
    )


def test_at_the_networks_resolution_masks_are_compared_before_they_are_enlarged() -> None:
    dataset = Shapes(Path("3"), "val")
    size = SizeRule(policy="longest", side=32)
    spec = make_spec().model_copy(update={"size": size})

    found = assess(AlwaysClass(0), spec, dataset, Inference(), network_resolution=True)

    assert found.at_network_size is not None
    pixels = [found.scores, found.at_network_size]
    large, small = (int(matrix.counts.sum() + matrix.unlabelled.sum()) for matrix in pixels)
    assert large == sum(dataset[index].target.size for index in range(3))
    assert small <= 3 * 32 * 32 < large
