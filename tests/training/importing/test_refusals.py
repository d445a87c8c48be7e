"""Refuse what fits nothing, in one line, with nothing written and nothing run."""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.training.importing.conftest import Theirs, import_with

State = dict[str, Tensor]

INSTEAD = "the weights alone instead: torch.save(model.state_dict(), FILE)"
FIVE = "classes = ['a', 'b', 'c', 'd', 'e']"
CONV, NORM = "classifier.low_classifier.weight", "backbone.0.1"


class Malice:
    """Write a file as soon as it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.proof}",)


def refusal(capsys: pytest.CaptureFixture[str], source: Path, *words: object) -> str:
    """Import and give the one line that refuses it, having seen that nothing was left behind."""
    out = source.parent / "out"
    out.mkdir()
    code = import_with(source, "--out", out / "ours.safetensors", *words)
    line = capsys.readouterr().err.removesuffix("\n")
    assert code == 2
    assert line.startswith("segtrain: ")
    assert line.isprintable()
    assert list(out.iterdir()) == []
    return line.removeprefix("segtrain: ")


@pytest.fixture(scope="module")
def state(small: Theirs) -> State:
    found: State = torch.load(small.file, weights_only=True)
    return found


def cut(path: Path, size: int) -> None:
    os.truncate(path, size)


def write_archive(path: Path, *names: str, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in names:
            archive.writestr(name, b"0" * 100)


def save_quantized(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch is about to give such tensors up
        torch.save({"a": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}, path)


def save_sparse(path: Path) -> None:
    torch.save({"a": torch.eye(3).to_sparse()}, path)


def save_cut(path: Path, size: int, *, new: bool = True) -> None:
    torch.save({"a": torch.ones(300)}, path, _use_new_zipfile_serialization=new)
    cut(path, size)


def save_cut_safetensors(path: Path) -> None:
    save_file({"a": torch.ones(300)}, path)
    cut(path, 900)


def save(content: object) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("hello, world\n"), "is neither a file of torch.save nor of safetensors"),
        (Path.touch, "is empty"),
        (Path.mkdir, "config.json"),
        (os.mkfifo, "is no file; give a .pth, .pt or .safetensors file"),
        (Path.exists, "No such file or directory"),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), "is damaged, or no file of weights"),
        (lambda path: save_cut(path, 1000), "is cut short or damaged"),
        (lambda path: save_cut(path, 1000, new=False), "is damaged, or no file of weights"),
        (save_cut_safetensors, "is damaged, or no file of weights"),
        (lambda path: write_archive(path, "a/readme.txt"), "is an archive, but not one of torch.save"),
        (
            lambda path: write_archive(path, "a/data.pkl", "a/constants.pkl"),
            f"is a TorchScript archive, which holds code; save {INSTEAD}",
        ),
        (lambda path: write_archive(path, "a/data.pkl", compression=zipfile.ZIP_DEFLATED), "is compressed"),
        (
            save(nn.Conv2d(1, 1, 1)),
            f"holds torch.nn.modules.conv.Conv2d, a Python object, and none is loaded or run; save {INSTEAD}",
        ),
        (save([torch.ones(1)]), f"holds a list, not tensors by name; save {INSTEAD}"),
        (save(torch.ones(1)), "holds a Tensor, not tensors by name"),
        (save({}), "holds no tensors"),
        (save({"state_dict": {}}), "holds no tensors"),
        (save({"a": torch.ones(1), "epoch": 3}), "epoch is a int, not a tensor with a name"),
        (save({3: torch.ones(1)}), "3 is a Tensor, not a tensor with a name"),
        (save({"a\nb\x1b[1m": 3}), r"a\nb\x1b[1m is a int"),
        (save({"a": torch.ones(3, dtype=torch.complex64)}), "a is complex64; weights are plain floating-point numbers"),
        (save({"a": torch.ones(3, device="meta")}), "a has a shape but no values"),
        (save_quantized, "tensors of another kind (torch._utils._rebuild_qtensor); weights are plain floating-point"),
        (save_sparse, "tensors of another kind (torch._utils._rebuild_sparse_tensor); weights are plain floating-p"),
        (save({"fc.weight": torch.ones(1)}), "no tensor is as in torchvision's fcn_resnet50, fcn_resnet101, deeplabv3"),
        (save({"segmentation_head.0.weight": torch.ones(1)}), "for segmentation-models-pytorch give the folder"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Callable[[Path], None], message: str
) -> None:
    source = tmp_path / "weights.pth"
    make(source)

    line = refusal(capsys, source)

    assert line.startswith(str(source))
    assert message in line


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize(
    "write",
    [
        torch.save,
        lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
        lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2)),
        lambda content, path: path.write_bytes(pickle.dumps(content)),
    ],
    ids=["zip", "before torch 1.6", "pickle", "newer pickle"],
)
def test_a_pickle_with_code_in_it_is_refused_and_the_code_never_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], write: Callable[[object, Path], None], suffix: str
) -> None:
    source, proof = tmp_path / f"weights{suffix}", tmp_path / "it-ran"
    write({"model": {"a": torch.ones(1)}, "args": Malice(proof)}, source)

    line = refusal(capsys, source)

    assert line.startswith(str(source))
    assert not proof.exists()
    pickle.loads(pickle.dumps(Malice(proof)))  # noqa: S301  # shows that it would have
    assert proof.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: {name: value for name, value in state.items() if not name.startswith("backbone.16.1.")},
            "but it misses backbone.16.1.weight, backbone.16.1.bias, backbone.16.1.running_mean, ... (4 in all)",
        ),
        (
            lambda state: {**state, "classifier.more.weight": torch.ones(1)},
            "but it has in excess classifier.more.weight",
        ),
        (
            lambda state: {**{f"model.{name}": value for name, value in state.items()}, "loss.weight": torch.ones(5)},
            "lraspp_mobilenet_v3_large; leave out loss.weight, since all others begin with model.",
        ),
        (
            lambda state: {**state, CONV: torch.ones(5, 40, 3, 3)},
            f"but it has other shapes: {CONV} [5, 40, 3, 3] in place of [5, 40, 1, 1]",
        ),
        (
            lambda state: {**state, CONV: torch.ones(1).expand(1 << 20, 1 << 20)},
            "has scores of 1048576 classes, at most 255 are allowed",
        ),
        (
            lambda state: {**state, "backbone.0.0.weight": torch.ones(1).expand(1 << 20, 1 << 20)},
            "backbone.0.0.weight [1048576, 1048576] in place of [16, 3, 3, 3]",
        ),
    ],
    ids=["missing", "extra", "beside", "misshapen", "classes", "huge"],
)
def test_tensors_that_do_not_fit_are_named_with_the_network_that_is_nearest(
    state: State,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[State], State],
    message: str,
) -> None:
    source = tmp_path / "weights.pth"
    torch.save(change(state), source)

    line = refusal(capsys, source, "--classes", "a,b,c,d,e")

    assert message in line


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(5, 40, 1, 1, dtype=torch.int32), f"{CONV} holds int32 numbers; weights are floating-point numbers"),
        (torch.full((5, 40, 1, 1), torch.nan), f"{CONV} holds 200 of 200 values that are NaN or infinite"),
        (torch.full((5, 40, 1, 1), torch.inf), f"{CONV} holds 200 of 200 values that are NaN or infinite"),
        (torch.full((5, 40, 1, 1), 1e300, dtype=torch.float64), f"{CONV} holds 200 of 200 values that are NaN or infi"),
    ],
    ids=["whole numbers", "NaN", "infinite", "too large for float32"],
)
def test_values_that_are_no_weights_are_refused(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str], value: Tensor, message: str
) -> None:
    source = tmp_path / "weights.pth"
    torch.save({**state, CONV: value}, source)

    assert message in refusal(capsys, source, "--classes", "a,b,c,d,e")


def test_variances_below_zero_are_refused(state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "weights.pth"
    torch.save({**state, f"{NORM}.running_var": torch.full((16,), -1.0)}, source)

    line = refusal(capsys, source, "--classes", "a,b,c,d,e")

    assert f"{NORM}.running_var holds 16 of 16 variances below zero" in line


@pytest.mark.skipif(not hasattr(torch, "float4_e2m1fn_x2"), reason="this torch has no numbers of four bits")
@pytest.mark.parametrize(
    ("name", "shape", "wanted"),
    [(f"{NORM}.weight", (16,), "float32"), (f"{NORM}.num_batches_tracked", (), "int64")],
    ids=["weight", "counter"],
)
def test_numbers_of_four_bits_are_refused(  # noqa: PLR0917  # fixtures
    state: State,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    shape: tuple[int, ...],
    wanted: str,
) -> None:
    source = tmp_path / "weights.pth"
    torch.save({**state, name: torch.zeros(shape, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)}, source)

    line = refusal(capsys, source, "--classes", "a,b,c,d,e")

    assert f"{name} holds float4_e2m1fn_x2 numbers, which cannot be read as {wanted}" in line


def test_weights_that_give_scores_without_end_are_refused(
    state: State, tmp_path: Path, small_spec: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "weights.pth"
    torch.save({**state, f"{NORM}.weight": torch.full((16,), 3e38)}, source)

    line = refusal(capsys, source, "--classes", "a,b,c,d,e", "--spec", small_spec)

    assert line == "self-test failed, lraspp answers an image with scores that are not finite"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "lraspp_mobilenet_v3_large has 5 classes without names; name them with --classes a,b,c, or a file of one"),
        (["--classes", "a,b"], "2 class names for torchvision's lraspp_mobilenet_v3_large of 5 classes"),
        (["--classes", "voc"], "21 class names for torchvision's lraspp_mobilenet_v3_large of 5 classes"),
        (["--classes", "a,b,c,b,d"], "each class needs a name of its own, but 'b' is there 2 times"),
        (["--classes", "a,b,,c,d"], "each class needs a name of its own, but one is empty"),
        (["--classes", "names.txt"], "--classes names.txt: there is no such file, and one name is no list; write a,b"),
        (["--classes", ""], "--classes : there is no such file, and one name is no list; write a,b,c"),
        (["--classes", "x" * 5000], f"--classes {'x' * 80}: there is no such file, and one name is no list"),
        (["--classes", ","], "each class needs a name of its own, but one is empty"),
        (["--classes", "a,b,c,d,\x1b[1m"], r"class name \x1b[1m has characters that cannot be printed"),
        (["--classes", ",".join(map(str, range(300)))], "300 class names, at most 255 are allowed"),
        (["--classes", "/"], "/: is no file; write the words into one"),
        (["--classes", "a,b,c,d," + "e" * 300], f"classes.4 = '{'e' * 79}: String should have at most 200 characters"),
        (["--name", "my model"], "--name my model: a name has at most 100 letters, digits, points, dashes"),
        (["--name", "a\nb"], r"--name a\nb: a name has at most 100 letters, digits, points, dashes"),
        (["--spec", "nowhere.toml"], "nowhere.toml: No such file or directory"),
    ],
)
def test_words_that_do_not_fit_are_refused(
    small: Theirs, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    source = tmp_path / "weights.pth"
    source.symlink_to(small.file)

    assert message in refusal(capsys, source, *words)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("architecture = ", "spec.toml: is no TOML"),
        ("a = " + "9" * 6000, "spec.toml: is no TOML: Exceeds the limit (4300 digits)"),
        ("classes = " + "[" * 5000 + "]" * 5000, "spec.toml: is no TOML"),
        ("classes = ['a', 'b', ' ', 'd', 'e']", "each class needs a name of its own, but one is empty"),
        ("classes = ['a', 'b', 'c', 'd', \"e\\nf\"]", r"class name e\nf has characters that cannot be printed"),
        (f"classes = {[*map(str, range(300))]}", "300 class names, at most 255 are allowed"),
        ("a = '" + "a" * (1 << 20) + "'", "spec.toml: is longer than 1048576 bytes"),
        (r'architecture = "un\net"', r"architecture = 'un\net': String should match pattern"),
        ('[size]\n"a\\nb" = 3', r"unknown field 'size.a\nb', known are"),
        ("architektur = 'unet'", "unknown field 'architektur', known are architecture, arguments, classes, palette"),
        ("architecture = 'segnet'\nclasses = ['a', 'b']", "unknown architecture 'segnet', known are fcn32s, fcn16s"),
        ("architecture = 'unet'", "the classes have no names; list them in the spec file, or with --classes"),
        ("[arguments]\nbase_channels = 4", "the spec file has arguments and no architecture that takes them"),
        (
            "architecture = 'unet'\nclasses = ['a', 'b']\n[arguments]\nwidth = 4",
            "unet has no argument 'width', known are in_channels",
        ),
        (
            "architecture = 'unet'\nclasses = ['a', 'b']\n[arguments]\nbase_channels = " + "9" * 4000,
            f"unet has base_channels={'9' * 80}: Input should be less than",
        ),
        (
            "architecture = 'unet'\nclasses = ['a', 'b']\n[arguments]\n" + "x" * 4000 + " = 4",
            f"unet has no argument '{'x' * 80}', known are in_channels",
        ),
        (
            "architecture = 'unet'\nclasses = ['a', 'b']",
            "the spec's unet of 2 classes does not fit: the file misses ",
        ),
        (
            f"{FIVE}\npalette = [[0, 0, 0]]",
            "5 classes need as many colours, and the palette has 1",
        ),
        ("palette = [[0, 0, 300]]", "palette.0.2 = 300: Input should be less than or equal to 255"),
        ("[size]\nside = 5", "size.side = 5: Input should be greater than or equal to 32"),
        (
            f"{FIVE}\n[input]\ncolor_order = 'grey'\nmean = [0.5]\nstd = [0.5]\n[size]\nside = 64",
            "lraspp cannot run on what [input] and [size] give it: ",
        ),
    ],
)
def test_a_spec_file_that_cannot_be_meant_is_refused(
    small: Theirs, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    source, spec = tmp_path / "weights.pth", tmp_path / "spec.toml"
    source.symlink_to(small.file)
    spec.write_text(text)

    assert message in refusal(capsys, source, "--spec", spec)


@pytest.mark.parametrize("option", ["--spec", "--classes"])
def test_nobody_waits_for_words_that_another_process_might_write(
    small: Theirs, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    source, pipe = tmp_path / "weights.pth", tmp_path / "pipe"
    source.symlink_to(small.file)
    os.mkfifo(pipe)

    assert refusal(capsys, source, option, pipe) == f"{pipe}: is no file; write the words into one"


def test_a_single_class_would_be_that_of_every_pixel(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, names = tmp_path / "weights.pth", tmp_path / "names.txt"
    torch.save({name: value[:1] if "_classifier." in name else value for name, value in state.items()}, source)
    names.write_text("road")

    line = refusal(capsys, source, "--classes", names)

    assert line.endswith("_v3_large has one class, which would be that of every pixel; 2 or more would do")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ours.pth"], "ours.pth: name a file that ends in .safetensors"),
        (["nowhere/ours.safetensors"], "nowhere/ours.safetensors: there is no folder "),
        (["there.safetensors"], "there.safetensors: is there already; --overwrite replaces it"),
        (["lost.safetensors"], "lost.safetensors: is there already; --overwrite replaces it"),
        (["folder.safetensors/", "--overwrite"], "folder.safetensors: is a folder; name a file"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (tmp_path / "weights.pth").write_text("nothing that could be read")
    (tmp_path / "there.safetensors").touch()
    (tmp_path / "lost.safetensors").symlink_to(tmp_path / "nowhere.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    before = sorted(tmp_path.iterdir())

    code = import_with(tmp_path / "weights.pth", "--out", f"{tmp_path}/{words[0]}", *words[1:])

    assert code == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_weights_are_not_replaced_by_their_own_checkpoint(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "weights.safetensors"
    save_file(state, source)

    code = import_with(source, "--out", source, "--classes", "a,b,c,d,e", "--overwrite")

    assert code == 2
    assert "is what shall be read; name another file" in capsys.readouterr().err


def test_the_weights_in_a_folder_are_not_replaced_by_their_own_checkpoint(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "model.safetensors")

    codes = [
        import_with(tmp_path, "--out", tmp_path / f"{name}.safetensors", "--classes", "a,b,c,d,e", "--overwrite")
        for name in ("model", "link")
    ]

    assert codes == [2, 2]
    assert capsys.readouterr().err.count("is what shall be read; name another file") == 2
    assert load_file(tmp_path / "model.safetensors").keys() == state.keys()


def test_a_checkpoint_of_this_project_is_served_as_it_is(
    imported_small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "ours.safetensors"
    source.symlink_to(imported_small)

    assert "is a checkpoint of this project already; serve it as it is" in refusal(capsys, source)


def test_weights_too_large_for_half_precision_are_refused(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "weights.pth"
    torch.save({**state, CONV: torch.full((5, 40, 1, 1), 1e5)}, source)

    line = refusal(capsys, source, "--classes", "a,b,c,d,e", "--dtype", "float16")

    assert line == "head.low_classifier.weight holds values that are not finite in float16"
