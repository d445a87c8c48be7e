"""Leave coverage out, which does not count benchmarks and would make them slow."""

import pytest


@pytest.fixture(autouse=True)
def _benchmarks_are_not_counted(no_cover: None) -> None: ...
