"""Put the service together: wiring and lifespan, nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import torch
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi_offline import FastAPIOffline

from service.catalog import Catalog, NoUsableModel
from service.dependencies import Services
from service.devices import Device, pick_devices, threads_for
from service.images import ImageLimits
from service.keys import KeyRing, parse_keys, read_key_file
from service.metrics import Metrics
from service.middleware import BodyLimit, EarlyRefusal, KeyCheck, RequestRecord
from service.openapi import complete
from service.pipeline import Pipeline
from service.precision import precision_for
from service.problems import add_problem_handlers
from service.registry import Registry
from service.routes import admin, health, models, segment, v2
from service.runtimes import RUNTIMES, is_installed
from service.runtimes.runtime import RuntimeBuilder
from service.settings import AUTO, LEAST_TOKEN, BadSetting, Settings
from service.tracing import Recorder, make_recorder

log = logging.getLogger(__name__)

_CORS_HEADERS = ["Authorization", "Content-Type", "X-API-Key", "X-Priority", "X-Request-ID", "X-Request-Timeout"]


def create_app(
    settings: Settings,
    *,
    give_up: Callable[[str], None] = lambda _: None,
    runtimes: Mapping[str, RuntimeBuilder] = RUNTIMES,
    recorder: Recorder | None = None,
) -> FastAPI:
    """Make an app that loads its models when it starts; ``give_up`` hears why if it cannot go on.

    ``recorder`` gets the journey of every request; unless one is given, the settings say whether a collector does.

    Raises:
        BadSetting: A setting names a device, runtime or model that does not exist.
        NoUsableModel: Already the headers say that there is nothing to serve, or not all that has to be.
    """
    metrics = Metrics()
    registry = _make_registry(settings, metrics, runtimes)
    codecs = ThreadPoolExecutor(settings.codec_threads, thread_name_prefix="codec")
    limits = ImageLimits(
        settings.max_image_pixels, settings.max_image_side, settings.max_probability_values, settings.decode_timeout
    )
    pipeline = Pipeline(registry, codecs, limits, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        working = asyncio.create_task(_work(registry, give_up), name="load and watch models")
        guarding = asyncio.create_task(_guard(registry, give_up, settings.broken_exit_delay), name="guard devices")
        yield
        working.cancel()
        guarding.cancel()
        await asyncio.wait({working, guarding})
        await registry.close()
        await asyncio.to_thread(codecs.shutdown, wait=True, cancel_futures=True)

    app = FastAPIOffline(
        title="segserve",
        summary="Pictures in, segmentation masks out.",
        version=_version(),
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.services = Services(settings, registry, pipeline, metrics, _read_admin_token(settings))
    for module in (segment, models, admin, health, v2):
        app.include_router(module.router)
    add_problem_handlers(app)
    app.openapi = partial(complete, app)  # type: ignore[method-assign]  # as FastAPI's documentation says
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, max_pending_bytes=settings.max_pending_body_bytes)
    app.add_middleware(EarlyRefusal, path="/segment", check=pipeline.check_door)
    ring = _read_keys(settings)
    if ring is not None:
        app.add_middleware(KeyCheck, ring=ring)
    origins = [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=_CORS_HEADERS
        )
    if recorder is None and settings.tracing:
        recorder = make_recorder()
    app.add_middleware(RequestRecord, metrics=metrics, recorder=recorder)
    return app


async def _work(registry: Registry, give_up: Callable[[str], None]) -> None:
    try:
        await registry.start()
        await registry.watch()
    except NoUsableModel as error:
        give_up(str(error))
    except Exception:  # our own bug; without this nobody would ever hear of it
        log.exception("loading stopped")
        give_up("loading stopped, the log says why")


async def _guard(registry: Registry, give_up: Callable[[str], None], delay: float) -> None:
    """Give up once a device has not worked for ``delay``, for those who replace a process only when it ends."""
    since: float | None = None
    while True:
        problems = [f"device {device.name}: {device.problem}" for device in registry.devices if device.problem]
        now = asyncio.get_running_loop().time()
        since = (since or now) if problems else None
        if since is not None and now - since >= delay:
            give_up("; ".join(problems))
            return
        await asyncio.sleep(min(1.0, delay or 1.0))


def _make_registry(settings: Settings, metrics: Metrics, runtimes: Mapping[str, RuntimeBuilder]) -> Registry:
    """Put the registry together, and refuse settings that name what does not exist."""
    _check_runtime(settings.runtime, runtimes)
    found = pick_devices(settings.device)
    for device in found:
        precision_for(settings.precision, device)
    for device in found:
        if device.type == "cuda":
            metrics.device_bytes.labels(str(device), "used").set_function(partial(torch.cuda.memory_allocated, device))
            metrics.device_bytes.labels(str(device), "kept").set_function(partial(torch.cuda.memory_reserved, device))
    num_threads = threads_for(found, wanted=settings.torch_threads)
    devices = [Device(device, num_threads=num_threads, stall_timeout=settings.stall_timeout) for device in found]
    return Registry(Catalog(settings.checkpoints), devices, settings, metrics, runtimes=runtimes)


def _read_admin_token(settings: Settings) -> str | None:
    if settings.admin_token_file is None:
        return None if settings.admin_token is None else settings.admin_token.get_secret_value().strip()
    try:
        token = settings.admin_token_file.read_text().strip()
    except (OSError, UnicodeError) as error:
        raise BadSetting(f"bad setting admin_token_file={settings.admin_token_file}: it cannot be read") from error
    if len(token) < LEAST_TOKEN:
        raise BadSetting(f"bad setting admin_token_file: {len(token)} characters, at least {LEAST_TOKEN}")
    return token


def _read_keys(settings: Settings) -> KeyRing | None:
    """Give the keys that open the service, or nothing if it is open to everybody."""
    if settings.api_keys_file is not None:
        return KeyRing(read_key_file(settings.api_keys_file), rate=settings.api_key_rate)
    if settings.api_keys is not None:
        lines = settings.api_keys.get_secret_value().split(";")
        return KeyRing(parse_keys(lines, source="api_keys"), rate=settings.api_key_rate)
    return None


def _check_runtime(name: str, runtimes: Mapping[str, RuntimeBuilder]) -> None:
    if name == AUTO:
        return
    if name not in runtimes:
        raise BadSetting(f"bad setting runtime={name}: no such runtime, known are {', '.join((AUTO, *runtimes))}")
    if not is_installed(name):
        raise BadSetting(f"bad setting runtime={name}: it needs pip install 'segserve[{name}]'")


def _version() -> str:
    try:
        return version("segserve")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
