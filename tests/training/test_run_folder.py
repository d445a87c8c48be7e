import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from training.errors import FolderNotEmpty, InvalidOption
from training.recipe import Recipe, read_recipe
from training.run_folder import EpochRow, append_row, check_space, cut_rows, opened


def quick(**changes: object) -> Recipe:
    return read_recipe("quick", changes)


def row(epoch: int) -> EpochRow:
    return EpochRow(epoch, 10 * epoch, 0.1, 0.5, 1.5, 20.0, 0.25, 60.0 * epoch, None, None)


def open_once(out: Path, recipe: Recipe, *, overwrite: bool = False) -> None:
    with opened(out, recipe, overwrite=overwrite):
        pass


def test_a_new_folder_gets_its_recipe(tmp_path: Path) -> None:
    open_once(tmp_path / "new" / "run", quick())

    assert read_recipe(str(tmp_path / "new" / "run" / "recipe.toml"), {}) == quick()


def test_the_same_recipe_finds_its_state(tmp_path: Path) -> None:
    open_once(tmp_path, quick())
    (tmp_path / "state" / "step-000000001.pt").touch()

    open_once(tmp_path, quick(workers=3, cache=False, save_every=9))

    assert (tmp_path / "state" / "step-000000001.pt").exists()


def test_another_recipe_is_refused_with_what_differs(tmp_path: Path) -> None:
    open_once(tmp_path, quick())

    with pytest.raises(FolderNotEmpty, match=r"holds a run with lr = 0.003, this one has 0.25; choose another folder"):
        open_once(tmp_path, quick(lr=0.25))


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(FolderNotEmpty, match="is not empty"):
        open_once(tmp_path, quick())

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_trap_54_a_run_that_was_killed_before_its_recipe_was_written_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / ".recipe.toml.x1y2.part").write_text("na")

    open_once(tmp_path, quick())

    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.toml", "state"]


def test_halves_of_files_that_a_killed_run_has_left_are_removed(tmp_path: Path) -> None:
    open_once(tmp_path, quick())
    for name in ("state/.step-000000001.pt.x.part", ".checkpoint-last.safetensors.y.part", "mine.part"):
        (tmp_path / name).touch()

    open_once(tmp_path, quick())

    assert sorted(path.name for path in tmp_path.rglob("*.part")) == ["mine.part"]


def test_overwriting_removes_what_a_run_has_left_and_nothing_else(tmp_path: Path) -> None:
    for name in ("state", "events", "pictures"):
        (tmp_path / name).mkdir()
    for name in ("metrics.csv", "checkpoint-last.safetensors", "report.html", "card.md", "thesis.tex"):
        (tmp_path / name).touch()
    for name in ("state/step-000000001.pt", "state/tax.txt", "events/events.out.tfevents.1", "pictures/cat.jpg"):
        (tmp_path / name).touch()

    open_once(tmp_path, quick(), overwrite=True)

    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"recipe.toml", "thesis.tex", "state/tax.txt", "state/lock", "pictures/cat.jpg"}


def test_a_state_that_lies_elsewhere_is_removed_as_well(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "step-000000001.pt").touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state").symlink_to(tmp_path / "elsewhere")

    open_once(tmp_path / "run", quick(), overwrite=True)

    assert not (tmp_path / "elsewhere" / "step-000000001.pt").exists()


@pytest.mark.usefixtures("uncovered")
def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(quick(epochs=1, train=["shapes:train:2"], val="shapes:val:1").to_toml())
    words = [sys.executable, "-m", "training", "fit", "--recipe", str(recipe), "--out", str(tmp_path / "run")]

    with opened(tmp_path / "run", read_recipe(str(recipe), {}), overwrite=False):
        second = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603  # fixed words

    assert second.returncode == 2
    assert second.stderr.splitlines()[-1].endswith("run: another process is training in this folder")


def test_a_lock_is_not_kept_by_a_process_that_was_forked_meanwhile(tmp_path: Path) -> None:
    with opened(tmp_path, quick(), overwrite=False):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)  # noqa: S607  # a loader process stands for more

    open_once(tmp_path, quick())

    child.kill()
    child.wait()


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


def test_a_run_that_replaces_its_own_files_counts_them_as_free(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    with (tmp_path / "state" / "step-000000001.pt").open("wb") as file:
        file.truncate(2**40)

    check_space(tmp_path, shutil.disk_usage(tmp_path).free + 2**39)
