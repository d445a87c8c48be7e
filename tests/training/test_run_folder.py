import shutil
from pathlib import Path

import pytest

from training.errors import FolderNotEmpty, InvalidOption
from training.recipe import Recipe, read_recipe
from training.run_folder import EpochRow, append_row, check_space, cut_rows, open_run


def quick(**changes: object) -> Recipe:
    return read_recipe("quick", changes)


def row(epoch: int) -> EpochRow:
    return EpochRow(epoch, 10 * epoch, 0.1, 0.5, 1.5, 20.0, 0.25, 60.0 * epoch, None, None)


def test_a_new_folder_gets_its_recipe_and_has_nothing_to_resume(tmp_path: Path) -> None:
    assert not open_run(tmp_path / "new" / "run", quick(), overwrite=False)

    assert read_recipe(str(tmp_path / "new" / "run" / "recipe.toml"), {}) == quick()


def test_the_same_recipe_is_resumed_from_its_state(tmp_path: Path) -> None:
    open_run(tmp_path, quick(), overwrite=False)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "step-000000001.pt").touch()

    assert open_run(tmp_path, quick(workers=3, cache=False, save_every=9), overwrite=False)


def test_another_recipe_is_refused_with_what_differs(tmp_path: Path) -> None:
    open_run(tmp_path, quick(), overwrite=False)

    with pytest.raises(FolderNotEmpty, match=r"holds a run with lr = 0.003, this one has 0.25; choose another folder"):
        open_run(tmp_path, quick(lr=0.25), overwrite=False)


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(FolderNotEmpty, match="is not empty"):
        open_run(tmp_path, quick(), overwrite=False)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_overwriting_removes_what_a_run_has_left_and_nothing_else(tmp_path: Path) -> None:
    for name in ("metrics.csv", "checkpoint-last.safetensors", "report.html", "card.md", "thesis.tex"):
        (tmp_path / name).touch()
    for name in ("state", "events", "pictures"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()

    assert not open_run(tmp_path, quick(), overwrite=True)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "recipe.toml", "thesis.tex"]


def test_rows_after_the_state_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    for epoch in (1, 2, 3):
        append_row(path, row(epoch))

    cut_rows(path, 2)

    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["epoch", "1", "2"]


def test_a_half_written_row_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    append_row(path, row(1))
    with path.open("a") as file:
        file.write("2,20,0.")

    cut_rows(path, 1)
    append_row(path, row(2))

    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["epoch", "1", "2"]


def test_without_rows_the_file_goes(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    cut_rows(path, 0)
    append_row(path, row(1))

    cut_rows(path, 0)

    assert not path.exists()


def test_a_line_for_people_says_speed_and_time_left() -> None:
    assert row(2).summary(6) == "epoch 2/6  loss 0.5000  20.0 images/s  0h02m gone, 0h04m left"


def test_a_run_that_will_not_fit_on_the_disk_is_refused(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free

    check_space(tmp_path / "run", free // 2)
    with pytest.raises(InvalidOption, match=r"MiB are free, the run needs \d+ MiB"):
        check_space(tmp_path / "run", 2 * free)
    assert not (tmp_path / "run").exists()
