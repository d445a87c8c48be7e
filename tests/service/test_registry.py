from pathlib import Path

import pytest

from model_zoo.spec import SizeRule
from service.registry import NoUsableModel, _blank, discover
from tests.service.conftest import SPEC, save_model


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


def test_a_path_that_cannot_be_looked_at_is_told() -> None:
    with pytest.raises(NoUsableModel, match=r"^checkpoints: x+"):
        discover(Path("x" * 300))


@pytest.mark.parametrize("broken", ["a", "c"])
def test_a_file_that_cannot_be_used_takes_no_models_name(tmp_path: Path, broken: str) -> None:
    save_model(tmp_path / "b.safetensors", broken)
    (tmp_path / f"{broken}.safetensors").write_bytes(b"rubbish")

    problems = {candidate.name: candidate.problem for candidate in discover(tmp_path)}

    assert problems.keys() == {broken, f"{broken}.safetensors"}
    assert problems[broken] is None


def test_every_file_has_a_name_of_its_own(tmp_path: Path) -> None:
    save_model(tmp_path / "1.safetensors", "a")
    save_model(tmp_path / "2.safetensors", "a.safetensors")
    save_model(tmp_path / "3.safetensors", "a")
    (tmp_path / "a.safetensors").write_bytes(b"rubbish")

    names = [candidate.name for candidate in discover(tmp_path)]

    assert names == ["a", "a.safetensors", "3", "a.safetensors.safetensors"]


@pytest.mark.parametrize("policy", ["native", "longest", "shortest"])
def test_a_model_for_huge_images_is_warmed_up_on_a_smaller_one(policy: str) -> None:
    spec = SPEC.model_copy(update={"size": SizeRule.model_validate({"policy": policy, "side": 8192})})

    assert min(_blank(spec).pixels.shape[1:]) <= 1024
