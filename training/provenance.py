"""Find out what a checkpoint tells of its making: data, initial weights, code version."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
from collections.abc import Sequence
from pathlib import Path

from model_zoo.card import DatasetRecord, InitialWeights, Setting, Training
from training.datasets import Reference, SegmentationDataset
from training.environment import hide_homes
from training.errors import InvalidRecipe
from training.recipe import Recipe

PACKAGE = "package:"
WEIGHTS_SUFFIXES = (".pth", ".safetensors")


def training_record(recipe: Recipe, datasets: Sequence[SegmentationDataset], *, command: str | None) -> Training:
    """Say how the weights of this run are made; ``datasets`` are those of ``recipe.train``, in order."""
    return Training(
        datasets=tuple(
            dataset_record(recipe, reference, dataset)
            for reference, dataset in zip(recipe.train, datasets, strict=True)
        ),
        recipe={name: _without_homes(value) for name, value in recipe.settings().items()},
        seed=recipe.seed,
        commit=code_commit(),
        command=hide_homes(command) if command else None,
        initial_weights=_initial_weights(recipe),
    )


def dataset_record(recipe: Recipe, text: str, dataset: SegmentationDataset) -> DatasetRecord:
    """Describe the set that the recipe refers to as ``text``."""
    reference = Reference.parse(text)
    listed = "".join(f"{sample_id}\n" for sample_id in sorted(dataset.ids))
    return DatasetRecord(
        name=reference.name,
        split=reference.split,
        num_images=len(dataset),
        list_sha256=hashlib.sha256(listed.encode()).hexdigest(),
        licence=recipe.licences.get(reference.name, "unknown"),
        rules=dataset.rules,
    )


def _without_homes(setting: Setting) -> Setting:
    """Keep the names of people's folders out of what is published."""
    if isinstance(setting, str):
        return hide_homes(setting)
    if isinstance(setting, tuple):
        return tuple(hide_homes(entry) if isinstance(entry, str) else entry for entry in setting)
    return setting


def weights_path(reference: str) -> Path:
    """Find the file of pretrained weights that a recipe names.

    ``package:NAME`` is the one weights file inside an installed package, which is not imported for it.

    Raises:
        InvalidRecipe: there is no such file or package, or the package holds none or several.
    """
    if not reference.startswith(PACKAGE):
        if not Path(reference).is_file():
            raise InvalidRecipe(f"encoder_weights: {reference}: no such file")
        return Path(reference)
    name = reference.removeprefix(PACKAGE)
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    if not folders:
        raise InvalidRecipe(
            f"encoder_weights: package {name!r} is not installed; the extra 'train' brings those that recipes name"
        )
    files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in WEIGHTS_SUFFIXES]
    if len(files) != 1:
        raise InvalidRecipe(f"encoder_weights: package {name!r} holds {len(files)} weights files, not one")
    return files[0]


def code_commit() -> str | None:
    """Give the commit of this code, ``-dirty`` where training or networks differ from it; None outside a repository."""
    folder = Path(__file__).parent
    commit = _git("rev-parse", "HEAD", folder=folder)
    if not commit:
        return None
    changed = _git("status", "--porcelain", "--", ".", "../model_zoo", folder=folder)
    return f"{commit}-dirty" if changed else commit


def _initial_weights(recipe: Recipe) -> InitialWeights | None:
    if recipe.init_from is not None:
        field, path = "init_from", Path(recipe.init_from)
    elif recipe.encoder_weights is not None:
        field, path = "encoder_weights", weights_path(recipe.encoder_weights)
    else:
        return None
    return InitialWeights(
        name=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        licence=recipe.licences.get(field, "unknown"),
    )


def _git(*words: str, folder: Path) -> str | None:
    command = ["git", "-C", str(folder), *words]
    try:
        answer = subprocess.run(  # noqa: S603  # nosec B603  # fixed words
            command, capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
