import shutil
from pathlib import Path

import pytest

from model_zoo import checkpoint
from tests.training.html_page import Page, read_page
from training.__main__ import BAD_INPUT, main
from training.datasets import open_dataset
from training.errors import TrainingError
from training.evaluation.evaluate import Assessment, assess
from training.evaluation.inference import Inference
from training.recipe import read_recipe
from training.report import write_report
from training.report_page.tables import DASH
from training.run_folder import BEST, CARD, LAST, METRICS, RECIPE, REPORT


@pytest.fixture(scope="module")
def reported(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a copy of a finished run with its report and card."""
    run = tmp_path_factory.mktemp("reported") / "run"
    shutil.copytree(run_folder, run)
    assert write_report(run) == run / REPORT
    return run


@pytest.fixture(scope="module")
def page(reported: Path) -> Page:
    return read_page((reported / REPORT).read_bytes())


@pytest.fixture(scope="module")
def found(reported: Path) -> Assessment:
    loaded = checkpoint.load(reported / LAST)
    dataset = open_dataset(read_recipe(str(reported / RECIPE), {}).val)
    return assess(loaded.network, loaded.header.spec, dataset, Inference())


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Path:
    """Give a copy of a finished run to damage."""
    run = tmp_path / "run"
    shutil.copytree(run_folder, run, ignore=shutil.ignore_patterns(REPORT, CARD))
    return run


def test_the_page_is_well_formed_and_needs_no_other_file(page: Page, reported: Path) -> None:
    source, tags = (reported / REPORT).read_text(), {name for name, _ in page.elements}

    assert page.misnested == page.opened == []
    assert not tags & {"script", "link", "iframe", "object"}
    assert all(address.startswith("data:image/jpeg;base64,") for address in page.attribute("src"))
    assert page.attribute("href") == []
    assert "url(" not in source
    assert "@import" not in source


def test_the_table_of_classes_has_the_numbers_of_assess(page: Page, found: Assessment) -> None:
    spec_classes = ("background", "square", "circle", "triangle")
    scores = (found.scores.iou, found.scores.accuracy, found.scores.dice, found.boundary.iou)

    rows = [page.row(name) for name in spec_classes]

    expected = [[f"{value:.4f}" for value in values] for values in zip(*map(list, scores), strict=True)]
    assert [row[:4] for row in rows] == expected
    assert [row[4] for row in rows] == [f"{count:,}" for count in found.scores.counts.sum(1).tolist()]


def test_the_headline_has_interval_and_number_of_images(page: Page, found: Assessment) -> None:
    low, high = found.interval

    assert f"mIoU {found.scores.mean_iou:.4f}95 % interval {low:.4f} to {high:.4f}10 images: shapes val" in page.text


def test_the_images_are_those_that_come_out_best_and_worst(page: Page) -> None:
    ids = [alt.removeprefix("image of ") for alt in page.attribute("alt") if alt.startswith("image of ")]

    assert sorted(ids) == sorted(f"val-{number}" for number in range(10))


def test_the_page_tells_recipe_and_origin(page: Page, reported: Path) -> None:
    header = checkpoint.load(reported / LAST).header

    assert (reported / RECIPE).read_text() in page.text
    assert page.row("commit") == [header.training.commit or DASH]
    assert page.row("command")[0].startswith("segtrain fit --recipe quick")
    assert page.row("training") == [
        "shapes (train)", "48", "unknown", DASH, header.training.datasets[0].list_sha256
    ]  # fmt: skip
    assert page.row("validation")[:2] == ["shapes (val)", "10"]


def test_the_card_has_the_same_score(reported: Path, found: Assessment) -> None:
    card = (reported / CARD).read_text()

    assert f"| mIoU | {found.scores.mean_iou:.4f} | shapes val | 10 | original |" in card


@pytest.mark.parametrize("name", [LAST, METRICS, RECIPE])
def test_a_missing_file_is_named_and_nothing_is_written(run: Path, name: str) -> None:
    (run / name).unlink()
    before = sorted(run.iterdir())

    with pytest.raises(TrainingError) as refusal:
        write_report(run)

    assert f"{run / name}: No such file or directory" in str(refusal.value)
    assert sorted(run.iterdir()) == before


@pytest.mark.parametrize("name", [LAST, BEST, METRICS, RECIPE])
def test_a_damaged_file_is_named_and_nothing_is_written(run: Path, name: str) -> None:
    (run / name).write_bytes(b"epoch = \xff")
    before = sorted(run.iterdir())

    with pytest.raises(TrainingError) as refusal:
        write_report(run)

    assert str(run / name) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert sorted(run.iterdir()) == before


def test_a_run_without_a_best_checkpoint_is_reported_too(run: Path) -> None:
    (run / BEST).unlink()

    assert "best checkpoint" in read_page(write_report(run).read_bytes()).text


def test_the_command_line_writes_a_report(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run)]) == 0

    assert capsys.readouterr().out == f"{run / REPORT}\n{run / CARD}\n"
    assert (run / REPORT).stat().st_size > (run / CARD).stat().st_size > 1000


def test_the_command_line_names_what_is_missing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / METRICS).unlink()

    assert main(["report", str(run)]) == BAD_INPUT

    assert capsys.readouterr().err == f"segtrain: {run / METRICS}: No such file or directory\n"
