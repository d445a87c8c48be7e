from __future__ import annotations

import codecs
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model_zoo import checkpoint
from model_zoo.architectures import build
from model_zoo.card import Card
from model_zoo.labels import voc_palette
from model_zoo.spec import ModelSpec
from tests.training.importing.conftest import import_with

SPEC = """
architecture = "unet"
classes = ["sky", "sea", "sand"]
palette = [[0, 0, 0], [10, 20, 30], [40, 50, 60]]

[arguments]
base_channels = 4
norm = "batch"

[input]
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]

[size]
policy = "native"
multiple = 16
"""

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def unet() -> nn.Module:
    torch.manual_seed(0)
    network = build("unet", 3, {"base_channels": 4, "norm": "batch"}).train()
    with torch.no_grad():
        network(torch.randn(4, 3, 48, 48))
    return network.eval()


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "spec.toml"
    path.write_text(SPEC)
    return path


def rounded(state: State, dtype: torch.dtype) -> State:
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}


def test_weights_of_this_zoo_are_imported_with_what_the_spec_file_says(
    unet: nn.Module, spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "beach.safetensors"
    torch.save(unet.state_dict(), tmp_path / "unet.pth")
    words = ["--spec", spec, "--name", "shore", "--description", "Beaches.", "--licence", "CC0 1.0"]

    code = import_with(tmp_path / "unet.pth", "--out", out, *words)

    found, images = checkpoint.verify(out), torch.randn(1, 3, 33, 61)
    header = found.header
    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert (header.name, header.description) == ("shore", "Beaches. Imported from weights of unet.")
    assert header.spec.classes == ("sky", "sea", "sand")
    assert header.spec.palette == ((0, 0, 0), (10, 20, 30), (40, 50, 60))
    assert header.spec.input.mean == (0.5, 0.5, 0.5)
    assert (header.spec.size.policy, header.spec.size.multiple) == ("native", 16)
    assert header.training.initial_weights is not None
    assert header.training.initial_weights.licence == "CC0 1.0"
    assert lines[0].startswith("weights of unet: 0.12 M parameters, 3 classes (sky, sea, sand)")
    assert lines[1] == f"serve it with: segserve serve --checkpoints {out}"
    assert torch.equal(found.network(images).logits, unet(images).logits)


def test_a_checkpoint_of_ours_goes_out_as_plain_weights_and_comes_back_the_same(spec: Path, tmp_path: Path) -> None:
    before, plain, after = (tmp_path / name for name in ("before.safetensors", "plain.pth", "after.safetensors"))
    spec_before = ModelSpec(
        architecture="unet", arguments={"base_channels": 4, "norm": "batch"}, classes=("a", "b"), palette=voc_palette(2)
    )
    network = build("unet", 2, spec_before.arguments)
    header = checkpoint.save(before, network, Card(name="a", spec=spec_before))
    torch.save(checkpoint.load(before).network.state_dict(), plain)
    spec.write_text('architecture = "unet"\nclasses = ["a", "b"]\n[arguments]\nbase_channels = 4\nnorm = "batch"\n')

    import_with(plain, "--out", after, "--spec", spec)

    found = checkpoint.verify(after).header
    assert found.sha256 == header.sha256
    assert found.self_test == header.self_test
    assert found.spec == header.spec


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {
            "model": state,
            "epoch": 3,
            "args": Namespace(lr=0.1, aux_loss=True),
            "optimizer": {"state": {}},
        },
        lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}, "hyper_parameters": {}},
        lambda state: {"model_state_dict": {f"module._orig_mod.{name}": value for name, value in state.items()}},
        lambda state: {f"{'module.' * 8}{name}": value for name, value in state.items()},
        lambda state: {"n_averaged": torch.tensor(3), **{f"module.{name}": value for name, value in state.items()}},
        lambda state: {name: nn.Parameter(value) if "weight" in name else value for name, value in state.items()},
        lambda state: {name: value for name, value in state.items() if "num_batches_tracked" not in name},
        lambda state: rounded(state, torch.float64),
    ],
    ids=[
        "torchvision's reference",
        "lightning",
        "compiled",
        "wrapped",
        "averaged",
        "parameters",
        "no counters",
        "float64",
    ],
)
def test_wrappers_are_taken_off(
    unet: nn.Module, spec: Path, tmp_path: Path, wrap: Callable[[State], dict[str, object]]
) -> None:
    images, out = torch.randn(1, 3, 32, 48), tmp_path / "ours.safetensors"
    torch.save(wrap(unet.state_dict()), tmp_path / "unet.pth")

    code = import_with(tmp_path / "unet.pth", "--out", out, "--spec", spec)

    assert code == 0
    assert torch.equal(checkpoint.load(out).network(images).logits, unet(images).logits)


@pytest.mark.parametrize(
    "write",
    [
        lambda state, path: torch.save(state, path, _use_new_zipfile_serialization=False),
        save_file,
    ],
    ids=["before torch 1.6", "safetensors"],
)
def test_older_and_safer_files_are_read_whatever_they_are_called(
    unet: nn.Module, spec: Path, tmp_path: Path, write: Callable[[State, Path], None]
) -> None:
    images, out = torch.randn(1, 3, 32, 48), tmp_path / "ours.safetensors"
    write(unet.state_dict(), tmp_path / "weights.bin")

    code = import_with(tmp_path / "weights.bin", "--out", out, "--spec", spec)

    assert code == 0
    assert torch.equal(checkpoint.load(out).network(images).logits, unet(images).logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32_of_the_same_values(
    unet: nn.Module, spec: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    state, out = rounded(unet.state_dict(), dtype), tmp_path / "ours.safetensors"
    torch.save(state, tmp_path / "unet.pth")

    import_with(tmp_path / "unet.pth", "--out", out, "--spec", spec)

    found = checkpoint.load(out)
    tensors = found.network.state_dict()
    assert found.header.dtype == "float32"
    assert all(torch.equal(value, state[name].to(value.dtype)) for name, value in tensors.items())


def test_tensors_that_share_their_memory_become_tensors_of_their_own(
    unet: nn.Module, spec: Path, tmp_path: Path
) -> None:
    state, out = unet.state_dict(), tmp_path / "ours.safetensors"
    names = [name for name, value in state.items() if value.shape == (4,) and value.is_floating_point()]
    tied = {**state, **dict.fromkeys(names, state[names[0]])}
    torch.save(tied, tmp_path / "unet.pth")

    code = import_with(tmp_path / "unet.pth", "--out", out, "--spec", spec)

    found = checkpoint.load(out).network.state_dict()
    assert code == 0
    assert len(names) > 1
    assert all(torch.equal(found[name], state[names[0]]) for name in names)
    assert len({found[name].data_ptr() for name in names}) == len(names)


def test_weights_are_stored_in_half_the_bytes_if_asked(unet: nn.Module, spec: Path, tmp_path: Path) -> None:
    torch.save(unet.state_dict(), tmp_path / "unet.pth")

    import_with(tmp_path / "unet.pth", "--out", tmp_path / "full.safetensors", "--spec", spec)
    import_with(tmp_path / "unet.pth", "--out", tmp_path / "half.safetensors", "--spec", spec, "--dtype", "float16")

    full, half = (checkpoint.inspect(tmp_path / f"{name}.safetensors") for name in ("full", "half"))
    assert half.header.dtype == "float16"
    assert half.size_bytes < 0.6 * full.size_bytes


@pytest.mark.parametrize(
    "text",
    ["sky, sea,sand", "{folder}/names.txt", "{folder}/marked.txt"],
    ids=["with commas", "one a line", "by another editor"],
)
def test_the_option_names_the_classes_before_the_spec_file_does(
    unet: nn.Module, spec: Path, tmp_path: Path, text: str
) -> None:
    out, words = tmp_path / "ours.safetensors", ["--spec", spec, "--classes", text.format(folder=tmp_path)]
    (tmp_path / "names.txt").write_text("sky\nsea\n\n  sand\n")
    (tmp_path / "marked.txt").write_bytes(codecs.BOM_UTF8 + b"sky\r\nsea\r\nsand")
    spec.write_text(SPEC.replace('"sky", "sea", "sand"', '"a", "b", "c"'))
    torch.save(unet.state_dict(), tmp_path / "unet.pth")

    import_with(tmp_path / "unet.pth", "--out", out, *words)

    assert checkpoint.inspect(out).header.spec.classes == ("sky", "sea", "sand")


def test_what_lies_beside_a_network_is_named(
    unet: nn.Module, spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = {f"module.{name}": value for name, value in unet.state_dict().items()}
    torch.save({**state, "loss.weight": torch.ones(3)}, tmp_path / "unet.pth")

    code = import_with(tmp_path / "unet.pth", "--out", tmp_path / "ours.safetensors", "--spec", spec)

    assert code == 2
    assert "; leave out loss.weight, since all others begin with module.\n" in capsys.readouterr().err


def test_a_checkpoint_is_replaced_only_if_asked(unet: nn.Module, spec: Path, tmp_path: Path) -> None:
    out = tmp_path / "ours.safetensors"
    torch.save(unet.state_dict(), tmp_path / "unet.pth")
    out.write_text("precious")

    refused = import_with(tmp_path / "unet.pth", "--out", out, "--spec", spec)
    kept = out.read_bytes()
    replaced = import_with(tmp_path / "unet.pth", "--out", out, "--spec", spec, "--overwrite")

    assert (refused, kept, replaced) == (2, b"precious", 0)
    assert checkpoint.verify(out).header.name == "ours"
