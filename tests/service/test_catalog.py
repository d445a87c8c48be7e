import os
import shutil
from pathlib import Path

import pytest

from service.catalog import Catalog, NoUsableModel, refuse_if_hopeless
from tests.service.conftest import save_model


def keys(catalog: Catalog) -> list[str]:
    return [candidate.key for candidate in catalog.candidates]


def test_a_file_is_a_folder_of_one(checkpoints: Path) -> None:
    catalog = Catalog(checkpoints / "tiny.safetensors")

    assert keys(catalog) == ["tiny@1"]
    assert catalog.candidates[0].inspection is not None
    assert not catalog.is_folder


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoUsableModel, match="nowhere does not exist"):
        Catalog(tmp_path / "nowhere")


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoUsableModel, match=r"there is no \*.safetensors file in "):
        Catalog(tmp_path)


def test_if_no_file_can_be_used_each_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"rubbish")
    (tmp_path / "b.safetensors").write_bytes(b"")

    with pytest.raises(NoUsableModel, match=r"none can be used: .*a.safetensors: not a .*; .*b.safetensors: not a "):
        refuse_if_hopeless(Catalog(tmp_path).candidates)


def test_a_path_that_cannot_be_looked_at_is_told() -> None:
    with pytest.raises(NoUsableModel, match=r"^checkpoints: x+"):
        Catalog(Path("x" * 300))


@pytest.mark.parametrize("broken", ["a", "c"])
def test_a_file_that_cannot_be_used_takes_no_models_name(tmp_path: Path, broken: str) -> None:
    save_model(tmp_path / "b.safetensors", broken)
    (tmp_path / f"{broken}.safetensors").write_bytes(b"rubbish")

    problems = {candidate.key: candidate.problem for candidate in Catalog(tmp_path).candidates}

    assert problems.keys() == {f"{broken}@1", broken}
    assert problems[f"{broken}@1"] is None


def test_every_file_has_a_key_of_its_own(tmp_path: Path) -> None:
    save_model(tmp_path / "1.safetensors", "a")
    save_model(tmp_path / "2.safetensors", "a", version="2")
    save_model(tmp_path / "3.safetensors", "a")
    (tmp_path / "4.safetensors").write_bytes(b"rubbish")

    candidates = Catalog(tmp_path).candidates

    assert [candidate.key for candidate in candidates] == ["a@1", "a@2", "3", "4"]
    assert candidates[2].problem == "another file already has the model a@1"


def test_what_has_not_changed_is_the_same(several: Path) -> None:
    catalog = Catalog(several)
    before = catalog.candidates

    assert catalog.look() == before


def test_a_new_file_is_seen_once_it_has_stopped_changing(tmp_path: Path, several: Path) -> None:
    shutil.copy(several / "a.safetensors", tmp_path)
    catalog = Catalog(tmp_path)
    content = (several / "b.safetensors").read_bytes()

    (tmp_path / "b.safetensors").write_bytes(content[:100])
    first = catalog.look()
    (tmp_path / "b.safetensors").write_bytes(content)
    seen = [[candidate.key for candidate in found] for found in (first, catalog.look(), catalog.look())]

    assert seen == [["a@1"], ["a@1"], ["a@1", "b@1"]]


def test_a_changed_file_is_read_again_once_it_has_stopped_changing(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_model(file, "a")
    catalog = Catalog(tmp_path)
    (before,) = catalog.candidates

    save_model(file, "a", seed=1)
    looks = [catalog.look()[0] for _ in range(3)]

    assert looks[0] == before
    assert looks[1] == looks[2] != before
    assert looks[1].key == before.key


def test_a_file_that_was_only_touched_counts_as_changed(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_model(file, "a")
    catalog = Catalog(tmp_path)
    (before,) = catalog.candidates

    os.utime(file, (1, 1))
    catalog.look()

    assert catalog.look()[0] != before


def test_a_file_that_is_gone_is_not_listed(tmp_path: Path) -> None:
    for name in "ab":
        save_model(tmp_path / f"{name}.safetensors", name)
    catalog = Catalog(tmp_path)

    (tmp_path / "a.safetensors").unlink()

    assert [candidate.key for candidate in catalog.look()] == ["b@1"]


def test_a_folder_that_has_gone_says_nothing_about_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    save_model(folder / "a.safetensors", "a")
    catalog = Catalog(folder)

    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(NoUsableModel):
        catalog.look()

    assert keys(catalog) == ["a@1"]


def test_a_pipe_is_no_checkpoint(tmp_path: Path, several: Path) -> None:
    shutil.copy(several / "a.safetensors", tmp_path)
    catalog = Catalog(tmp_path)

    os.mkfifo(tmp_path / "pipe.safetensors")

    assert [candidate.key for candidate in [*catalog.look(), *catalog.look()]] == ["a@1", "a@1"]


def test_a_name_that_is_not_text_can_still_be_told(tmp_path: Path) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.safetensors")).write_bytes(b"rubbish")

    assert keys(Catalog(tmp_path)) == ["\ufffd"]
