"""Hold the pages in docs against what they speak of."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
NUMBERS = {
    "reliability.md": [*range(1, 44)],
    "systems.md": [*range(1, 17), 24, 31],
    "traps.md": [*range(1, 60)],
}


def mentions(text: str) -> list[tuple[str, str]]:
    """Give the file and name of every test that a text mentions."""
    return re.findall(r"(tests/[\w/]+\.py)::(\w+)", text)


def rows_of(page: str) -> list[tuple[int, str]]:
    """Give the number in the first cell of every numbered row, and what its last cell says."""
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]*) \|$", (DOCS / page).read_text(), re.MULTILINE)
    return [(int(number), held) for number, held in rows]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_is_mentioned_exists(page: Path) -> None:
    missing = [f"{file}::{name}" for file, name in mentions(page.read_text()) if not has_test(ROOT / file, name)]

    assert missing == []


@pytest.mark.parametrize("page", NUMBERS)
def test_every_number_is_answered_once_with_a_test_or_a_reason(page: str) -> None:
    rows = rows_of(page)

    bare = [
        number for number, held in rows if not mentions(held) and not held.startswith(("does not apply: ", "not yet: "))
    ]
    assert [number for number, _ in rows] == NUMBERS[page]
    assert bare == []


@pytest.mark.parametrize(("page", "word"), [("systems.md", "row"), ("traps.md", "trap")])
def test_every_test_has_the_number_that_it_holds_in_its_name(page: str, word: str) -> None:
    strangers = [
        name
        for number, held in rows_of(page)
        for _, name in mentions(held)
        if not re.search(rf"_{word}_({number}|\d+_and_{number})_", name)
    ]

    assert strangers == []


def has_test(file: Path, name: str) -> bool:
    return file.is_file() and re.search(rf"^(async )?def {name}\(", file.read_text(), re.MULTILINE) is not None
