import re
from importlib.metadata import version
from pathlib import Path

import pytest

from service.reference import OPENAPI, SETTINGS, main, openapi_page, settings_page
from service.settings import Settings, variable_name

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
STALE = "is stale; run python -m service.reference docs"
PINNED = dict(re.findall(r"^([\w-]+)==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))


def test_the_settings_page_is_that_of_the_code() -> None:
    assert (DOCS / SETTINGS).read_text() == settings_page(), f"{SETTINGS} {STALE}"


@pytest.mark.skipif(
    any(version(name) != PINNED[name] for name in ("fastapi", "pydantic")), reason="other versions write it otherwise"
)
def test_the_openapi_document_is_that_of_the_code() -> None:
    assert (DOCS / OPENAPI).read_text() == openapi_page(), f"{OPENAPI} {STALE}"


def test_every_setting_has_a_row() -> None:
    rows = [line for line in settings_page().splitlines() if line.startswith("| `--") or "SEGSERVE_" in line]

    assert len(rows) == len(Settings.model_fields)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 6 for row in rows)
    assert all(f"`{variable_name(field)}`" in row for field, row in zip(Settings.model_fields, rows, strict=True))


def test_both_are_written_into_a_folder(tmp_path: Path) -> None:
    main(tmp_path)

    assert (tmp_path / SETTINGS).read_text() == settings_page()
    assert (tmp_path / OPENAPI).is_file()
