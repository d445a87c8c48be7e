"""Hand the routes what they need of the app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Request

from service.metrics import Metrics
from service.pipeline import Pipeline
from service.registry import Registry
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """Hold what the app is made of."""

    settings: Settings
    registry: Registry
    pipeline: Pipeline
    metrics: Metrics
    admin_token: str | None


def services_of(app: FastAPI) -> Services:
    """Give what an app is made of."""
    services = app.state.services
    assert isinstance(services, Services)
    return services


async def _of_request(request: Request) -> Services:  # async, for the framework runs the others in its threads
    return services_of(request.app)


WithServices = Annotated[Services, Depends(_of_request)]
