"""Put what pydantic says of wrong words into a line."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from pydantic import Field, ValidationError

from model_zoo.spec import Argument, Frozen
from training.complaints import first_complaint


class Settings(Frozen):
    side: int = Field(le=9)
    arguments: Mapping[str, Argument] = {}


def complaint(values: object, *known: str) -> str:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(values)
    return first_complaint(caught.value, known=known)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"side": "wide"}, "side = 'wide': Input should be a valid integer, unable to parse string as an integer"),
        ({"arguments": {}}, "field 'side' is missing"),
        ({"side": 3, "colour": 1}, "unknown field 'colour'"),
        ({"side": 3, "a\nb": 1}, r"unknown field 'a\nb'"),
        ([], "Input should be a valid dictionary or instance of Settings"),
    ],
)
def test_a_field_is_named_with_its_value_and_what_would_fit(values: object, said: str) -> None:
    assert complaint(values) == said


def test_the_fields_that_there_are_stand_beside_one_that_there_is_not() -> None:
    assert complaint({"side": 3, "colour": 1}, "side", "arguments") == (
        "unknown field 'colour', known are side, arguments"
    )


@pytest.mark.parametrize(
    "value",
    ["x" * 10_000, "\x1b\n" * 10_000, ["x"] * 10_000, 1 << 20_000],
    ids=["long", "odd", "many", "of many digits"],
)
def test_a_line_stays_short_and_can_be_printed(value: object) -> None:
    line = complaint({"side": value})

    assert line.isprintable()
    assert len(line) < 200
