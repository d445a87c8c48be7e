"""Export checkpoints from the command line, read back what was written, and refuse what cannot be."""

import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]  # it has no stubs
import pytest
import torch
from safetensors import safe_open

from benchmarks.onnx_parity import random_network
from model_zoo.card import Card, Metric
from model_zoo.checkpoint import save
from tests.training.exporting.specs import CLASSES, spec_of
from training.__main__ import main
from training.exporting.parity import SIZES, open_session

DYNAMIC = ["batch", 3, "height", "width"]


def export_with(*words: object) -> int:
    """Run ``segtrain export`` and give its exit code."""
    return main(["export", *map(str, words)])


def shapes(session: onnxruntime.InferenceSession) -> list[tuple[str, str, list[str | int]]]:
    return [(one.name, one.type, one.shape) for one in [*session.get_inputs(), *session.get_outputs()]]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the checkpoint of a small U-Net."""
    path = tmp_path_factory.mktemp("small") / "small.safetensors"
    spec = spec_of("unet", {"base_channels": 2})
    score = Metric(name="mIoU", value=0.25, dataset="shapes", num_images=3, resolution="original")
    save(
        path, random_network(spec), Card(name="small", description="A network of a test.", spec=spec, metrics=(score,))
    )
    return path


@pytest.fixture(scope="module")
def exported(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "small.onnx"
    assert export_with(small, "--onnx", out) == 0
    return out


def test_the_graph_takes_bytes_of_any_size_and_gives_logits(exported: Path) -> None:
    session = open_session(exported.read_bytes())

    assert shapes(session) == [
        ("images", "tensor(uint8)", DYNAMIC),
        ("logits", "tensor(float)", ["batch", len(CLASSES), "height", "width"]),
    ]


def test_the_mask_is_the_class_of_the_largest_logit(small: Path, exported: Path, tmp_path: Path) -> None:
    assert export_with(small, "--onnx", tmp_path / "mask.onnx", "--output", "mask") == 0
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 45, 38), np.uint8)

    session = open_session((tmp_path / "mask.onnx").read_bytes())
    [mask] = session.run(None, {"images": images})
    [logits] = open_session(exported.read_bytes()).run(None, {"images": images})

    assert shapes(session)[1] == ("mask", "tensor(uint8)", ["batch", "height", "width"])
    assert mask.dtype == np.uint8
    assert len(np.unique(mask)) > 1
    assert np.array_equal(mask, logits.argmax(axis=1))


def test_the_file_has_the_header_of_the_checkpoint_word_for_word(small: Path, exported: Path) -> None:
    with safe_open(small, "pt") as file:
        header = file.metadata()["segserve"]

    model = onnx.load(exported, load_external_data=False)

    found = {entry.key: entry.value for entry in model.metadata_props}
    assert found["segserve"] == header
    assert (model.producer_name, model.graph.name, model.doc_string) == ("segserve", "small", "A network of a test.")


def test_the_file_says_how_near_it_is_to_torch(exported: Path) -> None:
    model = onnx.load(exported, load_external_data=False)

    record = json.loads({entry.key: entry.value for entry in model.metadata_props}["segserve_parity"])

    assert record["torch"] == torch.__version__
    assert record["onnxruntime"] == onnxruntime.__version__
    assert [(one["batch"], one["height"], one["width"]) for one in record["sizes"]] == list(SIZES)
    assert all(0 <= one["max_difference"] <= record["tolerance"] * one["largest_logit"] for one in record["sizes"])
    assert all(one["equal_pixels"] > 0.999 for one in record["sizes"])


def test_the_user_sees_a_table_and_nothing_else(small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert export_with(small, "--onnx", tmp_path / "small.onnx", "--opset", "20") == 0

    told, complaints = capfd.readouterr()
    file, signature, head, *rows = told.splitlines()
    assert complaints == ""
    assert file.startswith(f"{tmp_path / 'small.onnx'}: ")
    assert signature.endswith("(rgb) -> logits float32 [batch, 4, height, width]")
    assert head.split() == ["compared", "with", "torch", "at", "largest", "logit", "difference", "equal", "pixels"]
    assert [row.split()[0] for row in rows] == [f"{batch}x3x{height}x{width}" for batch, height, width in SIZES]


def test_one_file_is_written_of_the_opset_that_was_asked_for(small: Path, tmp_path: Path) -> None:
    assert export_with(small, "--onnx", tmp_path / "small.onnx", "--opset", "13") == 0

    assert [file.name for file in tmp_path.iterdir()] == ["small.onnx"]
    assert [opset.version for opset in onnx.load(tmp_path / "small.onnx").opset_import if not opset.domain] == [13]


def test_an_old_file_is_replaced_only_when_asked(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    out.write_bytes(b"old")

    first = export_with(small, "--onnx", out)
    kept = out.read_bytes()
    second = export_with(small, "--onnx", out, "--overwrite")

    assert (first, kept, second) == (2, b"old", 0)
    onnx.checker.check_model(out)


@pytest.mark.parametrize(
    ("target", "words", "said"),
    [
        ("nowhere/x.onnx", [], r"--onnx \S+/nowhere/x.onnx: there is no folder \S+/nowhere"),
        ("x.pt", [], r"--onnx \S+/x.pt: name a file that ends in .onnx"),
        ("folder.onnx", [], r"--onnx \S+/folder.onnx: is a folder; name a file"),
        ("old.onnx", [], r"--onnx \S+/old.onnx: is there already; --overwrite replaces it"),
        ("dangling.onnx", [], r"--onnx \S+/dangling.onnx: is there already; --overwrite replaces it"),
        (
            "small.safetensors",
            ["--overwrite"],
            r"--onnx \S+/small.safetensors: is what shall be read; name another file",
        ),
        ("link.onnx", ["--overwrite"], r"--onnx \S+/link.onnx: is what shall be read; name another file"),
        ("x.onnx", ["--opset", "11"], r"--opset 11: 12 to 20 would do"),
        ("x.onnx", ["--opset", "21"], r"--opset 21: 12 to 20 would do"),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line(  # noqa: PLR0917  # fixtures
    small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], target: str, words: list[str], said: str
) -> None:
    checkpoint = tmp_path / "small.safetensors"
    shutil.copy(small, checkpoint)
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "old.onnx").write_bytes(b"old")
    (tmp_path / "link.onnx").symlink_to(checkpoint)
    (tmp_path / "dangling.onnx").symlink_to(tmp_path / "nothing")
    before = sorted(tmp_path.iterdir())

    code = export_with(checkpoint, "--onnx", tmp_path / target, *words)

    told, complaint = capfd.readouterr()
    assert (code, told) == (2, "")
    assert re.fullmatch(rf"segtrain: {said}\n", complaint)
    assert sorted(tmp_path.iterdir()) == before
    assert checkpoint.read_bytes() == small.read_bytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda _: None, "No such file or directory"),
        (lambda _: b"", r"not a safetensors file, or cut short \(0 bytes\)"),
        (lambda whole: whole[:-4], "tensors do not fill the .*; the file is cut or damaged"),
        (lambda whole: whole[:-4] + b"\1\2\3\4", "the weights do not match the sha256 in the header; .*"),
    ],
    ids=["missing", "empty", "cut", "flipped"],
)
def test_a_damaged_checkpoint_leaves_nothing(
    small: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    content: Callable[[bytes], bytes | None],
    said: str,
) -> None:
    source, damaged = tmp_path / "damaged.safetensors", content(small.read_bytes())
    Path(os.devnull if damaged is None else source).write_bytes(damaged or b"")

    code = export_with(source, "--onnx", tmp_path / "x.onnx")

    assert code == 2
    assert re.fullmatch(rf"segtrain: {re.escape(str(source))}: {said}\n", capfd.readouterr().err)
    assert not list(tmp_path.glob("*x.onnx*"))


def test_a_checkpoint_that_can_be_waited_for_for_ever_is_not_opened(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "fifo")

    code = export_with(tmp_path / "fifo", "--onnx", tmp_path / "x.onnx")

    assert code == 2
    assert capfd.readouterr().err == f"segtrain: {tmp_path / 'fifo'}: is no regular file; name a checkpoint file\n"


@pytest.mark.parametrize(
    ("trouble", "code", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 2, "{out}: No space left on device"),
        (OSError(errno.EACCES, "Permission denied"), 2, "{out}: Permission denied"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
    ids=["full", "forbidden", "interrupted"],
)
def test_trouble_while_writing_keeps_the_old_file(  # noqa: PLR0917  # fixtures
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    trouble: BaseException,
    code: int,
    said: str,
) -> None:
    out = tmp_path / "x.onnx"
    out.write_bytes(b"old")

    def fail(_descriptor: int) -> None:
        raise trouble

    monkeypatch.setattr(os, "fsync", fail)
    found = export_with(small, "--onnx", out, "--overwrite")

    assert found == code
    assert capfd.readouterr().err == f"segtrain: {said.format(out=out)}\n"
    assert [file.name for file in tmp_path.iterdir()] == ["x.onnx"]
    assert out.read_bytes() == b"old"


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_what_installs_it(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], package: str
) -> None:
    for module in ("onnx_file", "graph", "parity"):
        monkeypatch.delitem(sys.modules, f"training.exporting.{module}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)

    code = export_with(small, "--onnx", tmp_path / "x.onnx")

    assert code == 2
    assert capfd.readouterr().err == f"segtrain: there is no package {package} here: pip install 'segserve[export]'\n"
    assert not list(tmp_path.iterdir())
