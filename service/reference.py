"""Write the pages of the documentation that are made from the code: the settings and the OpenAPI document.

python -m service.reference docs
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import get_args

from service.app import create_app
from service.settings import Settings, is_secret, option_name, variable_name

SETTINGS = "settings.md"
OPENAPI = "openapi.json"

_HEAD = """# Settings

Every setting is an option of `segserve serve` and a variable of its environment; the option goes first. Durations are
in seconds. Secrets are no options, for everybody on the machine can read those. Written by
`python -m service.reference docs`.

| option | variable | default | allowed | |
|---|---|---|---|---|
"""
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def settings_page() -> str:
    """Give the table of all settings."""
    return _HEAD + "".join(_row(field) for field in Settings.model_fields)


def openapi_page() -> str:
    """Give the OpenAPI document; the version of the package is left out, which changes without it."""
    document = {**create_app(Settings()).openapi()}
    document["info"] = {**document["info"], "version": "0"}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def main(folder: Path) -> None:
    """Write the pages into a folder."""
    (folder / SETTINGS).write_text(settings_page(), encoding="utf-8")
    (folder / OPENAPI).write_text(openapi_page(), encoding="utf-8")


def _row(field: str) -> str:
    about = Settings.model_fields[field]
    option = "" if is_secret(field) else f"`{option_name(field)}`"
    default = "" if about.default is None else "the shipped ones" if field == "checkpoints" else f"`{about.default}`"
    told = ("" if default == "``" else default, _allowed(field), str(about.description))
    cells = (option, f"`{variable_name(field)}`", *told)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _allowed(field: str) -> str:
    """Say in words what a setting may be."""
    about = Settings.model_fields[field]
    if about.annotation is bool:
        return "true, false"
    choices = [choice for choice in get_args(about.annotation) if isinstance(choice, str)]
    if choices:
        return ", ".join(f"`{choice}`" for choice in choices)
    rules = [(word, getattr(rule, name, None)) for rule in about.metadata for name, word in _BOUNDS.items()]
    return ", ".join(f"{word} {_number(bound)}" for word, bound in rules if bound is not None)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
