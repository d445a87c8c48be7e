"""Share a checkpoint and an ordinary server among the fault tests."""

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from model_zoo import checkpoint
from model_zoo.architectures import build
from model_zoo.card import Card
from model_zoo.labels import voc_palette
from model_zoo.spec import ModelSpec, SizeRule
from tests.faults.clients import NUM_REDS
from tests.faults.server import LIVE, Server, serving

SHOWN_LINES = 60

Tell = Callable[[str, str], None]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """Show the logs of the servers that run with a test that fails."""
    report = yield
    if report.failed:
        for server in LIVE:
            last_lines = server.log_text().splitlines()[-SHOWN_LINES:]
            report.sections.append((f"log of server {server.pid}", "\n".join(last_lines)))
    return report


@pytest.fixture(autouse=True)
def _server_is_elsewhere(no_cover: None) -> None:
    """Leave coverage out, which would look at the clients alone and make them slow."""


def save_model(
    path: Path, name: str = "tiny", *, num_classes: int = NUM_REDS, channels: int = 2, seed: int = 0
) -> Path:
    """Save a small network with random weights; the null runtime uses its number of classes alone."""
    spec = ModelSpec(
        architecture="unet",
        arguments={"base_channels": channels},
        classes=tuple(f"class {index}" for index in range(num_classes)),
        palette=voc_palette(num_classes),
        size=SizeRule(side=64, multiple=16),
    )
    torch.manual_seed(seed)
    network = build(spec.architecture, spec.num_classes, spec.arguments)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)  # random weights of the usual size would give the whole image one class
    checkpoint.save(path, network, Card(name=name, spec=spec))
    return path


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with one small checkpoint; not to be changed."""
    folder = tmp_path_factory.mktemp("checkpoints")
    save_model(folder / "tiny.safetensors")
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Give the file for a server's log."""
    return tmp_path / "server.log"


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Give a way to tell a figure, for docs/reliability.md; ``pytest -rP`` shows it."""

    def telling(name: str, value: str) -> None:
        record_property(name, value)
        print(f"{name}: {value}")

    return telling


@pytest.fixture(scope="session")
def ordinary(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a quick server that many tests use, one after the other."""
    log = tmp_path_factory.mktemp("ordinary") / "server.log"
    with serving(log, checkpoints=checkpoints, body_timeout=3) as server:
        yield server
