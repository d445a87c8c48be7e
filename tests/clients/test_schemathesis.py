"""Ask what the OpenAPI document allows, and what it does not: every answer is one that it tells of, none a failure."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import assume
from schemathesis.checks import CHECKS

from tests.faults.server import Server

SCHEMA = schemathesis.openapi.from_path(Path(__file__).parents[2] / "docs" / "openapi.json")
schemathesis.serializer.alias(["image/bmp", "image/tiff"], "application/octet-stream")
BEYOND_SCHEMAS: Any = CHECKS.get_one("positive_data_acceptance")
"""What is well by the schema alone may be refused: options contradict each other, a class is not the model's."""


@SCHEMA.parametrize()
def test_any_request_is_answered_as_documented(case: schemathesis.Case[Any], server: Server) -> None:
    assume(not isinstance(case.body, dict) or case.body.get("images") != [])  # a form with no images is one without any

    case.call_and_validate(base_url=server.url, excluded_checks=[BEYOND_SCHEMAS])


@(SCHEMA.include(path_regex=r"\{name\}").exclude(path_regex=r"load$|\{version\}")).parametrize()
def test_so_is_any_request_for_the_model_that_is_served(case: schemathesis.Case[Any], server: Server) -> None:
    case.path_parameters["name"] = "tiny"

    case.call_and_validate(base_url=server.url, excluded_checks=[BEYOND_SCHEMAS])


@(SCHEMA.include(path_regex=r"\{name\}.*\{version\}").exclude(path_regex="load$")).parametrize()
@pytest.mark.parametrize("version", ["1", "2"])
def test_so_is_any_request_for_a_version_that_is_served_or_is_not(
    case: schemathesis.Case[Any], server: Server, version: str
) -> None:
    case.path_parameters |= {"name": "tiny", "version": version}

    case.call_and_validate(base_url=server.url, excluded_checks=[BEYOND_SCHEMAS])
