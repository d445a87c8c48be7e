"""Let an operator bring models into memory and take them out again; everything here needs the admin token."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import APIRouter, Depends, Header

from service import errors
from service.dependencies import WithServices
from service.problems import document_problems
from service.routes.models import BareEntry, ModelEntry, describe

_PROBLEMS = document_problems(
    errors.Unauthorized, errors.Forbidden, errors.UnknownModel, errors.InvalidRequest, errors.ModelFailed,
    errors.ModelNotReady, errors.NoRoom, errors.OutOfMemory, errors.DeviceFailed,
)  # fmt: skip


async def _check_token(services: WithServices, authorization: Annotated[str, Header()] = "") -> None:
    wanted = services.admin_token
    if wanted is None:
        raise errors.Forbidden("no admin token is set (admin_token_file), so nobody may do this")
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), wanted.encode()):
        raise errors.Unauthorized("send the header Authorization: Bearer TOKEN, with the admin token")


router = APIRouter(prefix="/models/{name}", tags=["admin"], dependencies=[Depends(_check_token)], responses=_PROBLEMS)


@router.post("/load")
async def load_model(name: str, services: WithServices) -> ModelEntry | BareEntry:
    """Bring a model into memory, and answer when it is there."""
    registry = services.registry
    model = registry.find(name)
    await registry.load(model)
    return describe(model, registry)


@router.post("/unload")
async def unload_model(name: str, services: WithServices) -> ModelEntry | BareEntry:
    """Take a model out of memory once it has answered its requests; it stays out until it is loaded again."""
    registry = services.registry
    model = registry.find(name)
    await registry.unload(model)
    return describe(model, registry)


@router.post("/reload")
async def reload_model(name: str, services: WithServices) -> ModelEntry | BareEntry:
    """Read a model's file anew and swap it in; if it cannot serve, what served before goes on and this says why."""
    registry = services.registry
    model = registry.find(name)
    await registry.reload(model)
    return describe(model, registry)
