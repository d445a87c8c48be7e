"""Put the service together: wiring and lifespan, nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from service.dependencies import Services
from service.devices import Device, pick_devices, threads_for
from service.metrics import Metrics
from service.middleware import BodyLimit, RequestRecord
from service.problems import add_problem_handlers
from service.registry import NoUsableModel, Registry, discover
from service.routes import health, models, segment
from service.runtimes import RUNTIMES
from service.runtimes.runtime import RuntimeBuilder
from service.settings import BadSetting, Settings

log = logging.getLogger(__name__)


def create_app(
    settings: Settings,
    *,
    give_up: Callable[[str], None] = lambda _: None,
    runtimes: Mapping[str, RuntimeBuilder] = RUNTIMES,
) -> FastAPI:
    """Make an app that loads its models when it starts; ``give_up`` hears why if none of them can be used then.

    Raises:
        BadSetting: A setting names a device, runtime or model that does not exist.
        NoUsableModel: Already the headers say that there is nothing to serve.
    """
    metrics = Metrics()
    build = _find_runtime(settings.runtime, runtimes)
    found = pick_devices(settings.device)
    device = Device(found[0], num_threads=threads_for(found, wanted=settings.torch_threads))
    registry = Registry(discover(settings.checkpoints), settings, metrics, device, build=build)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_load(registry, give_up), name="load models")
        yield
        loading.cancel()
        await asyncio.wait({loading})
        await registry.close()

    app = FastAPIOffline(
        title="segserve",
        summary="Pictures in, segmentation masks out.",
        version=_version(),
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.services = Services(settings, registry, metrics)
    for module in (segment, models, health):
        app.include_router(module.router)
    add_problem_handlers(app)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestRecord, metrics=metrics)
    return app


async def _load(registry: Registry, give_up: Callable[[str], None]) -> None:
    try:
        await registry.load()
    except NoUsableModel as error:
        give_up(str(error))
    except Exception:  # our own bug; without this nobody would ever hear of it
        log.exception("loading stopped")
        give_up("loading stopped, the log says why")


def _find_runtime(name: str, runtimes: Mapping[str, RuntimeBuilder]) -> RuntimeBuilder:
    if name not in runtimes:
        raise BadSetting(f"bad setting runtime={name}: no such runtime, known are {', '.join(runtimes)}")
    return runtimes[name]


def _version() -> str:
    try:
        return version("segserve")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
