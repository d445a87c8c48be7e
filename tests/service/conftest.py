"""Share checkpoints, apps and clients among the service's tests."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
import torch
from fastapi import FastAPI

from model_zoo import checkpoint
from model_zoo.architectures import build
from model_zoo.card import Card, Metric
from model_zoo.labels import voc_palette
from model_zoo.spec import ModelSpec, SizeRule
from service.app import create_app
from service.settings import Settings
from service.tracing import Recorder
from tests.service.fakes import Echo

SPEC = ModelSpec(
    architecture="unet",
    arguments={"base_channels": 4},
    classes=("background", "cat", "dog", "sheep", "car"),
    palette=voc_palette(5),
    size=SizeRule(side=64, multiple=16),
)
METRIC = Metric(name="miou", value=0.5, dataset="blobs val", num_images=10, resolution="original")

Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


def save_model(path: Path, name: str, *, seed: int = 0, version: str = "1") -> None:
    torch.manual_seed(seed)
    network = build(SPEC.architecture, SPEC.num_classes, SPEC.arguments)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)  # random weights of the usual size would give the whole image one class
    checkpoint.save(path, network, Card(name=name, version=version, spec=SPEC, metrics=(METRIC,)))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with one small checkpoint; not to be changed."""
    folder = tmp_path_factory.mktemp("checkpoints")
    save_model(folder / "tiny.safetensors", "tiny")
    return folder


@pytest.fixture(scope="session")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the models ``a`` and ``b``; not to be changed."""
    folder = tmp_path_factory.mktemp("more") / "several"
    folder.mkdir()
    save_model(folder / "a.safetensors", "a")
    save_model(folder / "b.safetensors", "b", seed=1)
    return folder


@pytest.fixture
def echo() -> Iterator[Echo]:
    fake = Echo()
    yield fake
    fake.go.set()


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Run an app's lifespan and give a client for it."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


async def until_ready(client: httpx.AsyncClient, *, within: float = 20) -> None:
    await _until_200(client, "/readyz", within)


async def until_started(client: httpx.AsyncClient) -> None:
    await _until_200(client, "/startupz", 20)


async def _until_200(client: httpx.AsyncClient, path: str, within: float) -> None:
    with anyio.fail_after(within):
        while (await client.get(path)).status_code != 200:  # noqa: ASYNC110  # as an orchestrator looks
            await anyio.sleep(0.01)


@pytest.fixture
def serve(checkpoints: Path) -> Serve:
    """Give a way to run a ready app on the real runtime: ``async with serve(max_in_flight=2) as client``."""

    @asynccontextmanager
    async def serving(**values: object) -> AsyncIterator[httpx.AsyncClient]:
        settings = Settings.model_validate({"checkpoints": checkpoints, "device": "cpu", **values})
        async with running(create_app(settings)) as client:
            await until_ready(client)
            yield client

    return serving


@pytest.fixture
def serve_echo(checkpoints: Path, echo: Echo) -> Serve:
    """Give a way to run a ready app whose network is the fixture ``echo``."""

    @asynccontextmanager
    async def serving(recorder: Recorder | None = None, **values: object) -> AsyncIterator[httpx.AsyncClient]:
        settings = Settings.model_validate({"checkpoints": checkpoints, "device": "cpu", **values})
        async with running(create_app(settings, runtimes={"torch": echo.build}, recorder=recorder)) as client:
            await until_ready(client)
            echo.batches.clear()
            echo.busy.clear()
            yield client

    return serving
