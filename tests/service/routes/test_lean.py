from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from service.dependencies import Services, WithServices
from service.routes.lean import LeanRoute
from service.routes.wishes import Hurry, MaskQuery

pytestmark = pytest.mark.anyio


async def tell(
    request: Request,
    services: WithServices,
    query: Annotated[MaskQuery, Query()],
    hurry: Annotated[Hurry, Header()] = Hurry(),  # noqa: B008  # frozen
) -> Response:
    assert isinstance(services, Services)
    return JSONResponse([request.method, query.model_dump(), hurry.model_dump()])


async def tell_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [{name: problem[name] for name in ("loc", "type", "msg", "input")} for problem in error.errors()]
    return JSONResponse(found, 422)


async def ask(route_class: type[APIRoute], query: str, headers: dict[str, str]) -> tuple[int, Any]:
    router = APIRouter(route_class=route_class)
    router.post("/segment", response_class=Response)(tell)
    app = FastAPI(exception_handlers={RequestValidationError: tell_error})
    app.include_router(router)
    app.state.services = object.__new__(Services)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.post(f"/segment{query}", headers=headers)
        return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {}, 200),
        ("?model=voc&format=rle&min_area=7&threshold=0.5&size=network&tta=flip&classes=dog,cat", {}, 200),
        ("?threshold=0.1&threshold=0.2", {}, 200),
        ("?classes=a%26b%20c", {"X-Request-Timeout": "2.5", "x-priority": "bulk"}, 200),
        ("?classes=", {"X-Priority": ""}, 200),
        ("", {"X-Something": "else"}, 200),
        ("?threshold=2", {}, 422),
        ("?threshold=", {}, 422),
        ("?min_area=1.5&size=large", {}, 422),
        ("?colour=red", {}, 422),
        ("?from_name=&model=a", {}, 422),
    ],
)
async def test_parameters_and_what_is_wrong_with_them_are_those_that_the_framework_finds(
    query: str, headers: dict[str, str], status: int
) -> None:
    found = await ask(LeanRoute, query, headers)

    assert found == await ask(APIRoute, query, headers)
    assert found[0] == status
