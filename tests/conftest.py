"""Share what several test folders need."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start: several tests run at once

settings.register_profile("shared machine", deadline=None)  # the time of a single example says nothing there
settings.load_profile("shared machine")

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def uncovered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave coverage out of the processes that a test starts: with it, to import torch takes half as long again."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Give the folder of real pictures, or skip: it is no part of the repository."""
    if not DATA.is_dir():
        pytest.skip("the real pictures of ../shared/data are not on this machine")
    return DATA
