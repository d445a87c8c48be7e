"""Answer probes and hand out metrics, from the event loop alone."""

from __future__ import annotations

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from service import metrics
from service.dependencies import WithServices
from service.registry import State

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """Say that the process answers."""

    status: str = Field(examples=["alive"])


class ModelState(BaseModel):
    """Say where a model is in its life, and what is wrong if it failed."""

    state: State
    problem: str | None = None


class Readiness(BaseModel):
    """Say whether requests are welcome, and how each model is."""

    ready: bool
    draining: bool
    models: dict[str, ModelState]


@router.get("/healthz")
async def check_health() -> Health:
    """Tell whether the process is alive."""
    return Health(status="alive")


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Not ready"}})
async def check_readiness(services: WithServices, response: Response) -> Readiness:
    """Tell whether requests are welcome: models are loaded, and the service is not about to stop."""
    registry = services.registry
    response.status_code = 200 if registry.is_ready else 503
    models = {name: ModelState(state=model.state, problem=model.problem) for name, model in registry.models.items()}
    return Readiness(ready=registry.is_ready, draining=registry.is_draining, models=models)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def expose_metrics(services: WithServices) -> Response:
    """Give the metrics in Prometheus' text format."""
    return Response(services.metrics.expose(), headers={"Content-Type": metrics.CONTENT_TYPE})
