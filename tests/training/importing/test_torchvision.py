from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import segmentation  # type: ignore[import-untyped]  # torchvision has no stubs

from model_zoo import checkpoint
from model_zoo.labels import VOC_CLASSES, voc_palette
from tests.training.importing.conftest import Theirs, import_with, network_of
from training.importing.torchvision import NETWORKS, Found, recognise


@pytest.mark.parametrize("size", [(97, 65), (64, 64)], ids=str)
def test_an_imported_network_gives_the_logits_of_its_origin(
    theirs: Theirs, ours: nn.Module, size: tuple[int, int]
) -> None:
    torch.manual_seed(1)
    images = torch.randn(2, 3, *size)

    with torch.inference_mode():
        expected, found = theirs.logits(images), ours(images).logits

    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_an_imported_network_says_what_it_was(theirs: Theirs, imported: Path) -> None:
    header = checkpoint.inspect(imported).header

    weights = header.training.initial_weights
    assert header.name == "ours"
    assert header.description == f"Imported from torchvision's {theirs.file.stem}."
    assert (header.spec.label_space, header.spec.classes) == ("voc", VOC_CLASSES)
    assert header.spec.palette == voc_palette(21)
    assert weights is not None
    assert (weights.name, weights.licence) == (theirs.file.name, "unknown")
    assert weights.sha256 == hashlib.sha256(theirs.file.read_bytes()).hexdigest()


@pytest.mark.parametrize("words", [[], ["--classes", "voc"]], ids=["assumed", "said"])
def test_vocs_names_have_the_colours_and_the_label_space_of_the_spec_file(
    tmp_path: Path, small_spec: Path, words: list[str]
) -> None:
    palette = [[index, 0, 255 - index] for index in range(21)]
    spec, out = tmp_path / "spec.toml", tmp_path / "ours.safetensors"
    spec.write_text(f'palette = {palette}\nlabel_space = "mine"\n{small_spec.read_text()}')
    torch.save(network_of("lraspp_mobilenet_v3_large").state_dict(), tmp_path / "lraspp.pth")

    code = import_with(tmp_path / "lraspp.pth", "--out", out, "--spec", spec, *words)

    found = checkpoint.inspect(out).header.spec
    assert code == 0
    assert (found.label_space, found.classes) == ("mine", VOC_CLASSES)
    assert [list(color) for color in found.palette] == palette


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("num_classes", [2, 150])
def test_each_network_is_recognised_by_names_and_shapes_alone(name: str, num_classes: int) -> None:
    build: Callable[..., nn.Module] = getattr(segmentation, name)
    with torch.device("meta"):
        network = build(weights=None, weights_backbone=None, num_classes=num_classes)

    assert recognise(network.state_dict()) == Found(name, num_classes, has_auxiliary=False)


@pytest.mark.parametrize("name", [name for name, network in NETWORKS.items() if network.has_auxiliary])
def test_an_auxiliary_head_is_seen(name: str) -> None:
    build: Callable[..., nn.Module] = getattr(segmentation, name)
    with torch.device("meta"):
        network = build(weights=None, weights_backbone=None, aux_loss=True)

    assert recognise(network.state_dict()) == Found(name, 21, has_auxiliary=True)


def test_the_auxiliary_head_is_kept(tmp_path: Path, small_spec: Path) -> None:
    torch.manual_seed(0)
    network = segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, aux_loss=True).eval()
    torch.save(network.state_dict(), tmp_path / "deeplab.pth")
    images = torch.randn(1, 3, 64, 64)

    code = import_with(tmp_path / "deeplab.pth", "--out", tmp_path / "ours.safetensors", "--spec", small_spec)

    found = checkpoint.load(tmp_path / "ours.safetensors").network
    names = [name for name in found.state_dict() if name.startswith("auxiliary.")]
    expected = network.get_submodule("aux_classifier").state_dict()
    assert code == 0
    assert [name.removeprefix("auxiliary.") for name in names] == list(expected)
    with torch.inference_mode():
        torch.testing.assert_close(found(images).logits, network(images)["out"], atol=1e-4, rtol=0)


def test_an_auxiliary_head_of_other_classes_is_left_behind_as_fine_tuning_leaves_it(
    tmp_path: Path, small_spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = segmentation.deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, aux_loss=True).eval()
    network.classifier[4] = nn.Conv2d(256, 2, 1)
    torch.save(network.state_dict(), tmp_path / "tuned.pth")
    images = torch.randn(1, 3, 64, 64)

    code = import_with(
        tmp_path / "tuned.pth", "--out", tmp_path / "ours.safetensors", "--spec", small_spec, "--classes", "road,rest"
    )

    loaded = checkpoint.load(tmp_path / "ours.safetensors")
    assert code == 0
    assert "without its auxiliary head of 21 classes" in capsys.readouterr().out
    assert "without its auxiliary head of 21 classes" in loaded.header.description
    with torch.inference_mode():
        torch.testing.assert_close(loaded.network(images).logits, network(images)["out"], atol=1e-4, rtol=0)


def test_images_are_shown_as_torchvision_shows_them_unless_the_spec_says_otherwise(imported_small: Path) -> None:
    spec = checkpoint.inspect(imported_small).header.spec

    assert (spec.size.policy, spec.size.side, spec.size.multiple) == ("shortest", 520, 1)
    assert spec.input.color_order == "rgb"
    assert spec.input.mean == (0.485, 0.456, 0.406)
    assert spec.input.std == (0.229, 0.224, 0.225)
