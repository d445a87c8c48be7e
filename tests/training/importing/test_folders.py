from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from model_zoo import checkpoint
from tests.training.importing.conftest import import_with
from tests.training.importing.smp_folders import logits_of, smp_folder


def test_a_folder_of_segmentation_models_pytorch_is_imported_by_the_same_command(
    tmp_path: Path, small_spec: Path
) -> None:
    folder, out = tmp_path / "beach", tmp_path / "ours.safetensors"
    theirs = smp_folder(folder, "Unet", "mobilenet_v2", classes=3)
    images = torch.randn(1, 3, 64, 96)

    code = import_with(folder, "--out", out, "--classes", "sky,sea,sand", "--spec", small_spec)

    found = checkpoint.verify(out)
    weights = found.header.training.initial_weights
    assert code == 0
    assert found.header.spec.classes == ("sky", "sea", "sand")
    assert found.header.spec.size.side == 64
    assert weights is not None
    assert weights.name == "beach"
    assert weights.sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    torch.testing.assert_close(logits_of(found.network, images), logits_of(theirs, images), atol=1e-4, rtol=0)


def test_twenty_one_classes_of_a_folder_are_not_taken_for_those_of_voc(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smp_folder(tmp_path / "theirs", "Unet", "mobilenet_v2", classes=21)

    code = import_with(tmp_path / "theirs", "--out", tmp_path / "ours.safetensors")

    assert code == 2
    assert "has 21 classes without names; name them with --classes a,b,c" in capsys.readouterr().err
    assert not (tmp_path / "ours.safetensors").exists()


def test_a_folder_of_weights_with_a_spec_that_names_a_network_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spec.toml").write_text("architecture = 'unet'\nclasses = ['a', 'b']")
    (tmp_path / "weights").mkdir()

    code = import_with(tmp_path / "weights", "--out", tmp_path / "ours.safetensors", "--spec", tmp_path / "spec.toml")

    assert code == 2
    assert "weights: is no file; give a .pth, .pt or .safetensors file" in capsys.readouterr().err
