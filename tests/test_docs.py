"""Hold the pages in docs against what they speak of."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
NUM_COMPLAINTS = 43


def mentions(page: str) -> list[tuple[str, str]]:
    """Give the file and name of every test that a page mentions."""
    return re.findall(r"(tests/[\w/]+\.py)::(\w+)", page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_is_mentioned_exists(page: Path) -> None:
    missing = [f"{file}::{name}" for file, name in mentions(page.read_text()) if not has_test(ROOT / file, name)]

    assert missing == []


def test_every_complaint_is_answered_once_with_a_test_or_a_reason() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text()
    _, _, section = text.partition("\n## What users of other servers met")
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]*) \|$", section.partition("\n## ")[0], re.MULTILINE)

    numbers = [int(number) for number, _ in rows]
    bare = [
        number for number, held in rows if not mentions(held) and not held.startswith(("does not apply: ", "not yet: "))
    ]
    assert numbers == list(range(1, NUM_COMPLAINTS + 1))
    assert bare == []


def has_test(file: Path, name: str) -> bool:
    return file.is_file() and re.search(rf"^(async )?def {name}\(", file.read_text(), re.MULTILINE) is not None
