"""Run a real server for other people's clients, which are left out where they are not installed."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.faults.conftest import save_model
from tests.faults.server import Server, serving

_NEEDED = {
    "huggingface_hub": "test_hugging_face.py",
    "schemathesis": "test_schemathesis.py",
    "tritonclient": "test_triton.py",
}
collect_ignore = [file for library, file in _NEEDED.items() if find_spec(library) is None]


@pytest.fixture(autouse=True)
def _server_is_elsewhere(no_cover: None) -> None:
    """Leave coverage out, which would look at the clients alone and make them slow."""


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a ready server with one small network of 5 classes."""
    folder = tmp_path_factory.mktemp("clients")
    save_model(folder / "tiny.safetensors", num_classes=5, channels=4)
    with serving(folder / "server.log", checkpoints=folder) as running:
        running.wait_for("/readyz", 200)
        yield running


@pytest.fixture(scope="session")
def photo() -> bytes:
    """Give a JPEG of real colours."""
    return (Path(__file__).parents[2] / "examples" / "cat.jpg").read_bytes()
