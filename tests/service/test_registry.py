"""The registry as its users see it: models that come, change and go while requests are answered."""

import asyncio
import gc
import re
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
import torch

from model_zoo.checkpoint import Checkpoint, inspect
from service.app import create_app
from service.dependencies import services_of
from service.models import Model, State
from service.registry import Registry
from service.runtimes.runtime import Runtime
from service.runtimes.torch import TorchRuntime, build_torch
from service.segmenter import Footprint
from service.settings import SHIPPED_DEFAULT, BadSetting, Settings
from tests.service.conftest import running, save_model, until_started
from tests.service.fakes import Echo, encode, noisy_image

pytestmark = pytest.mark.anyio

PNG = {"Content-Type": "image/png"}
TOKEN = "0123456789abcdef"  # noqa: S105
ADMIN = {"Authorization": f"Bearer {TOKEN}"}


class World:
    """Hold a running app and a client for it."""

    def __init__(self, client: httpx.AsyncClient, registry: Registry, metrics: Callable[[], bytes]) -> None:
        self.client = client
        self.registry = registry
        self._metrics = metrics

    async def segment(self, model: str | None = None) -> httpx.Response:
        query = "" if model is None else f"?model={model}"
        return await self.client.post(f"/segment{query}", content=PICTURE, headers=PNG)

    async def model(self, name: str) -> dict[str, object]:
        return dict((await self.client.get(f"/models/{name}")).json())

    async def admin(self, name: str, verb: str) -> httpx.Response:
        return await self.client.post(f"/models/{name}/{verb}", headers=ADMIN)

    def find(self, name: str) -> Model:
        return self.registry.find(name)

    def metric(self, line: str) -> float:
        return next((float(found.split()[-1]) for found in self.lines(f"{line} ")), 0.0)

    def lines(self, start: str) -> list[str]:
        return [line for line in self._metrics().decode().splitlines() if line.startswith(start)]


PICTURE = encode(noisy_image((64, 48)))


@asynccontextmanager
async def world(folder: Path, **values: object) -> AsyncIterator[World]:
    """Run the service on a folder, on the real runtime unless ``build`` is another."""
    build = values.pop("build", build_torch)
    settings = Settings.model_validate(
        {"checkpoints": folder, "device": "cpu", "watch_interval": 0.01, "admin_token": TOKEN, **values}
    )
    app = create_app(settings, runtimes={"torch": build})  # type: ignore[dict-item]  # one of the tests' builders
    async with running(app) as client, asyncio.timeout(60):
        await until_started(client)
        yield World(client, services_of(app).registry, services_of(app).metrics.expose)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # the folder is looked at again and again, too
            await asyncio.sleep(0.005)


def corrupt(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.with_suffix(".new").write_bytes(data)
    file.with_suffix(".new").replace(file)


async def test_a_new_file_appears(tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path) as service:
        save_model(tmp_path / "b.safetensors", "b")
        await until(lambda: "b@1" in service.registry.models and service.find("b").state is State.READY)
        answers = [await service.segment(name) for name in ("b", None)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.headers["x-model"] for answer in answers] == ["b", "a"]  # the default stays what it was


async def test_a_replaced_file_is_swapped_in(tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path) as service:
        before = await service.segment()
        save_model(tmp_path / "a.safetensors", "a", seed=1)
        await until(lambda: service.find("a").num_loads == 2)
        after = await service.segment()
        swaps = service.metric('segserve_model_swaps_total{model="a",outcome="ok"}')

    assert before.content != after.content
    assert swaps == 1


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (corrupt, "the weights do not match the sha256 in the header; the file is damaged"),
        (lambda file: file.write_bytes(b"rubbish"), "not a safetensors file"),
    ],
)
async def test_a_corrupt_file_is_rejected_with_a_reason_and_the_old_model_goes_on(
    tmp_path: Path, spoil: Callable[[Path], None], told: str
) -> None:
    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path) as service:
        before = await service.segment()
        spoil(tmp_path / "a.safetensors")
        await until(lambda: service.find("a").rejected is not None)
        after, entry = await service.segment(), await service.model("a")
        swaps = service.metric('segserve_model_swaps_total{model="a",outcome="failed"}')
        save_model(tmp_path / "a.safetensors", "a", seed=1)
        await until(lambda: service.find("a").rejected is None)
        mended = await service.segment()

    assert before.content == after.content != mended.content
    assert entry["state"] == "ready"
    assert told in str(entry["rejected"])
    assert swaps == 1


async def test_the_old_model_answers_until_the_new_one_is_ready(tmp_path: Path) -> None:
    loading, go = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    builds: list[Echo] = []

    def build(_checkpoint: Checkpoint, _device: torch.device, _settings: Settings) -> Runtime:
        if len(builds) == 2:  # one for each device at the start, and now the first again
            loop.call_soon_threadsafe(loading.set)
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result(20)
        builds.append(Echo())
        return builds[-1]

    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path, build=build, device="cpu:0,cpu:1") as service:
        save_model(tmp_path / "a.safetensors", "a", seed=1)
        await loading.wait()
        during = await service.segment()
        state = service.find("a").state
        go.set()
        await until(lambda: service.find("a").num_loads == 2)

    assert (during.status_code, state) == (200, State.READY)


async def test_a_removed_file_drains_and_goes(tmp_path: Path, echo: Echo) -> None:
    save_model(tmp_path / "a.safetensors", "a")
    save_model(tmp_path / "b.safetensors", "b")
    async with world(tmp_path, build=echo.build) as service:
        echo.hold()
        in_flight = asyncio.create_task(service.segment("b"))
        await asyncio.to_thread(echo.busy.wait, 20)
        (tmp_path / "b.safetensors").unlink()
        await until(lambda: "b@1" not in service.registry.models)
        late = await service.segment("b")
        echo.go.set()
        answered = await in_flight
        await until(lambda: service.metric('segserve_model_unloads_total{model="b",reason="removed"}') == 1)
        holding = service.lines("segserve_model_bytes{")

    assert len(holding) == 2  # weights and peak of the other model
    assert all('model="a@1"' in line for line in holding)
    assert (answered.status_code, late.status_code) == (200, 404)


async def test_a_service_without_any_model_is_not_ready(tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path) as service:
        before = await service.client.get("/readyz")
        (tmp_path / "a.safetensors").unlink()
        await until(lambda: not service.registry.models)
        after = await service.client.get("/readyz")

    assert (before.status_code, after.status_code) == (200, 503)


async def test_a_folder_that_cannot_be_read_takes_nothing_away(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    save_model(folder / "a.safetensors", "a")
    async with world(folder) as service:
        folder.rename(tmp_path / "elsewhere")
        await asyncio.sleep(0.1)
        during = await service.segment()
        (tmp_path / "elsewhere").rename(folder)

    assert during.status_code == 200


async def test_the_newest_version_answers_by_default_and_each_can_be_named(tmp_path: Path) -> None:
    for version in ("2", "10", "9"):
        save_model(tmp_path / f"{version}.safetensors", "a", version=version)
    async with world(tmp_path) as service:
        answers = [await service.segment(name) for name in (None, "a", "a@2", "a@3")]

    assert [answer.headers.get("x-model-version") for answer in answers] == ["10", "10", "2", None]
    assert answers[-1].status_code == 404


async def test_a_pinned_default_version_answers(tmp_path: Path) -> None:
    for version in ("1", "2"):
        save_model(tmp_path / f"{version}.safetensors", "a", version=version)
    async with world(tmp_path, default_model="a@1") as service:
        answers = [await service.segment(name) for name in (None, "a")]

    assert [answer.headers["x-model-version"] for answer in answers] == ["1", "2"]


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder that stands for the one of the package, with three small models."""
    monkeypatch.setattr("service.settings.SHIPPED_CHECKPOINTS", tmp_path)
    for name in ("a", SHIPPED_DEFAULT, "z"):
        save_model(tmp_path / f"{name}.safetensors", name)
    return tmp_path


async def test_of_the_models_that_ship_one_is_the_default(shipped: Path) -> None:
    async with world(shipped) as service:
        answer = await service.segment()
        entries = (await service.client.get("/models")).json()["models"]

    assert (answer.status_code, answer.headers.get("x-model")) == (200, SHIPPED_DEFAULT)
    assert {entry["name"]: entry["is_default"] for entry in entries} == {"a": False, SHIPPED_DEFAULT: True, "z": False}


async def test_a_default_that_is_set_goes_before_the_one_that_ships(shipped: Path) -> None:
    async with world(shipped, default_model="z") as service:
        answer = await service.segment()

    assert answer.headers["x-model"] == "z"


async def test_where_the_default_that_ships_is_taken_away_the_only_other_answers(shipped: Path) -> None:
    (shipped / f"{SHIPPED_DEFAULT}.safetensors").unlink()
    async with world(shipped) as service:
        among_two = await service.segment()
        (shipped / "a.safetensors").unlink()
        await until(lambda: "a@1" not in service.registry.models)
        alone = await service.segment()

    assert "name one of" in among_two.json()["detail"]
    assert alone.headers["x-model"] == "z"


async def test_an_older_version_answers_while_the_newest_cannot(tmp_path: Path) -> None:
    save_model(tmp_path / "1.safetensors", "a")
    save_model(tmp_path / "2.safetensors", "a", version="2")
    corrupt(tmp_path / "2.safetensors")
    async with world(tmp_path) as service:
        answer, newest = await service.segment("a"), await service.segment("a@2")

    assert answer.headers["x-model-version"] == "1"
    assert newest.status_code == 503


async def test_a_file_that_takes_a_new_version_hands_over_when_that_is_ready(tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path) as service:
        save_model(tmp_path / "a.safetensors", "a", version="2", seed=1)
        statuses = []
        while "a@1" in service.registry.models:
            statuses.append((await service.segment("a")).status_code)
        answer = await service.segment("a")

    assert set(statuses) == {200}
    assert answer.headers["x-model-version"] == "2"


async def test_a_file_that_takes_a_new_version_that_fails_hands_nothing_over(tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path) as service:
        save_model(tmp_path / "next", "a", version="2", seed=1)
        corrupt(tmp_path / "next")
        (tmp_path / "next").replace(tmp_path / "a.safetensors")
        await until(lambda: "a@1" in service.registry.models and service.find("a@1").rejected is not None)
        answer = await service.segment("a")
        save_model(tmp_path / "a.safetensors", "a", version="2", seed=1)
        await until(lambda: "a@1" not in service.registry.models)
        mended = await service.segment("a")

    assert [answer.headers["x-model-version"], mended.headers["x-model-version"]] == ["1", "2"]


async def test_a_lazy_model_is_loaded_once_for_all_who_wait(tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path, loading="lazy") as service:
        ready = (await service.client.get("/readyz")).status_code
        before = service.find("a").state
        answers = await asyncio.gather(*(service.segment() for _ in range(8)))
        loads = service.find("a").num_loads

    assert (ready, before, loads) == (200, State.UNLOADED, 1)
    assert [answer.status_code for answer in answers] == [200] * 8


async def test_a_model_that_nobody_uses_is_unloaded_and_comes_back(tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path, idle_unload=0.05) as service:
        await until(lambda: service.find("a").state is State.UNLOADED)
        answer = await service.segment()
        unloads = service.metric('segserve_model_unloads_total{model="a",reason="idle"}')

    assert answer.status_code == 200
    assert unloads >= 1


async def test_an_operator_loads_unloads_and_reloads(tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path, watch_interval=0) as service:
        unloaded = await service.admin("a", "unload")
        refused = await service.segment()
        loaded = await service.admin("a", "load")
        before = await service.segment()
        save_model(tmp_path / "a.safetensors", "a", seed=1)
        reloaded = await service.admin("a", "reload")
        after = await service.segment()
        corrupt(tmp_path / "a.safetensors")
        failed = await service.admin("a", "reload")
        still = await service.segment()

    assert [answer.json()["state"] for answer in (unloaded, loaded, reloaded)] == ["unloaded", "ready", "ready"]
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert (before.status_code, failed.status_code) == (200, 503)
    assert "goes on as before: the weights do not match" in failed.json()["detail"]
    assert before.content != after.content == still.content


@pytest.mark.parametrize(
    ("values", "headers", "status"),
    [
        ({}, {}, 401),
        ({}, {"Authorization": "Bearer wrong"}, 401),
        ({}, {"Authorization": f"Basic {TOKEN}"}, 401),
        ({}, {"Authorization": "Bearer t\u00f6ken".encode("latin-1")}, 401),
        ({"admin_token": None}, ADMIN, 403),
    ],
)
async def test_nobody_else_does_what_an_operator_does(
    tmp_path: Path, values: dict[str, object], headers: dict[str, str], status: int
) -> None:
    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path, **values) as service:
        answers = [
            await service.client.post(f"/models/a/{verb}", headers=headers) for verb in ("load", "unload", "reload")
        ]

    assert [answer.status_code for answer in answers] == [status] * 3


@pytest.mark.parametrize("name", ["b", "../b", "../b.safetensors", "{outside}", "file://{outside}"])
async def test_nobody_reaches_a_file_outside_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "models").mkdir()
    save_model(tmp_path / "models" / "a.safetensors", "a")
    save_model(tmp_path / "b.safetensors", "b")
    wanted = quote(name.format(outside=tmp_path / "b.safetensors"), safe="")
    async with world(tmp_path / "models") as service:
        answers = [await service.segment(wanted), await service.admin(wanted, "load")]

    assert [answer.status_code for answer in answers] == [404, 404]


def test_the_admin_token_can_lie_in_a_file(checkpoints: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "short").write_text("abc")

    def app_with(file: str) -> str | None:
        settings = Settings(checkpoints=checkpoints, device="cpu", admin_token_file=tmp_path / file)
        return services_of(create_app(settings)).admin_token

    assert app_with("token") == TOKEN
    with pytest.raises(BadSetting, match="3 characters, at least 16"):
        app_with("short")
    with pytest.raises(BadSetting, match="cannot be read"):
        app_with("nothing")


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with three models of one size; not to be changed."""
    folder = tmp_path_factory.mktemp("three")
    for seed, name in enumerate("abc"):
        save_model(folder / f"{name}.safetensors", name, seed=seed)
    return folder


async def test_what_each_model_holds_is_shown_and_a_metric(three: Path) -> None:
    async with world(three) as service:
        shown = [(await service.model(name))["memory"] for name in "abc"]
        counted = [
            {
                f"{kind}_bytes": service.metric(f'segserve_model_bytes{{kind="{kind}",model="{name}@1"}}')
                for kind in ("weights", "peak")
            }
            for name in "abc"
        ]

    assert counted == shown
    assert all(held > 0 for model in counted for held in model.values())


@pytest.fixture(scope="session")
async def budget_for_two(three: Path) -> int:
    async with world(three, max_batch_size=1) as service:  # what a pass takes varies with the batches that pay
        footprints = [service.find(name).footprint for name in "abc"]
    peak = max(footprint.peak_bytes for footprint in footprints if footprint)
    return peak + sum(footprint.weights_bytes for footprint in footprints[:2] if footprint) + 1000


async def test_more_models_than_there_is_room_for_take_turns(three: Path, budget_for_two: int) -> None:
    async with world(three, max_batch_size=1, memory_budget_bytes=budget_for_two, min_residence=0.02) as service:
        at_start = [service.find(name).state for name in "abc"]
        answers = await asyncio.gather(*(service.segment("abc"[i % 3]) for i in range(60)))
        evictions = sum(
            service.metric(f'segserve_model_unloads_total{{model="{name}",reason="evicted"}}') for name in "abc"
        )
        held = sum(service.find(name).segmenter is not None for name in "abc")

    assert at_start == [State.READY, State.READY, State.UNLOADED]
    assert [answer.status_code for answer in answers] == [200] * 60
    assert evictions >= 1
    assert held == 2


async def test_the_least_recently_used_model_makes_room(three: Path, budget_for_two: int) -> None:
    async with world(three, max_batch_size=1, memory_budget_bytes=budget_for_two, min_residence=0) as service:
        await service.segment("b")
        await service.segment("a")
        await service.segment("c")
        states = [service.find(name).state for name in "abc"]

    assert states == [State.READY, State.UNLOADED, State.READY]


async def test_pinned_models_are_never_taken_out_and_the_lack_of_room_is_told(three: Path, budget_for_two: int) -> None:
    async with world(
        three, max_batch_size=1, memory_budget_bytes=budget_for_two, min_residence=0, pinned_models="a,b@1"
    ) as service:
        refused = await service.segment("c")
        again = await service.segment("c")
        answered = await service.segment("a")

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert "more than memory_budget_bytes=" in refused.json()["detail"]
    assert "leaves beside a@1, b@1" in refused.json()["detail"]
    assert "could not be loaded just now" in again.json()["detail"]
    assert answered.status_code == 200


async def test_a_model_in_use_is_not_taken_out(three: Path, budget_for_two: int) -> None:
    async with world(three, max_batch_size=1, memory_budget_bytes=budget_for_two, min_residence=0) as service:
        async with service.registry.hold(service.find("a")), service.registry.hold(service.find("b")) as held:
            waiting = asyncio.create_task(service.segment("c"))
            await asyncio.sleep(0.1)
            was_done, runtime = waiting.done(), held.batcher.replicas
        answered = await waiting

    assert not was_done
    assert runtime
    assert answered.status_code == 200


async def test_a_model_keeps_its_memory_for_a_while_whoever_else_wants_it(three: Path, budget_for_two: int) -> None:
    async with world(three, max_batch_size=1, memory_budget_bytes=budget_for_two, min_residence=20) as service:
        headers = {**PNG, "X-Request-Timeout": "0.2"}
        late = await service.client.post("/segment?model=c", content=PICTURE, headers=headers)
        states = [service.find(name).state for name in "abc"]
        answers = [await service.segment(name) for name in "ab"]

    assert late.status_code == 504
    assert states == [State.READY, State.READY, State.LOADING]
    assert [answer.status_code for answer in answers] == [200, 200]


async def test_who_would_wait_too_long_for_memory_is_refused(three: Path, budget_for_two: int) -> None:
    half_a_model = 2 * inspect(three / "a.safetensors").num_parameters  # of four bytes each
    budget_for_one = budget_for_two - half_a_model
    async with world(three, max_batch_size=1, memory_budget_bytes=budget_for_one, min_residence=20) as service:
        waiting = asyncio.create_task(service.segment("b"))
        await until(lambda: service.find("b").state is State.LOADING)
        refused = await service.segment("c")
        waiting.cancel()

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert refused.json()["detail"] == "1 models wait for memory, model c@1 would be loaded in 40 s"


async def test_who_would_wait_longer_than_anybody_waits_is_refused_at_once(three: Path, budget_for_two: int) -> None:
    async with world(three, max_batch_size=1, memory_budget_bytes=budget_for_two, min_residence=1000) as service:
        refused = await service.segment("c")

    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert re.search(r"and none of them may go for (99\d|1000) s", refused.json()["detail"])


async def test_a_model_that_is_larger_than_the_budget_is_refused(three: Path) -> None:
    async with world(three, memory_budget_bytes=1000, loading="lazy") as service:
        refused = await service.segment("a")

    assert refused.status_code == 503
    assert "needs " in refused.json()["detail"]


async def test_an_unloaded_model_is_gone_without_waiting_for_the_garbage_collector(tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", "a")
    gc.collect()
    before = count_runtimes()
    async with world(tmp_path, watch_interval=0) as service:
        gc.disable()
        try:
            for _ in range(5):
                await service.segment()
                await service.admin("a", "unload")
                await service.admin("a", "load")
            after = count_runtimes()
        finally:
            gc.enable()

    assert after - before == 1


def count_runtimes() -> int:
    return sum(type(found) is TorchRuntime for found in gc.get_objects())  # isinstance would ask odd ones for more


def test_pinned_models_that_do_not_exist_are_refused(checkpoints: Path) -> None:
    settings = Settings(checkpoints=checkpoints, device="cpu", pinned_models="tinny")

    with pytest.raises(BadSetting, match=r"pinned_models=tinny: no such model; did you mean tiny\?"):
        create_app(settings)


async def test_a_load_that_lacks_memory_is_tried_again(tmp_path: Path) -> None:
    attempts: list[int] = []

    def build(checkpoint: Checkpoint, device: torch.device, settings: Settings) -> Runtime:
        attempts.append(1)
        if len(attempts) == 1:
            raise torch.OutOfMemoryError
        return build_torch(checkpoint, device, settings)

    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path, build=build) as service:
        entry, early = await service.model("a"), await service.segment()
        ready = (await service.client.get("/readyz")).status_code
        loaded = await service.admin("a", "load")
        answer = await service.segment()

    assert (entry["state"], entry["problem"]) == ("unloaded", "the device has not enough memory for this image now")
    assert (early.status_code, ready, loaded.status_code, answer.status_code) == (503, 503, 200, 200)


async def test_a_start_takes_nothing_out_of_memory_again_for_a_model_that_turns_out_too_large(
    three: Path, budget_for_two: int
) -> None:
    footprint_of_nothing = 2000
    budget = budget_for_two - footprint_of_nothing
    async with world(three, max_batch_size=1, memory_budget_bytes=budget, default_model="a") as service:
        states = [service.find(name).state for name in "abc"]
        problems = [service.find(name).problem for name in "abc"]
        answers = [await service.segment(name) for name in (None, "c")]

    assert states == [State.READY, State.UNLOADED, State.UNLOADED]
    assert problems == [None, None, None]
    assert [answer.status_code for answer in answers] == [200, 200]


async def test_a_model_that_can_never_fit_takes_nobody_out(three: Path, budget_for_two: int) -> None:
    async with world(three, max_batch_size=1, memory_budget_bytes=budget_for_two, min_residence=0) as service:
        service.find("c").footprint = Footprint(weights_bytes=2 * budget_for_two, peak_bytes=0)
        refused = await service.segment("c")
        states = [service.find(name).state for name in "ab"]

    assert refused.status_code == 503
    assert states == [State.READY, State.READY]


async def test_a_broken_file_named_as_a_model_does_not_hide_it(tmp_path: Path) -> None:
    save_model(tmp_path / "v1.safetensors", "a")
    (tmp_path / "a.safetensors").write_bytes(b"rubbish")
    async with world(tmp_path) as service:
        answers = [await service.segment(name) for name in (None, "a")]
        ready = await service.client.get("/readyz")

    assert [answer.status_code for answer in answers] == [200, 200]
    assert ready.status_code == 200


@pytest.mark.parametrize("verb", ["unload", "remove"])
async def test_a_model_that_is_taken_out_while_it_is_replaced_stays_out(tmp_path: Path, verb: str) -> None:
    building, go = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    builds: list[Echo] = []

    def build(_checkpoint: Checkpoint, _device: torch.device, _settings: Settings) -> Runtime:
        builds.append(Echo())
        if len(builds) == 2:
            loop.call_soon_threadsafe(building.set)
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result(20)
        return builds[-1]

    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path, build=build) as service:
        model = service.find("a")
        save_model(tmp_path / "a.safetensors", "a", seed=1)
        await building.wait()
        if verb == "unload":
            taken_out = asyncio.create_task(service.admin("a", "unload"))
            await until(lambda: model.is_withheld)
        else:
            (tmp_path / "a.safetensors").unlink()
            await until(lambda: not service.registry.models)
        await until(lambda: model.segmenter is None)
        go.set()
        if verb == "unload":
            await taken_out
        refused = await service.segment("a")
        await until(lambda: not service.registry._residency._budget.in_memory)

    assert refused.status_code == (503 if verb == "unload" else 404)
    assert (model.segmenter, model.rejected) == (None, None)


async def test_a_new_version_with_no_room_beside_the_old_one_is_rejected(three: Path, tmp_path: Path) -> None:
    shutil.copy(three / "a.safetensors", tmp_path)
    async with world(tmp_path, max_batch_size=1) as service:
        footprint = service.find("a").footprint
    assert footprint is not None
    budget = footprint.weights_bytes + footprint.peak_bytes + 1000

    async with world(tmp_path, max_batch_size=1, memory_budget_bytes=budget, min_residence=0) as service:
        save_model(tmp_path / "next", "a", version="2", seed=1)
        (tmp_path / "next").replace(tmp_path / "a.safetensors")
        await until(lambda: "a@2" in service.registry.models and service.find("a@1").rejected is not None)
        answer = await service.segment("a")

    assert answer.headers["x-model-version"] == "1"


async def test_a_model_that_is_being_loaded_keeps_the_service_ready(tmp_path: Path) -> None:
    building, go = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def build(_checkpoint: Checkpoint, _device: torch.device, _settings: Settings) -> Runtime:
        loop.call_soon_threadsafe(building.set)
        asyncio.run_coroutine_threadsafe(go.wait(), loop).result(20)
        return Echo()

    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path, build=build, loading="lazy") as service:
        waiting = asyncio.create_task(service.segment())
        await building.wait()
        ready = await service.client.get("/readyz")
        go.set()
        answer = await waiting

    assert (ready.status_code, answer.status_code) == (200, 200)


async def test_a_load_that_failed_for_a_while_is_tried_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.residency._RETRY_DELAY", 0.01)
    attempts: list[int] = []

    def build(checkpoint: Checkpoint, device: torch.device, settings: Settings) -> Runtime:
        attempts.append(1)
        if len(attempts) < 3:
            raise MemoryError
        return build_torch(checkpoint, device, settings)

    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path, build=build) as service:
        await until(lambda: service.registry.is_ready)
        answer = await service.segment()

    assert (len(attempts), answer.status_code) == (3, 200)


async def test_a_service_whose_default_has_gone_is_not_ready(tmp_path: Path) -> None:
    for name in "ab":
        save_model(tmp_path / f"{name}.safetensors", name)
    async with world(tmp_path, default_model="a") as service:
        (tmp_path / "a.safetensors").unlink()
        await until(lambda: "a@1" not in service.registry.models)
        ready = await service.client.get("/readyz")

    assert ready.status_code == 503


async def test_a_file_that_turns_into_another_known_model_leaves_its_own_behind(tmp_path: Path) -> None:
    save_model(tmp_path / "1.safetensors", "a")
    save_model(tmp_path / "2.safetensors", "b")
    async with world(tmp_path) as service:
        shutil.copy(tmp_path / "2.safetensors", tmp_path / "1.safetensors")
        await until(lambda: "a@1" not in service.registry.models)
        answer = await service.segment("b")

    assert answer.status_code == 200


async def test_a_file_that_is_put_back_is_served_again(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_model(file, "a")
    async with world(tmp_path) as service:
        file.rename(tmp_path / "kept")
        file.write_bytes(b"rubbish")
        await until(lambda: bool(service.registry.models) and all(
            model.rejected or model.problem for model in service.registry.models.values()
        ))  # fmt: skip
        (tmp_path / "kept").replace(file)
        await until(lambda: "a@1" in service.registry.models and service.find("a").rejected is None)
        answer = await service.segment("a")

    assert answer.status_code == 200


async def test_a_lazy_load_never_serves_what_the_file_holds_now_under_the_old_name(tmp_path: Path) -> None:
    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path, loading="lazy", watch_interval=0) as service:
        save_model(tmp_path / "a.safetensors", "other")
        refused = await service.segment("a")

    assert refused.status_code == 503
    assert "holds other@1 now" in refused.json()["detail"]


async def test_what_lack_of_memory_has_taught_is_known_at_the_next_load(tmp_path: Path, echo: Echo) -> None:
    save_model(tmp_path / "a.safetensors", "a")
    async with world(tmp_path, build=echo.build, max_batch_size=4) as service:
        (replica,) = service.find("a").segmenter.batcher.replicas  # type: ignore[union-attr]
        shape = next(iter(service.find("a").warm_ups[0].batch_sizes))
        replica.limits.lower(shape, failed=2)
        await service.admin("a", "unload")
        await service.admin("a", "load")
        (replica,) = service.find("a").segmenter.batcher.replicas  # type: ignore[union-attr]

    assert replica.limits.of(shape) == 1
