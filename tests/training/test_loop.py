import csv
from pathlib import Path

import pytest
import torch
from torch import nn

from model_zoo import checkpoint
from model_zoo.backbones import build_encoder
from tests.training.conftest import VocTree
from training.datasets.shapes import SHAPES_LABELS
from training.errors import FolderNotEmpty, InvalidDataset, InvalidRecipe, NonFiniteLoss
from training.loading import TrainingBatch
from training.loop import batch_loss, fit, make_network, update_average
from training.recipe import Recipe, read_recipe

ONE_STEP = {"train": ["shapes:train:4"], "val": "shapes:val:2", "epochs": 1, "crop": 32, "workers": 0, "batch_size": 4}
FROZEN = {
    "architecture": "unet_encoder",
    "arguments": {"encoder": "mobilenet_v2"},
    "freeze_encoder": True,
}


def one_step(**changes: object) -> Recipe:
    return read_recipe("quick", {**ONE_STEP, **changes})


def read_rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_its_four_files(run_folder: Path) -> None:
    names = {path.name for path in run_folder.iterdir()}

    assert names == {"recipe.toml", "metrics.csv", "checkpoint-last.safetensors", "checkpoint-best.safetensors"}


def test_metrics_have_one_row_an_epoch_and_scores_where_it_was_validated(run_folder: Path) -> None:
    rows = read_rows(run_folder)

    assert list(rows[0]) == ["epoch", "step", "lr", "loss", "seconds", "val_miou", "val_pixel_accuracy"]
    assert [(row["epoch"], row["step"]) for row in rows] == [(str(epoch), str(6 * epoch)) for epoch in range(1, 7)]
    assert [row["epoch"] for row in rows if row["val_miou"]] == ["4", "6"]


def test_a_run_learns(run_folder: Path) -> None:
    losses = [float(row["loss"]) for row in read_rows(run_folder)]

    assert losses[-1] < losses[0] / 2


def test_the_written_recipe_is_the_one_that_ran(run_folder: Path) -> None:
    recipe = read_recipe(str(run_folder / "recipe.toml"), {})

    assert (recipe.train, recipe.epochs, recipe.crop) == (("shapes:train:48",), 6, 64)


def test_a_checkpoint_tells_how_it_was_made(run_folder: Path) -> None:
    header = checkpoint.verify(run_folder / "checkpoint-last.safetensors").header

    assert header.name == "quick-shapes"
    assert header.spec.classes == ("background", "square", "circle", "triangle")
    assert [(record.name, record.split, record.num_images) for record in header.training.datasets] == [
        ("shapes", "train", 48)
    ]
    assert header.training.seed == 0
    assert header.training.command is not None
    assert header.training.command.startswith("segtrain fit --recipe quick --train shapes:train:48")
    assert header.training.recipe["epochs"] == 6


def test_trap_50_last_and_best_are_both_scored_on_all_validation_images(run_folder: Path) -> None:
    scores = [float(row["val_miou"]) for row in read_rows(run_folder) if row["val_miou"]]

    last = checkpoint.inspect(run_folder / "checkpoint-last.safetensors").header.metrics[0]
    best = checkpoint.inspect(run_folder / "checkpoint-best.safetensors").header.metrics[0]

    assert (last.name, last.value) == ("mIoU", scores[-1])
    assert (best.name, best.value) == ("mIoU", max(scores))
    assert (best.dataset, best.num_images, best.resolution) == ("shapes val", 10, "original")


def test_the_same_recipe_gives_the_same_weights(tmp_path: Path) -> None:
    recipe = one_step(dtype="float16", precision="bfloat16")

    fit(recipe, tmp_path / "one")
    fit(recipe, tmp_path / "other")

    one, other = (checkpoint.inspect(tmp_path / run / "checkpoint-last.safetensors").header for run in ("one", "other"))
    assert one.dtype == "float16"
    assert one.sha256 == other.sha256


def test_a_folder_with_a_run_is_left_alone(run_folder: Path) -> None:
    before = (run_folder / "metrics.csv").read_text()

    with pytest.raises(FolderNotEmpty, match="tiny is not empty"):
        fit(one_step(), run_folder)

    assert (run_folder / "metrics.csv").read_text() == before


def test_overwriting_starts_the_metrics_anew_and_keeps_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")

    fit(one_step(), tmp_path, overwrite=True)

    assert [row["epoch"] for row in read_rows(tmp_path)] == ["1"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_images(tmp_path: Path) -> None:
    recipe = one_step(optimizer="sgd", lr=1e30, warmup_steps=0, epochs=3)

    with pytest.raises(NonFiniteLoss, match=r"loss is (nan|inf) in epoch \d, step \d: images .*train-"):
        fit(recipe, tmp_path)

    assert not list(tmp_path.glob("*.part"))


def test_trap_31_a_frozen_encoder_keeps_its_weights_and_its_statistics(tmp_path: Path) -> None:
    encoder = build_encoder("mobilenet_v2")
    weights = tmp_path / "encoder.pth"
    torch.save(encoder.features.state_dict(), weights)

    fit(one_step(**FROZEN, encoder_weights=str(weights)), tmp_path / "run")

    trained = checkpoint.load(tmp_path / "run" / "checkpoint-last.safetensors").network.get_submodule(
        "encoder.features"
    )
    assert all(torch.equal(trained.state_dict()[name], value) for name, value in encoder.features.state_dict().items())


def test_trap_43_the_average_takes_in_the_statistics_of_batch_norm() -> None:
    average, present = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    present.running_mean = torch.tensor([4.0, 8.0])
    present.num_batches_tracked = torch.tensor(7)

    update_average(average, present, decay=0.75)

    assert average.running_mean is not None
    assert average.running_mean.tolist() == [1.0, 2.0]
    assert average.num_batches_tracked == 7


def test_an_averaged_run_saves_the_average(tmp_path: Path) -> None:
    fit(one_step(ema_decay=0.5), tmp_path / "averaged")
    fit(one_step(), tmp_path / "plain")

    averaged, plain = (
        checkpoint.load(tmp_path / run / "checkpoint-last.safetensors").network.state_dict()
        for run in ("averaged", "plain")
    )
    torch.manual_seed(0)
    recipe = one_step()
    initial = make_network(recipe, recipe.spec(SHAPES_LABELS)).state_dict()
    weights = [name for name, value in plain.items() if value.is_floating_point()]
    assert all(torch.allclose(averaged[n], (initial[n] + plain[n]) / 2, atol=1e-6) for n in weights)


def test_trap_2_a_batch_without_labels_gives_a_finite_zero_gradient() -> None:
    recipe = one_step()
    spec = recipe.spec(SHAPES_LABELS)
    network = make_network(recipe, spec).train()
    void = TrainingBatch(
        torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.full((2, 32, 32), 255, dtype=torch.uint8), ("a", "b")
    )

    loss = batch_loss(network, void, recipe, spec)
    loss.backward()  # type: ignore[no-untyped-call]  # torch has no annotation here

    assert loss.item() == 0
    assert all(weight.grad is not None and not weight.grad.any() for weight in network.parameters())


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"architecture": "unett"}, "unknown architecture 'unett'"),
        ({"arguments": {"depth": 3}}, "unet has no argument 'depth'"),
        ({"encoder_weights": "FILE"}, "unet has no encoder"),
        ({**FROZEN, "arguments": {"encoder": "resnet18"}, "encoder_weights": "FILE"}, "do not fit the encoder"),
        ({**FROZEN, "encoder_weights": "absent.pth"}, r"absent\.pth: no such file"),
    ],
)
def test_a_network_that_cannot_be_made_is_refused_before_the_folder_is_touched(
    tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    weights = tmp_path / "encoder.pth"
    torch.save(build_encoder("mobilenet_v2").features.state_dict(), weights)
    fields = {name: str(weights) if value == "FILE" else value for name, value in changes.items()}

    with pytest.raises(InvalidRecipe, match=complaint):
        fit(one_step(**fields), tmp_path / "run")

    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_told_before_the_folder_is_touched(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="no GPU that torch can use"):
        fit(one_step(device="cuda"), tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_datasets_of_different_labels_are_refused(tmp_path: Path, voc_tree: VocTree) -> None:
    with pytest.raises(InvalidDataset, match="labels voc and shapes cannot be trained on together"):
        fit(one_step(train=[f"voc:train:{voc_tree.root}"]), tmp_path / "run")
