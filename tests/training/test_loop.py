import csv
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from model_zoo import checkpoint
from model_zoo.backbones import build_encoder
from model_zoo.card import Card, Training
from tests.training.conftest import VocTree
from training.datasets.shapes import SHAPES_LABELS, Shapes
from training.errors import FolderNotEmpty, InvalidDataset, InvalidRecipe, NonFiniteLoss
from training.initial import make_network
from training.loading import TrainingBatch
from training.loop import Run, clip_gradients, find_gradients, fit, update_average
from training.processes import joined
from training.recipe import Recipe, read_recipe

ONE_STEP = {"train": ["shapes:train:4"], "val": "shapes:val:2", "epochs": 1, "crop": 32, "workers": 0, "batch_size": 4}
FROZEN = {
    "architecture": "unet_encoder",
    "arguments": {"encoder": "mobilenet_v2"},
    "freeze_encoder": True,
}
POOL_OVER_THE_BATCH = {
    "architecture": "deeplabv3plus",
    "arguments": {"encoder": "mobilenet_v2", "decoder_channels": 8, "pool_norm": "batch"},
}
"""A network that cannot learn from one image."""


def one_step(**changes: object) -> Recipe:
    return read_recipe("quick", {**ONE_STEP, **changes})


def with_zeros(recipe: Recipe, folder: Path, layers: Sequence[str]) -> Recipe:
    """Give a recipe that begins with some layers at zero."""
    spec = recipe.spec(SHAPES_LABELS)
    network = make_network(recipe, spec)
    for name in layers:
        for weight in network.get_submodule(name).parameters():
            nn.init.zeros_(weight)
    checkpoint.save(folder / "start.safetensors", network, Card(name="start", spec=spec))
    return recipe.model_copy(update={"init_from": str(folder / "start.safetensors")})


def read_rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_what_people_and_machines_need(run_folder: Path) -> None:
    names = {path.name for path in run_folder.iterdir()}

    assert names == {
        "recipe.toml", "metrics.csv", "checkpoint-last.safetensors", "checkpoint-best.safetensors", "state", "events",
        "report.html", "card.md",
    }  # fmt: skip


def test_metrics_have_one_row_an_epoch_and_scores_where_it_was_validated(run_folder: Path) -> None:
    rows = read_rows(run_folder)

    assert list(rows[0]) == [
        "epoch", "step", "lr", "loss", "gradient", "images_per_second", "waited", "seconds", "val_miou",
        "val_pixel_accuracy",
    ]  # fmt: skip
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


def test_trap_53_the_same_recipe_gives_the_same_weights_to_the_bit(tmp_path: Path) -> None:
    recipe = one_step(dtype="float16", precision="bfloat16")

    fit(recipe, tmp_path / "one")
    fit(recipe, tmp_path / "other")

    one, other = (checkpoint.inspect(tmp_path / run / "checkpoint-last.safetensors").header for run in ("one", "other"))
    assert one.dtype == "float16"
    assert one.sha256 == other.sha256


def test_a_folder_with_a_run_of_another_recipe_is_left_alone(run_folder: Path) -> None:
    before = (run_folder / "metrics.csv").read_text()

    with pytest.raises(FolderNotEmpty, match="tiny holds a run with train = "):
        fit(one_step(), run_folder)

    assert (run_folder / "metrics.csv").read_text() == before


def test_a_run_that_is_complete_is_left_as_it_is(tmp_path: Path) -> None:
    scores = fit(one_step(report=False), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.*")}

    again = fit(one_step(report=False), tmp_path)

    assert torch.equal(again.counts, scores.counts)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.*")} == before


def test_overwriting_starts_the_metrics_anew_and_keeps_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")

    fit(one_step(), tmp_path, overwrite=True)

    assert [row["epoch"] for row in read_rows(tmp_path)] == ["1"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_row_24_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    recipe = one_step(optimizer="sgd", lr=1e30, warmup_steps=0, epochs=3, save_every=1)

    with pytest.raises(NonFiniteLoss, match=r"(nan|inf).* in epoch \d, step \d: images .*train-"):
        fit(recipe, tmp_path)

    states = sorted((tmp_path / "state").iterdir())
    weights = torch.load(states[-1], weights_only=True)["network"].values()
    assert all(value.isfinite().all() for value in weights)
    assert not list(tmp_path.rglob("*.part"))


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
    assert all(torch.allclose(averaged[n], 0.1 * initial[n] + 0.9 * plain[n], atol=1e-6) for n in weights)


def run_of(recipe: Recipe) -> Run:
    return Run(recipe, Path(), recipe.spec(SHAPES_LABELS), Shapes(Path("1"), "val"), Training())


def random_batch(size: int, *, void: float = 0.0) -> TrainingBatch:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (size, 3, 32, 32), dtype=torch.uint8, generator=generator)
    targets = torch.randint(4, (size, 32, 32), dtype=torch.uint8, generator=generator)
    targets[torch.rand(size, 32, 32, generator=generator) < torch.linspace(void, 0, size)[:, None, None]] = 255
    return TrainingBatch(images, targets, tuple(map(str, range(size))))


def test_a_run_of_other_classes_or_images_has_another_hash() -> None:
    run = run_of(one_step())
    renamed = run.spec.model_copy(update={"classes": ("background", "box", "disc", "wedge")})

    others = [replace(run, spec=renamed), replace(run, val=Shapes(Path("2"), "val"))]

    assert len({run.data_sha256, *(other.data_sha256 for other in others)}) == 3
    assert run_of(one_step()).data_sha256 == run.data_sha256


def test_trap_2_a_batch_without_labels_gives_a_finite_zero_gradient() -> None:
    run = run_of(one_step())
    network = make_network(run.recipe, run.spec).train()
    void = replace(random_batch(2), targets=torch.full((2, 32, 32), 255, dtype=torch.uint8))

    loss = find_gradients(network, void, run)

    assert loss == 0
    assert all(weight.grad is not None and not weight.grad.any() for weight in network.parameters())


@pytest.mark.parametrize("terms", [{"cross_entropy": 1.0}, {"dice": 1.0, "focal": 0.5}])
def test_trap_39_accumulated_parts_give_the_gradient_of_the_whole_batch(terms: dict[str, float]) -> None:
    batch = random_batch(5, void=0.98)
    found = []
    for accumulate in (1, 3):
        run = run_of(one_step(accumulate=accumulate, loss=terms, arguments={"norm": "none"}, batch_size=5))
        torch.manual_seed(0)
        network = make_network(run.recipe, run.spec).train()
        found.append((find_gradients(network, batch, run), [weight.grad for weight in network.parameters()]))

    (whole, gradients), (parts, others) = found
    assert parts == pytest.approx(whole, rel=1e-6)
    assert all(
        one is not None and other is not None and torch.allclose(one, other, rtol=1e-3, atol=1e-6)
        for one, other in zip(gradients, others, strict=True)
    )


def test_row_13_pixels_can_be_left_out_of_the_loss_by_chance() -> None:
    batch = random_batch(2)
    run = run_of(one_step(pixel_share=0.25))
    network = make_network(run.recipe, run.spec).train()
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(find_gradients(network, batch, run))

    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[2] != pytest.approx(losses[0], rel=1e-6)
    assert losses[2] == pytest.approx(losses[0], rel=0.3)


def test_a_gradient_is_cut_to_its_longest() -> None:
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])

    lengths = [clip_gradients(layer, None), clip_gradients(layer, 1.0), clip_gradients(layer, 1.0)]

    assert lengths == pytest.approx([5, 5, 1], rel=1e-4)
    assert layer.weight.grad.tolist() == [pytest.approx([0.6, 0.8], rel=1e-4)]


@pytest.mark.parametrize(
    "changes",
    [
        {"accumulate": 2, "clip_norm": 0.5, "ema_decay": 0.9},
        {"loss": {"cross_entropy": 0.5, "lovasz": 1.0, "boundary": 0.1}},
        {"schedule": "one_cycle", "optimizer": "sgd", "bias_lr_factor": 2.0, "freeze_norms": True},
        {"crop": 0, "train_weights": [1.0]},
        {**POOL_OVER_THE_BATCH, "accumulate": 2},
    ],
)
def test_every_choice_trains_and_leaves_a_checkpoint(tmp_path: Path, changes: dict[str, object]) -> None:
    scores = fit(one_step(report=False, **changes), tmp_path)

    assert 0 < scores.pixel_accuracy < 1
    assert checkpoint.verify(tmp_path / "checkpoint-last.safetensors").header.metrics


@pytest.mark.parametrize("is_frozen", [True, False])
def test_row_10_frozen_norms_keep_their_statistics(tmp_path: Path, *, is_frozen: bool) -> None:
    fit(one_step(freeze_norms=is_frozen, report=False), tmp_path)

    network = checkpoint.load(tmp_path / "checkpoint-last.safetensors").network
    means = [module.running_mean for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert means
    assert all(mean is not None and mean.any() != is_frozen for mean in means)


def test_row_10_too_few_images_for_batch_norm_are_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(one_step(batch_size=2, report=False), tmp_path)

    assert "warning: batch norm sees 2 images at once, 4 or more are better" in capsys.readouterr().out


def test_row_8_a_dead_branch_is_warned_of_by_its_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = one_step(arguments={"norm": "none"}, epochs=10, validate_every=10, report=False)
    fit(with_zeros(recipe, tmp_path, ("merges.3", "score")), tmp_path / "run")

    out = capsys.readouterr().out
    assert "warning: no gradient has reached merges.3.0 yet, it does not learn" in out
    assert "reached score yet" in out


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.soak)])
def test_trap_45_a_network_is_compiled_once_whatever_sizes_are_validated_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))  # the default's C++ takes a minute
    torch.compiler.reset()
    counters["stats"].clear()

    fit(one_step(compile=True, report=False, val="shapes:val:5", epochs=2), tmp_path)

    assert counters["stats"]["unique_graphs"] == 1
    assert checkpoint.verify(tmp_path / "checkpoint-last.safetensors")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"architecture": "unett"}, "unknown architecture 'unett'"),
        ({"arguments": {"depth": 3}}, "unet has no argument 'depth'"),
        ({"encoder_weights": "FILE"}, "unet has no encoder"),
        ({**FROZEN, "arguments": {"encoder": "resnet18"}, "encoder_weights": "FILE"}, "do not fit the encoder"),
        ({**FROZEN, "encoder_weights": "absent.pth"}, r"absent\.pth: no such file"),
        ({**POOL_OVER_THE_BATCH, "accumulate": 4}, "deeplabv3plus cannot learn from 1 images"),
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
    with pytest.raises(InvalidRecipe, match="no GPU that torch can use"), joined("cuda"):
        fit(one_step(device="cuda"), tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_datasets_of_different_labels_are_refused(tmp_path: Path, voc_tree: VocTree) -> None:
    with pytest.raises(InvalidDataset, match="labels voc and shapes cannot be trained on together"):
        fit(one_step(train=[f"voc:train:{voc_tree.root}"]), tmp_path / "run")
