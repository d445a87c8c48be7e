"""Say in a line what is wrong with words that somebody else has written."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from model_zoo.spec import SHOWN


def shown(word: object) -> str:
    """Give a word of somebody else's file as it may stand in a line: short, and printable."""
    text = str(word)[:SHOWN] if isinstance(word, str | int) else f"a {type(word).__name__}"
    return (text if text.isprintable() else ascii(text)[1:-1])[:SHOWN]


def first_complaint(error: ValidationError, *, known: Iterable[str] = ()) -> str:
    """Say which field cannot be what it is, and why; of one that there is not, which are ``known``."""
    complaints = error.errors(include_url=False, include_context=False)
    # an argument of no type has a complaint of each type; of an infinite one, the last alone says what is wrong
    first = next((complaint for complaint in complaints if complaint["type"] == "finite_number"), complaints[0])
    field = ".".join(shown(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        names = ", ".join(known)
        return f"unknown field '{field}'" + (f", known are {names}" if names else "")
    if first["type"] == "missing":
        return f"field '{field}' is missing"
    return f"{field} = {_written(first['input'])}: {message}" if field else message


def _written(value: object) -> str:
    try:
        return shown(repr(value))
    except ValueError:  # Python writes no whole number of more than 4300 digits, which hexadecimal ones may have
        return "a number of too many digits"
