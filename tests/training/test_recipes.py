from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import mobilenet_v2, resnet18  # type: ignore[import-untyped]  # torchvision has no stubs

from model_zoo import checkpoint
from model_zoo.architectures import build
from model_zoo.preprocess import normalise
from tests.training.conftest import VocTree
from training.datasets import LabelSpace, Reference
from training.datasets.isbi2012 import ISBI_LABELS
from training.datasets.pet import PET_LABELS
from training.datasets.voc import VOC_LABELS
from training.errors import InvalidRecipe
from training.initial import make_network
from training.loop import fit
from training.recipe import RECIPES, Recipe, read_recipe
from training.run_folder import LAST
from training.schedule import learning_rate_factor, parameter_groups

LABELS: Mapping[str, LabelSpace] = {
    "voc": VOC_LABELS,
    "sbd": VOC_LABELS,
    "coco-voc": VOC_LABELS,
    "pet": PET_LABELS,
    "isbi2012": ISBI_LABELS,
}
PUBLISHED = (
    "fcn32s-paper", "fcn16s-paper", "fcn8s-paper", "fcn8s-reference", "fcn8s-adam", "fcn8s-reimplementation",
    "unet-paper", "unet-mobilenetv2-pet", "fcn-resnet50-torchvision", "fcn-resnet50-mmsegmentation",
)  # fmt: skip
STAGES = (("fcn32s", "fcn16s"), ("fcn16s", "fcn8s"))
PIXELS_OF_VOC = 500 * 375


def recipe_of(name: str, **changes: object) -> Recipe:
    return read_recipe(name, changes)


def header(name: str) -> str:
    lines = (RECIPES / f"{name}.toml").read_text().splitlines()
    return "\n".join(lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))])


def network_of(name: str) -> nn.Module:
    """Build a recipe's network at its full size, without memory for it."""
    recipe = recipe_of(name)
    labels = LABELS[Reference.parse(recipe.train[0]).reader]
    with torch.device("meta"):
        return build(recipe.architecture, len(labels.classes), recipe.arguments)


def rates(name: str) -> dict[str, tuple[float, float]]:
    """Give the rate and the decay of every weight that learns."""
    network = network_of(name)
    groups = list(parameter_groups(network, recipe_of(name)))
    found = {id(weight): (group["lr"], group["weight_decay"]) for group in groups for weight in group["params"]}
    return {key: found[id(weight)] for key, weight in network.named_parameters() if id(weight) in found}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_says_whom_it_follows_what_it_takes_and_what_was_published(name: str) -> None:
    words = header(name)

    assert "https://" in words or "public re-implementation" in words
    assert "Hardware and time" in words
    assert "Published: " in words or "Told by its author: " in words


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_network_of_a_recipe_can_be_built(name: str) -> None:
    assert sum(weight.numel() for weight in network_of(name).parameters()) > 1_000_000


@pytest.mark.parametrize("name", PUBLISHED)
def test_training_and_validation_of_a_recipe_have_the_same_classes(name: str) -> None:
    recipe = recipe_of(name)

    readers = [Reference.parse(text).reader for text in (*recipe.train, recipe.val)]

    assert {LABELS[reader].name for reader in readers} == {LABELS[readers[0]].name}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_looks_for_every_dataset_in_the_folder_data_and_knows_its_licence(name: str) -> None:
    recipe = recipe_of(name)

    roots = [Reference.parse(text).root for text in recipe.train]

    assert {root.parent for root in roots} == {Path("data")}
    assert {root.name for root in roots} <= recipe.licences.keys()


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("fcn32s-paper", "encoder_weights: vgg16-397923af.pth"),
        ("fcn8s-reference", "encoder_weights: vgg16_from_caffe.pth"),
        ("fcn8s-adam", "encoder_weights: vgg16-397923af.pth"),
        ("fcn8s-reimplementation", "encoder_weights: vgg16-397923af.pth"),
        ("unet-mobilenetv2-pet", "encoder_weights: mobilenet_v2-b0353104.pth"),
        ("fcn-resnet50-torchvision", "encoder_weights: resnet50-0676ba61.pth"),
        ("fcn-resnet50-mmsegmentation", "encoder_weights: resnet50-0676ba61.pth"),
        ("fcn16s-paper", "init_from: runs/fcn32s-paper/checkpoint-last.safetensors"),
        ("fcn8s-paper", "init_from: runs/fcn16s-paper/checkpoint-last.safetensors"),
    ],
)
def test_weights_that_are_not_there_are_named(
    name: str, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = recipe_of(name)

    with pytest.raises(InvalidRecipe, match=missing), torch.device("meta"):
        make_network(recipe, recipe.spec(LABELS[Reference.parse(recipe.train[0]).reader]))


@pytest.mark.parametrize(
    ("name", "exam"),
    [
        ("fcn32s-paper", "seg11valid"),
        ("fcn16s-paper", "seg11valid"),
        ("fcn8s-paper", "seg11valid"),
        ("fcn8s-reference", "seg11valid"),
        ("fcn8s-adam", "VOC 2012 val"),
        ("fcn8s-reimplementation", "VOC 2012 val"),
        ("fcn-resnet50-mmsegmentation", "VOC 2012 val"),
        ("fcn-resnet50-torchvision", "COCO val2017"),
    ],
)
def test_trap_6_a_recipe_validates_on_the_exam_that_its_published_score_is_of(name: str, exam: str) -> None:
    published = header(name).partition("Published: ")[2] or header(name)

    assert exam in recipe_of(name).shown_val
    assert exam in published


@pytest.mark.parametrize("name", ["fcn32s-paper", "fcn16s-paper", "fcn8s-paper"])
def test_trap_41_biases_of_the_papers_fcn_learn_at_twice_the_rate_and_do_not_decay(name: str) -> None:
    lr = recipe_of(name).lr

    found = rates(name)

    assert {rate for key, rate in found.items() if key.endswith("bias")} == {(2 * lr, 0.0)}
    assert {rate for key, rate in found.items() if key.endswith("weight") and "up" not in key} == {(lr, 5e-4)}
    assert {rate for key, rate in found.items() if "up" in key} == {(lr, 0.0)}


def test_trap_40_the_reference_rate_and_decay_are_converted_from_summed_losses() -> None:
    recipe, found = recipe_of("fcn8s-reference"), rates("fcn8s-reference")

    assert recipe.lr == pytest.approx(1e-10 * PIXELS_OF_VOC)
    assert recipe.weight_decay == pytest.approx(5e-4 / PIXELS_OF_VOC, rel=1e-3)
    assert found["encoder.features.0.bias"] == (2 * recipe.lr, 0.0)


def test_row_4_the_reference_learns_at_once_under_fixed_upsampling() -> None:
    network = network_of("fcn8s-reference")

    assert [fusion.scale for fusion in network.fusions] == [0.01, 0.0001]  # type: ignore[union-attr]  # a ModuleList
    assert not [key for key in rates("fcn8s-reference") if "up" in key]


def test_trap_28_the_reference_takes_bgr_from_0_to_255_less_the_mean() -> None:
    rule = recipe_of("fcn8s-reference").input
    pixels = torch.tensor([[0, 128, 255]] * 3, dtype=torch.uint8).view(1, 3, 1, 3)

    numbers = normalise(pixels, rule)

    mean = torch.tensor([104.00699, 116.66877, 122.67892]).view(1, 3, 1, 1)
    assert rule.color_order == "bgr"
    torch.testing.assert_close(numbers, pixels - mean, atol=1e-2, rtol=0)


@pytest.mark.parametrize(("coarse", "fine"), STAGES)
def test_row_3_all_of_a_stage_but_its_upsampling_has_a_place_in_the_next(coarse: str, fine: str) -> None:
    before, after = network_of(f"{coarse}-paper").state_dict(), network_of(f"{fine}-paper").state_dict()

    kept = {key: weight.shape for key, weight in before.items() if not key.startswith("upscore")}

    assert kept.items() <= {key: weight.shape for key, weight in after.items()}.items()


@pytest.mark.parametrize(("coarse", "fine"), STAGES)
def test_row_3_a_stage_begins_with_the_checkpoint_of_the_last_at_a_hundredth_of_its_rate(
    coarse: str, fine: str
) -> None:
    before, after = recipe_of(f"{coarse}-paper"), recipe_of(f"{fine}-paper")

    assert after.init_from == f"runs/{before.name}/{LAST}"
    assert after.lr == pytest.approx(before.lr / 100)
    assert (after.train, after.val, after.input, after.size) == (before.train, before.val, before.input, before.size)
    assert after.arguments == before.arguments


@pytest.mark.parametrize(
    ("name", "total", "step", "rate"),
    [
        ("fcn32s-paper", 10_000, 9_999, 1e-4),
        ("fcn8s-reference", 300_000, 299_999, 1.875e-5),
        ("fcn8s-adam", 39_690, 39_689, 1e-5),
        ("fcn-resnet50-torchvision", 110_910, 0, 0.02),
        ("fcn-resnet50-torchvision", 110_910, 55_455, 0.02 * 0.5**0.9),
        ("fcn-resnet50-mmsegmentation", 20_000, 0, 0.01),
        ("fcn-resnet50-mmsegmentation", 20_000, 10_000, 1e-4 + (0.01 - 1e-4) * 0.5**0.9),
        ("fcn-resnet50-mmsegmentation", 20_000, 20_000, 1e-4),
        ("unet-paper", 12_000, 50, 1e-3 * (1 - 50 / 12_000) ** 0.9),
    ],
)
def test_the_rate_of_a_step_is_that_of_the_source(name: str, total: int, step: int, rate: float) -> None:
    recipe = recipe_of(name)

    assert recipe.lr * learning_rate_factor(step, total, recipe) == pytest.approx(rate)


@pytest.mark.parametrize(
    ("name", "auxiliary_lr"), [("fcn-resnet50-torchvision", 0.2), ("fcn-resnet50-mmsegmentation", 0.01)]
)
def test_all_weights_of_the_resnets_decay_and_torchvisions_auxiliary_head_learns_faster(
    name: str, auxiliary_lr: float
) -> None:
    recipe, found = recipe_of(name), rates(name)

    auxiliary = {rate for key, rate in found.items() if key.startswith("auxiliary")}
    others = {rate for key, rate in found.items() if not key.startswith("auxiliary")}

    assert auxiliary == {(auxiliary_lr, recipe.weight_decay)}
    assert others == {(recipe.lr, recipe.weight_decay)}


def test_the_decay_of_adam_is_the_sources_step_by_step() -> None:
    recipe = recipe_of("fcn8s-adam")

    assert recipe.optimizer == "adamw"
    assert recipe.lr * recipe.weight_decay == pytest.approx(1e-6)


def test_the_papers_unet_weighs_boundaries_and_sees_whole_slices() -> None:
    recipe = recipe_of("unet-paper")

    assert (recipe.loss, recipe.crop, recipe.momentum, recipe.batch_size) == ({"boundary": 1.0}, 0, 0.99, 1)
    assert (recipe.arguments["padding"], recipe.arguments["norm"]) == ("valid", "none")


def one_step(name: str, out: Path, **changes: Any) -> checkpoint.Checkpoint:  # noqa: ANN401  # any field's value
    """Train a recipe for a step, on this machine and without a report, and give what is saved."""
    recipe = recipe_of(name, steps=1, device="cpu", precision="float32", workers=0, report=False, **changes)
    scores = fit(recipe, out)

    assert int(scores.counts.sum()) > 0
    return checkpoint.load(out / LAST)


def write_weights(network: nn.Module, path: Path) -> str:
    torch.save(network.state_dict(), path)
    return str(path)


def test_the_papers_unet_trains(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for folder in ("image", "label"):
        (tmp_path / "isbi" / folder).mkdir(parents=True)
    for number in range(8):
        grey = random.integers(0, 256, (48, 48), dtype=np.uint8)
        Image.fromarray(grey).save(tmp_path / "isbi" / "image" / f"{number}.png")
        Image.fromarray(np.where(grey > 60, 255, 0).astype(np.uint8)).save(
            tmp_path / "isbi" / "label" / f"{number}.png"
        )

    saved = one_step(
        "unet-paper",
        tmp_path / "run",
        train=[f"isbi2012:train:{tmp_path}/isbi"],
        val=f"isbi2012:val:{tmp_path}/isbi",
        arguments={"base_channels": 2},
    )

    assert saved.header.spec.input.color_order == "grey"


def test_the_unet_on_a_frozen_encoder_trains_and_leaves_the_encoder_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "pet"
    (folder / "annotations" / "trimaps").mkdir(parents=True)
    (folder / "images").mkdir()
    for seed, split in enumerate(("trainval", "test")):
        random = np.random.default_rng(seed)
        Image.fromarray(random.integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(folder / "images" / f"{split}.jpg")
        trimap = random.integers(1, 4, (50, 40), dtype=np.uint8)
        Image.fromarray(trimap).save(folder / "annotations" / "trimaps" / f"{split}.png")
        (folder / "annotations" / f"{split}.txt").write_text(f"{split} 1 1 1\n")
    pretrained = mobilenet_v2(weights=None)

    saved = one_step(
        "unet-mobilenetv2-pet",
        tmp_path / "run",
        train=[f"pet:trainval:{folder}"],
        val=f"pet:test:{folder}",
        encoder_weights=write_weights(pretrained, tmp_path / "mobilenet.pth"),
    )

    kept, begun = saved.network.encoder.features.state_dict(), pretrained.features.state_dict()  # type: ignore[union-attr]  # an Encoder
    assert all(torch.equal(weight, begun[key]) for key, weight in kept.items())


@pytest.mark.parametrize("name", ["fcn-resnet50-torchvision", "fcn-resnet50-mmsegmentation"])
def test_a_resnet_trains_with_its_auxiliary_head(name: str, voc_tree: VocTree, tmp_path: Path) -> None:
    saved = one_step(
        name,
        tmp_path / "run",
        train=[f"voc:train:{voc_tree.root}"],
        val=f"voc:val:{voc_tree.root}",
        encoder_weights=write_weights(resnet18(weights=None), tmp_path / "resnet.pth"),
        arguments={"encoder": "resnet18"},
        crop=64,
        size={"side": 64},
    )

    assert saved.header.spec.arguments["auxiliary"]
    assert saved.header.training is not None
    assert saved.header.training.recipe["decay"] == "all"
