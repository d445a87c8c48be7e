"""Hold the oldest versions that the tests are run with against those that the project allows."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOWEST = (ROOT / "constraints-lowest.txt").read_text()
NO_TEST_NEEDS = {"segserve", "bandit", "import-linter", "mypy", "pip-audit", "pre-commit", "ruff"}


def bounds(requirements: Iterable[str]) -> dict[str, str]:
    """Give the lowest version of each requirement that tests need, by name."""
    found = dict(re.findall(r"^([\w-]+)[^>=\n]*[>=]=([\d.]+)", "\n".join(requirements), re.MULTILINE))
    return {name: version for name, version in found.items() if name not in NO_TEST_NEEDS}


CONSUMERS = "consumers"
"""The extra without which tests are skipped: libraries that only read what the service answers."""

ALLOWED = bounds(
    [*PROJECT["dependencies"], *(line for name, extra in EXTRAS.items() if name != CONSUMERS for line in extra)]
)


def test_all_that_the_tests_need_is_pinned_and_nothing_else() -> None:
    assert bounds(LOWEST.splitlines()).keys() == ALLOWED.keys()


@pytest.mark.parametrize("name", ALLOWED)
def test_a_pin_is_the_lowest_version_that_is_allowed(name: str) -> None:
    pinned = bounds(LOWEST.splitlines())[name]

    assert f"{pinned}.".startswith(f"{ALLOWED[name]}.")


def test_the_install_that_the_file_tells_of_brings_what_the_tests_need() -> None:
    told = [line.removeprefix("#").removesuffix("\\") for line in LOWEST.splitlines() if line.startswith("#")]

    words = {word.strip("'") for line in told for word in line.split()}

    assert f".[{','.join(name for name in EXTRAS if name not in {'dev', CONSUMERS})}]" in words
    assert bounds(EXTRAS["dev"]).keys() <= words
