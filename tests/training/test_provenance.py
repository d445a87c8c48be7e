import hashlib
import re
import sys
from pathlib import Path

import pytest

from tests.training.conftest import VocTree
from training.datasets import open_dataset
from training.datasets.voc import VOC
from training.errors import InvalidRecipe
from training.provenance import code_commit, training_record, weights_path
from training.recipe import read_recipe


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an installed package that fails when it is imported."""
    folder = tmp_path / "site" / "weights_of_somebody"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "models" / "encoder.pth").write_bytes(b"weights")
    monkeypatch.syspath_prepend(folder.parent)
    return folder


def test_the_weights_of_a_package_are_found_without_importing_it(package: Path) -> None:
    path = weights_path("package:weights_of_somebody")

    assert path == package / "models" / "encoder.pth"
    assert "weights_of_somebody" not in sys.modules


def test_a_package_with_several_weights_files_is_refused(package: Path) -> None:
    (package / "models" / "other.safetensors").touch()

    with pytest.raises(InvalidRecipe, match="holds 2 weights files"):
        weights_path("package:weights_of_somebody")


@pytest.mark.parametrize("name", ["not_installed_anywhere", "../up", "", "a.b"])
def test_a_package_that_is_not_installed_is_named(name: str) -> None:
    with pytest.raises(InvalidRecipe, match="is not installed"):
        weights_path(f"package:{name}")


def test_a_file_of_weights_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "encoder.pth"

    with pytest.raises(InvalidRecipe, match=r"encoder\.pth: no such file"):
        weights_path(str(path))

    path.touch()
    assert weights_path(str(path)) == path


@pytest.mark.usefixtures("package")
def test_a_record_tells_data_weights_seed_and_command(voc_tree: VocTree) -> None:
    train = f"voc:train:{voc_tree.root}"
    licences = {"pictures": "CC0-1.0", "encoder_weights": "MIT"}
    changes = {"train": [train], "seed": 4, "licences": licences, "encoder_weights": "package:weights_of_somebody"}

    record = training_record(read_recipe("quick", changes), [open_dataset(train)], command="segtrain fit")

    (dataset,) = record.datasets
    assert (dataset.name, dataset.split, dataset.num_images, dataset.licence) == ("pictures", "train", 2, "CC0-1.0")
    assert dataset.list_sha256 == hashlib.sha256(b"a\nb\n").hexdigest()
    assert record.initial_weights is not None
    assert record.initial_weights.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert (record.initial_weights.name, record.initial_weights.licence) == ("encoder.pth", "MIT")
    assert (record.seed, record.command) == (4, "segtrain fit")
    assert record.recipe["epochs"] == read_recipe("quick", {}).epochs


def test_what_nobody_said_the_licence_of_is_unknown(voc_tree: VocTree) -> None:
    train = f"voc:train:{voc_tree.root}"

    record = training_record(read_recipe("quick", {"train": [train]}), [open_dataset(train)], command=None)

    assert record.datasets[0].licence == "unknown"
    assert record.initial_weights is None


def test_a_record_tells_the_rules_of_the_targets(voc_tree: VocTree) -> None:
    train = f"voc:train:{voc_tree.root}"
    dataset = open_dataset(train)
    assert isinstance(dataset, VOC)
    dataset.rules = {"crowd": "ignore"}

    record = training_record(read_recipe("quick", {"train": [train]}), [dataset], command=None)

    assert record.datasets[0].rules == {"crowd": "ignore"}


def test_the_commit_is_a_hash_or_absent() -> None:
    assert re.fullmatch(r"([0-9a-f]{40}(-dirty)?)?", code_commit() or "")


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    assert code_commit() is None


def test_no_persons_folder_is_told(voc_tree: VocTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: voc_tree.root.parent)
    recipe = read_recipe("quick", {"train": [f"voc:train:{voc_tree.root}"], "val": f"voc:val:{voc_tree.root}"})

    record = training_record(recipe, [VOC(voc_tree.root, "train")], command=f"segtrain fit --out {voc_tree.root}/run")

    assert record.recipe["train"] == ("voc:train:~/pictures",)
    assert record.recipe["val"] == "voc:val:~/pictures"
    assert record.command == "segtrain fit --out ~/pictures/run"
