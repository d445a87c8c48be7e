"""More models than the memory holds, on the real runtime: they come and go, and nobody is refused."""

import asyncio
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.faults.clients import Answer, ask, together
from tests.faults.conftest import Tell, save_model
from tests.faults.server import Server, serving
from tests.service.fakes import encode, noisy_image

MODELS = ("a", "b", "c")
TOKEN = "a token of the tests"  # noqa: S105  # no secret
NUM_REQUESTS = 300
NUM_CLIENTS = 12
SLACK = 8 << 20
SETTINGS = {"runtime": "torch", "loading": "lazy", "default_model": "a", "max_batch_size": 1}
"""With larger batches, what a model takes would depend on which of them were found to pay."""
EVICTED = {"reason": "evicted"}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of three models that answer differently."""
    folder = tmp_path_factory.mktemp("three")
    for seed, name in enumerate(MODELS):
        save_model(folder / f"{name}.safetensors", name, num_classes=9, channels=8, seed=seed)
    return folder


@pytest.fixture(scope="module")
def roomy(three: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Give a server that holds all three."""
    log = tmp_path_factory.mktemp("roomy") / "server.log"
    with serving(log, checkpoints=three, admin_token=TOKEN, **SETTINGS) as running:
        yield running


@pytest.fixture
def tight(roomy: Server, three: Path, log: Path) -> Iterator[Server]:
    """Give a server that holds two of the three, of which ``a`` is always one."""
    for name in MODELS:
        assert roomy.post(f"/segment?model={name}", picture_file(0)).status_code == 200
    memory = [roomy.get(f"/models/{name}").json()["memory"] for name in MODELS]
    weights, peak = (max(taken[kind] for taken in memory) for kind in ("weights_bytes", "peak_bytes"))
    with serving(
        log,
        checkpoints=three,
        **SETTINGS,
        pinned_models="a",
        memory_budget_bytes=2 * weights + weights // 2 + peak,
        min_residence=0.2,
    ) as running:
        yield running


def test_three_models_take_turns_in_memory_for_two_and_all_requests_are_answered(
    roomy: Server, tight: Server, tell: Tell
) -> None:
    asked = [(MODELS[index * 7 % 10 % 3], index % 5) for index in range(NUM_REQUESTS)]
    right = {
        (name, number): mask(asyncio.run(ask_model(roomy, name, number))) for name in MODELS for number in range(5)
    }

    answers = asyncio.run(ask_in_turn(tight, asked))

    evictions = tight.metric("segserve_model_unloads_total", **EVICTED)
    of_pinned = [answer.seconds for answer, (name, _) in zip(answers, asked, strict=True) if name == "a"]
    tell("evictions", f"{evictions:.0f} in {NUM_REQUESTS} requests")
    tell("model in memory", f"median {np.median(of_pinned):.3f} s, slowest {max(of_pinned):.3f} s")
    tell("all", f"slowest {max(answer.seconds for answer in answers):.3f} s")
    assert {answer.status: answer.content for answer in answers if answer.status != 200} == {}
    assert all(agree(mask(answer), right[what]) for answer, what in zip(answers, asked, strict=True))
    assert not agree(right["a", 0], right["b", 0])
    assert evictions > 0
    assert tight.get("/models/a").json()["num_loads"] == 1


@pytest.mark.parametrize("num_cycles", [25, pytest.param(100, marks=pytest.mark.soak)])
def test_loading_and_unloading_a_model_leaves_memory_flat(roomy: Server, num_cycles: int, tell: Tell) -> None:
    resident = [load_and_unload(roomy) for _ in range(num_cycles)]

    tell("memory", ", ".join(f"{size / (1 << 20):.0f}" for size in resident[::7]) + " MiB")
    assert max(resident[-5:]) - min(resident[10:15]) < SLACK


def load_and_unload(server: Server) -> int:
    """Bring a model into memory, use it and take it out; give the memory that the process then has."""
    authorization = f"Bearer {TOKEN}"
    loaded = server.post("/models/b/load", Authorization=authorization)
    answer = server.post("/segment?model=b", picture_file(1))
    unloaded = server.post("/models/b/unload", Authorization=authorization)
    assert (loaded.is_success, answer.status_code, unloaded.is_success) == (True, 200, True)
    return server.resident_bytes()


async def ask_in_turn(server: Server, asked: list[tuple[str, int]]) -> list[Answer]:
    """Ask for all, never more than ``NUM_CLIENTS`` at a time."""
    places = asyncio.Semaphore(NUM_CLIENTS)

    async def ask_one(name: str, number: int) -> Answer:
        async with places:
            return await ask_model(server, name, number)

    return await together([ask_one(name, number) for name, number in asked])


async def ask_model(server: Server, name: str, number: int) -> Answer:
    return await ask(server.url, picture_file(number), path=f"/segment?model={name}")


def picture_file(number: int) -> bytes:
    return encode(noisy_image((64, 48), seed=number))


def mask(answer: Answer) -> NDArray[np.uint8]:
    return np.array(Image.open(BytesIO(answer.content)))


def agree(mask: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Tell whether masks are the same, but for pixels where the batch size moved the last bit of a logit."""
    return bool(np.mean(mask == other) > 0.98)
