"""Hold what the packages import against what an installation of them brings along."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = {"service", "model_zoo", "training"}


@pytest.mark.parametrize(
    ("packages", "extras"),
    [(("service", "model_zoo"), ("openvino", "onnxruntime")), (("training",), ("train", "export"))],
    ids=["serve", "train"],
)
def test_all_that_is_imported_is_installed_along(packages: tuple[str, ...], extras: tuple[str, ...]) -> None:
    named = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    installed = set(closure(named))
    owners = packages_distributions()

    imported = {name for package in packages for name in imports(ROOT / package)} - OURS - sys.stdlib_module_names

    missing = {name for name in imported if not {plain(owner) for owner in owners.get(name, [])} & installed}
    assert imported
    assert missing == set()


def imports(folder: Path) -> Iterator[str]:
    """Give the top-level names of all that the files of a folder import."""
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def closure(requirements: Iterable[str]) -> Iterator[str]:
    """Give the names of distributions and of all that they need themselves, extras left out."""
    waiting = [plain(name_of(line)) for line in requirements]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            yield name
            waiting += [plain(name_of(line)) for line in needs(name) if "extra ==" not in line]


def needs(name: str) -> list[str]:
    try:
        return requires(name) or []
    except ModuleNotFoundError:  # needed on other systems only
        return []


def name_of(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None
    return found[0]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
