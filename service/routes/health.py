"""Answer probes and hand out metrics, from the event loop alone."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from service import metrics
from service.dependencies import WithServices
from service.models import State
from service.registry import Registry

router = APIRouter(tags=["health"])


class DeviceHealth(BaseModel):
    """Say whether a device works, and what is wrong if it does not."""

    name: str = Field(examples=["cuda:0"])
    problem: str | None = None


class Health(BaseModel):
    """Say whether the process should live on."""

    status: Literal["alive", "broken"]
    devices: list[DeviceHealth]


class ModelState(BaseModel):
    """Say where a model is in its life, what is wrong if it failed, and why a newer file was not taken."""

    state: State
    problem: str | None = None
    rejected: str | None = None


class Readiness(BaseModel):
    """Say whether requests are welcome, and how each model is."""

    ready: bool
    started: bool
    draining: bool
    problem: str | None = Field(default=None, description="what is wrong with the devices, if none works")
    models: dict[str, ModelState] = Field(description="by name@version")


@router.get("/healthz", responses={503: {"model": Health, "description": "To be replaced"}})
async def check_health(services: WithServices, response: Response) -> Health:
    """Tell whether the process lives: this very answer comes from its event loop, and every device makes progress."""
    devices = [DeviceHealth(name=device.name, problem=device.problem) for device in services.registry.devices]
    is_alive = all(device.problem is None for device in devices)
    response.status_code = 200 if is_alive else 503
    return Health(status="alive" if is_alive else "broken", devices=devices)


@router.get("/startupz", responses={503: {"model": Readiness, "description": "Still starting"}})
async def check_startup(services: WithServices, response: Response) -> Readiness:
    """Tell whether all models found at the start have been tried; once it says so it never says otherwise."""
    response.status_code = 200 if services.registry.has_started else 503
    return _describe(services.registry)


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready"}})
async def check_readiness(services: WithServices, response: Response) -> Readiness:
    """Tell whether requests are welcome: the default model can answer, and the service is not about to stop."""
    response.status_code = 200 if services.registry.is_ready else 503
    return _describe(services.registry)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}},
)
async def expose_metrics(request: Request, services: WithServices) -> Response:
    """Give the metrics in Prometheus' text format, or as OpenMetrics."""
    if "application/openmetrics-text" in request.headers.get("accept", ""):
        return Response(services.metrics.expose_open(), headers={"Content-Type": metrics.OPEN_CONTENT_TYPE})
    return Response(services.metrics.expose(), headers={"Content-Type": metrics.CONTENT_TYPE})


def _describe(registry: Registry) -> Readiness:
    return Readiness(
        ready=registry.is_ready,
        started=registry.has_started,
        draining=registry.is_draining,
        problem=registry.device_problem,
        models={
            key: ModelState(state=model.state, problem=model.problem, rejected=model.rejected)
            for key, model in registry.models.items()
        },
    )
