from pathlib import Path

import pytest

from service.registry import NoUsableModel, discover
from tests.service.conftest import save_model


def test_a_file_is_a_folder_of_one(checkpoints: Path) -> None:
    (candidate,) = discover(checkpoints / "tiny.safetensors")

    assert candidate.name == "tiny"
    assert candidate.inspection is not None


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoUsableModel, match="nowhere does not exist"):
        discover(tmp_path / "nowhere")


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoUsableModel, match=r"there is no \*.safetensors file in "):
        discover(tmp_path)


def test_if_no_file_can_be_used_each_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"rubbish")
    (tmp_path / "b.safetensors").write_bytes(b"")

    with pytest.raises(NoUsableModel, match=r"none can be used: .*a.safetensors: not a .*; .*b.safetensors: not a "):
        discover(tmp_path)


def test_files_that_cannot_be_used_have_names_of_their_own(tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", "b")
    (tmp_path / "b.safetensors").write_bytes(b"rubbish")

    assert [candidate.name for candidate in discover(tmp_path)] == ["b", "b.safetensors"]
