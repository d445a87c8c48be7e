import asyncio
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from model_zoo.checkpoint import Checkpoint
from service.app import create_app
from service.catalog import NoUsableModel
from service.dependencies import services_of
from service.errors import DeviceFailed
from service.masks import ENCODERS
from service.runtimes.runtime import Runtime
from service.settings import BadSetting, Settings
from tests.service.conftest import Serve, running, until_ready, until_started
from tests.service.fakes import Echo, plain_image

pytestmark = pytest.mark.anyio

PNG = {"Content-Type": "image/png"}


def settings_for(folder: Path, **values: object) -> Settings:
    return Settings.model_validate({"checkpoints": folder, "device": "cpu", **values})


def break_weights(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"default_model": "tinny"}, "bad setting default_model=tinny: no such model; did you mean tiny?"),
        ({"default_model": "xyz"}, "no such model; there are tiny@1"),
        ({"runtime": "magic"}, "bad setting runtime=magic: no such runtime, known are auto, torch"),
        ({"device": "cuda:99"}, "bad setting device=cuda:99"),
        ({"precision": "int4"}, "bad setting precision=int4"),
    ],
)
def test_settings_that_name_what_is_not_there_are_refused(checkpoints: Path, values: dict[str, str], told: str) -> None:
    with pytest.raises(BadSetting) as caught:
        create_app(settings_for(checkpoints, **values))

    assert told in str(caught.value)


async def test_a_service_that_still_loads_is_alive_but_not_ready(checkpoints: Path) -> None:
    loading, go = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(_checkpoint: Checkpoint, _device: torch.device, _settings: Settings) -> Runtime:
        loop.call_soon_threadsafe(loading.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result(20)
        return Echo()

    async with running(create_app(settings_for(checkpoints), runtimes={"torch": slow})) as client:
        await asyncio.wait_for(loading.wait(), 20)
        health, readiness = await client.get("/healthz"), await client.get("/readyz")
        refused = await client.post("/segment", content=plain_image(), headers=PNG)
        go.set()
        await until_ready(client)
        accepted = await client.post("/segment", content=plain_image(), headers=PNG)

    assert (health.status_code, readiness.status_code) == (200, 503)
    assert readiness.json()["models"]["tiny@1"]["state"] == "loading"
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert refused.json()["detail"] == "model tiny@1 is loading"
    assert accepted.status_code == 200


async def test_a_service_is_not_ready_before_its_model_has_run(checkpoints: Path, echo: Echo) -> None:
    echo.hold()
    async with running(create_app(settings_for(checkpoints), runtimes={"torch": echo.build})) as client:
        is_running = await asyncio.to_thread(echo.busy.wait, 20)
        during = await client.get("/readyz")
        echo.go.set()
        await until_ready(client)

    assert is_running
    assert during.status_code == 503
    assert len(echo.batches) > 1  # every usual shape


async def test_a_broken_checkpoint_fails_alone_and_says_why(several: Path, tmp_path: Path) -> None:
    shutil.copy(several / "a.safetensors", tmp_path / "a.safetensors")
    shutil.copy(several / "a.safetensors", tmp_path / "twin.safetensors")
    shutil.copy(several / "b.safetensors", tmp_path / "b.safetensors")
    break_weights(tmp_path / "b.safetensors")
    (tmp_path / "rubbish.safetensors").write_bytes(b"rubbish")

    async with running(create_app(settings_for(tmp_path, default_model="a"))) as client:
        await until_ready(client)
        models = {entry["name"]: entry for entry in (await client.get("/models")).json()["models"]}
        refused = await client.post("/segment?model=b", content=plain_image(), headers=PNG)
        accepted = await client.post("/segment", content=plain_image(), headers=PNG)

    assert {name: entry["state"] for name, entry in models.items()} == {
        "a": "ready", "b": "failed", "rubbish": "failed", "twin": "failed",
    }  # fmt: skip
    assert "sha256" in models["b"]["problem"]
    assert models["twin"]["problem"] == "another file already has the model a@1"
    assert str(tmp_path) not in str(models)
    assert refused.status_code == 503
    assert "retry-after" not in refused.headers  # it would be in vain
    assert "model b@1 is failed: " in refused.json()["detail"]
    assert accepted.status_code == 200


def broken(_checkpoint: Checkpoint, _device: torch.device, _settings: Settings) -> Runtime:
    raise RuntimeError("/secret/path")


async def test_a_network_that_cannot_be_built_is_told_without_its_words_and_the_process_lives(
    checkpoints: Path,
) -> None:
    reasons: list[str] = []
    app = create_app(settings_for(checkpoints), give_up=reasons.append, runtimes={"torch": broken})
    async with running(app) as client:
        await until_started(client)
        health, readiness = await client.get("/healthz"), await client.get("/readyz")
        model = await client.get("/models/tiny")

    assert reasons == []
    assert (health.status_code, readiness.status_code) == (200, 503)
    assert "secret" not in readiness.text
    assert (model.json()["state"], model.json()["problem"]) == ("failed", "it could not be loaded, the log says why")


async def test_a_strict_service_gives_up_when_a_model_fails(checkpoints: Path) -> None:
    reasons: asyncio.Queue[str] = asyncio.Queue()
    app = create_app(settings_for(checkpoints, strict=True), give_up=reasons.put_nowait, runtimes={"torch": broken})
    async with running(app):
        reason = await asyncio.wait_for(reasons.get(), 20)

    assert "tiny.safetensors: it could not be loaded, the log says why" in reason


def test_a_strict_service_does_not_start_with_a_file_that_is_no_checkpoint(several: Path, tmp_path: Path) -> None:
    shutil.copy(several / "a.safetensors", tmp_path)
    (tmp_path / "b.safetensors").write_bytes(b"rubbish")

    with pytest.raises(NoUsableModel, match=r"strict.*b.safetensors: not a "):
        create_app(settings_for(tmp_path, strict=True))


async def test_a_device_that_is_broken_is_told_refuses_work_and_ends_the_process(checkpoints: Path) -> None:
    reasons: asyncio.Queue[str] = asyncio.Queue()
    app = create_app(
        settings_for(checkpoints, broken_exit_delay=0.05), give_up=reasons.put_nowait, runtimes={"torch": Echo().build}
    )
    async with running(app) as client:
        await until_ready(client)
        (device,) = services_of(app).registry.devices
        with pytest.raises(DeviceFailed):
            await device.run(sys.exit)
        health, readiness = await client.get("/healthz"), await client.get("/readyz")
        refused = await client.post("/segment", content=plain_image(), headers=PNG)
        reason = await asyncio.wait_for(reasons.get(), 20)

    assert (health.status_code, readiness.status_code, refused.status_code) == (503, 503, 503)
    assert health.json()["devices"] == [{"name": "cpu", "problem": "the device's thread has died"}]
    assert refused.headers["retry-after"] == "10"
    assert reason == "device cpu: the device's thread has died"


async def test_several_models_without_a_default_have_to_be_named(several: Path) -> None:
    async with running(create_app(settings_for(several))) as client:
        await until_ready(client)
        unnamed = await client.post("/segment", content=plain_image(), headers=PNG)
        named = await client.post("/segment?model=b", content=plain_image(), headers=PNG)

    assert unnamed.status_code == 422
    assert "name one of a@1, b@1" in unnamed.json()["detail"]
    assert named.headers["x-model"] == "b"


def test_nothing_to_serve_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(NoUsableModel, match="there is no"):
        create_app(settings_for(tmp_path))


async def test_a_draining_service_answers_but_is_not_ready_and_then_takes_no_more(
    checkpoints: Path, echo: Echo
) -> None:
    app = create_app(settings_for(checkpoints), runtimes={"torch": echo.build})
    registry = services_of(app).registry
    async with running(app) as client:
        await until_ready(client)
        registry.drain()
        readiness = await client.get("/readyz")
        answered = await client.post("/segment", content=plain_image(), headers=PNG)
        registry.close_admission()
        refused = await client.post("/segment", content=plain_image(), headers=PNG)

    assert (readiness.status_code, readiness.json()["draining"]) == (503, True)
    assert answered.status_code == 200
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")


async def test_the_openapi_document_describes_answers_and_problems(serve: Serve) -> None:
    async with serve() as client:
        document = (await client.get("/openapi.json")).json()

    segment = document["paths"]["/segment"]["post"]
    assert set(segment["requestBody"]["content"]) == {
        "multipart/form-data", "image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "application/json",
    }  # fmt: skip
    answers = segment["responses"]["200"]["content"]
    assert set(answers) == {*(encoder.media_type for encoder in ENCODERS.values()), "multipart/mixed"}
    examples = {name for answer in answers.values() for name in answer.get("examples", ())}
    assert examples == {name for name, encoder in ENCODERS.items() if "json" in encoder.media_type}
    assert set(segment["responses"]) == {
        "200", "404", "406", "408", "413", "415", "422", "500", "503", "504",
    }  # fmt: skip
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert all(name in document["components"]["schemas"] for name in references(document))


async def test_the_documentation_page_needs_nothing_from_elsewhere(serve: Serve) -> None:
    async with serve() as client:
        page = await client.get("/docs")
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        answers = [await client.get(link) for link in links]

    assert len(links) == 3
    assert all(link.startswith("/") and not link.startswith("//") for link in links)
    assert [answer.status_code for answer in answers] == [200, 200, 200]


def references(part: Any) -> set[str]:  # noqa: ANN401  # JSON of any depth
    if isinstance(part, list):
        return set().union(*map(references, part))
    if not isinstance(part, dict):
        return set()
    own = {str(part["$ref"]).removeprefix("#/components/schemas/")} if "$ref" in part else set()
    return own.union(*map(references, part.values()))


async def test_two_apps_do_not_share_metrics(checkpoints: Path) -> None:
    first, second = (create_app(settings_for(checkpoints)) for _ in range(2))

    services_of(first).metrics.requests.labels("/x", "200").inc()

    assert 'route="/x"' in services_of(first).metrics.expose().decode()
    assert 'route="/x"' not in services_of(second).metrics.expose().decode()
