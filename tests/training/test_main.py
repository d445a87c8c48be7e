import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest

from model_zoo import checkpoint
from tests.training.conftest import TINY_RUN, VocTree
from training.__main__ import main
from training.evaluation.crf import Crf


def test_a_checkpoint_scores_what_its_run_said(run_folder: Path, tmp_path: Path) -> None:
    with (run_folder / "metrics.csv").open() as file:
        last = list(csv.DictReader(file))[-1]

    words = ["--data", "shapes:val:10", "--network-resolution", "--json", str(tmp_path / "scores.json")]

    code = main(["evaluate", str(run_folder / "checkpoint-last.safetensors"), *words])

    found = json.loads((tmp_path / "scores.json").read_text())
    assert code == 0
    assert found["miou"] == float(last["val_miou"])
    assert found["pixel_accuracy"] == float(last["val_pixel_accuracy"])
    assert found["num_images"] == 10
    assert list(found["iou"]) == ["background", "square", "circle", "triangle"]
    assert found["miou_95"][0] <= found["miou"] <= found["miou_95"][1]
    assert 0 <= found["boundary_miou"] <= 1
    assert 0 <= found["calibration_error"] <= 1
    assert found["network_resolution"]["miou"] == found["miou"]  # the run's size rule is native
    assert found["inference"]["scales"] == [1.0]


def test_other_views_of_the_images_give_other_scores(run_folder: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(run_folder / "checkpoint-last.safetensors"), "--data", "shapes:val:4", "--json"]
    views = [
        [],
        ["--flip"],
        ["--scales", "0.75", "1.25"],
        ["--window", "64"],
        ["--tile", "64", "--margin", "16"],
        ["--crf"],
    ]

    codes = [main([*words, str(tmp_path / str(index)), *view]) for index, view in enumerate(views)]

    scores = [json.loads((tmp_path / str(index)).read_text())["calibration_error"] for index in range(len(views))]
    assert codes == [0] * len(views)
    assert len(set(scores)) == len(views)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--crf"], Crf()),
        (["--crf-window", "5", "--crf-appearance-rgb", "9"], Crf(window=5, appearance_rgb=9.0)),
    ],
)
def test_row_20_scores_say_which_crf_refined_the_logits(
    run_folder: Path, tmp_path: Path, words: list[str], expected: Crf
) -> None:
    checkpoint_file, scores = str(run_folder / "checkpoint-last.safetensors"), tmp_path / "scores.json"

    code = main(["evaluate", checkpoint_file, "--data", "shapes:val:1", "--json", str(scores), *words])

    assert code == 0
    assert json.loads(scores.read_text())["inference"]["crf"] == asdict(expected)


def test_the_table_has_a_line_a_class_and_ends_with_the_mean(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["evaluate", str(run_folder / "checkpoint-best.safetensors"), "--data", "shapes:val:1"])

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["class", "background", "square", "circle", "triangle"]
    assert any(line.split()[1:] == ["-"] * 4 for line in lines[1:5])
    assert lines[-1].startswith("mIoU 0.")
    assert lines[-1].endswith("over 1 images")


def test_every_field_of_the_recipe_is_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--epochs", "1", "--train", "shapes:train:2", "--train", "shapes:train:1", "--argument", "base_channels=9"]
    more = ["--no-cache", "--size", "side=64", "--input", "mean=[0.4, 0.4, 0.4]", "--licences", "shapes=CC0 1.0"]

    code = main(["fit", *TINY_RUN, *words, *more, "--out", str(tmp_path)])

    header = checkpoint.inspect(tmp_path / "checkpoint-last.safetensors").header
    assert code == 0
    assert "epoch 1/1" in capsys.readouterr().out
    assert header.spec.arguments["base_channels"] == 9
    assert (header.spec.size.policy, header.spec.size.side) == ("native", 64)
    assert header.spec.input.mean == (0.4, 0.4, 0.4)
    assert [record.num_images for record in header.training.datasets] == [48, 2, 1]
    assert header.training.datasets[0].licence == "CC0 1.0"
    assert header.training.recipe["cache"] is False


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["fit", "--recipe", "slow", "--out", "OUT"], "no recipe 'slow'"),
        (["fit", "--recipe", "quick", "--epochs", "0", "--out", "OUT"], "epochs = '0'"),
        (["fit", "--recipe", "quick", "--argument", "width", "--out", "OUT"], "write KEY=VALUE"),
        (["fit", "--recipe", "quick", "--val", "voc:val:OUT/nowhere", "--out", "OUT"], "nowhere: no such folder"),
        (["fit", "--recipe", "quick", "--train", "shapes:val", "--out", "OUT"], "in training and in validation"),
        (["fit", "--recipe", "quick", "--out", "OUT/notes.txt"], "notes.txt: File exists"),
        (["fit", *TINY_RUN, "--out", "OUT"], "is not empty"),
        (["evaluate", "OUT/x", "--data", "shapes:val", "--json", "OUT/no/x.json"], "there is no folder OUT/no"),
        (["evaluate", "OUT/absent.safetensors", "--data", "shapes:val"], "absent.safetensors: No such file"),
        (["evaluate", "OUT/notes.txt", "--data", "shapes:val"], "notes.txt: not a safetensors file"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    code = main([word.replace("OUT", str(tmp_path)) for word in words])

    complaints = capsys.readouterr().err.splitlines()
    assert code == 2
    assert len(complaints) == 1
    assert complaints[0].startswith("segtrain: ")
    assert complaint.replace("OUT", str(tmp_path)) in complaints[0]


def test_a_dataset_that_the_checkpoint_was_not_made_for_is_refused(
    run_folder: Path, voc_tree: VocTree, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["evaluate", str(run_folder / "checkpoint-last.safetensors"), "--data", f"voc:val:{voc_tree.root}"])

    assert code == 2
    assert "other classes (21) than the network (4)" in capsys.readouterr().err


def test_data_tells_counts_and_draws_a_sheet(
    voc_tree: VocTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    references = (f"voc:train:{voc_tree.root}", "--against", f"voc:val:{voc_tree.root}")

    code = main(["data", *references, "--sheet", str(sheet)])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[:2] == ["2 images, 21 classes (voc)", "1 sizes: smallest 40x30, median 40x30, largest 40x30"]
    assert lines[-2:] == [f"contact sheet: {sheet}", f"shares no image with voc:val:{voc_tree.root}"]
    assert sheet.read_bytes().startswith(b"\x89PNG")


def test_data_fails_where_a_sample_is_broken_or_shared(
    voc_tree: VocTree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voc_tree.write_list("odd", ["a", "c"])
    odd, val, sheet = f"voc:odd:{voc_tree.root}", f"voc:val:{voc_tree.root}", str(tmp_path / "sheet.png")

    assert main(["data", odd, "--against", val, "--sheet", sheet]) == 2
    assert f"segtrain: 1 images are in {val}, too: c" in capsys.readouterr().err

    (voc_tree.root / "SegmentationClass" / "a.png").write_bytes(b"")
    assert main(["data", odd, "--sheet", sheet]) == 2
    assert "segtrain: 1 of 2 samples are broken" in capsys.readouterr().err


def test_data_wants_a_folder_for_its_sheet_before_it_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "shapes:val:3", "--sheet", "nowhere/sheet.png"]) == 2
    assert "--sheet nowhere/sheet.png: there is no folder nowhere" in capsys.readouterr().err


def test_data_downloads_only_what_it_can(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "shapes:val:3", "--download"]) == 2
    assert "shapes cannot be downloaded" in capsys.readouterr().err


@pytest.mark.usefixtures("uncovered")
def test_an_interrupted_run_leaves_complete_files_only(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [*TINY_RUN, "--workers", "1", "--epochs", "1000", "--validate-every", "1", "--out", str(out)]
    # shells start what runs in the background with SIGINT ignored
    command = ["env", "--default-signal=INT", sys.executable, "-m", "training", "fit", *words]
    run = subprocess.Popen(  # noqa: S603  # our own command
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 100
    while not (out / "checkpoint-best.safetensors").exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)

    os.killpg(run.pid, signal.SIGINT)
    try:
        _, complaint = run.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)  # a run that goes on would take the processors from other tests

    assert run.returncode == 130
    assert "segtrain: interrupted" in complaint
    assert "Traceback" not in complaint
    assert not list(out.glob("*.part"))
    checkpoint.load(out / "checkpoint-best.safetensors")


def test_an_optional_field_is_taken_away_by_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--recipe", "default", "--train", "shapes:train:4", "--val", "shapes:val:1", "--architecture", "unet"]

    first = main(["fit", *words, "--encoder-weights", "none", "--out", str(tmp_path / "run")])
    told = capsys.readouterr().err

    assert first == 2
    assert "encoder_lr: unet has no encoder" in told
