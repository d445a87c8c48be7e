"""The file of a served model is replaced while requests come."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.faults.clients import NUM_REDS, Answer, ask, picture
from tests.faults.conftest import Tell, save_model
from tests.faults.server import Server, serving, until

NUM_REQUESTS = 500
NUM_CLIENTS = 8
RED = 200
FEW_CLASSES = 7
OLD, NEW = RED % NUM_REDS, RED % FEW_CLASSES
"""The one class of all pixels, by the model that answers."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with one checkpoint of the old model."""
    served = tmp_path / "models"
    served.mkdir()
    save_model(served / "tiny.safetensors")
    return served


@pytest.fixture
def server(folder: Path, log: Path) -> Iterator[Server]:
    """Give a server that looks at the folder ten times a second."""
    with serving(log, checkpoints=folder, watch_interval=0.1) as running:
        yield running


def test_while_a_checkpoint_is_replaced_five_times_no_request_fails(
    server: Server, folder: Path, tmp_path: Path, tell: Tell
) -> None:
    path = folder / "tiny.safetensors"
    old = path.read_bytes()
    new = save_model(tmp_path / "new.safetensors", num_classes=FEW_CLASSES).read_bytes()
    corrupt = old[:-100] + bytes([old[-100] ^ 1]) + old[-99:]
    seen: list[dict[str, Any]] = []

    def replace() -> None:
        for put, content, is_taken in (
            (rename_over, new, answers(server, NEW)),
            (overwrite, old, answers(server, OLD)),
            (rename_over, corrupt, rejects(server)),
            (rename_over, new, answers(server, NEW)),
            (overwrite_slowly, old, answers(server, OLD)),
        ):
            put(path, content)
            until(is_taken, seconds=20)
            seen.append(server.get("/models/tiny").json())

    answered = asyncio.run(ask_while(replace, server))

    statuses = Counter(answer.status for answer in answered)
    values = Counter(one_value(answer) for answer in answered if answer.status == 200)
    tell("statuses", str(dict(statuses)))
    tell("values", str(dict(values)))
    tell("slowest", f"{max(answer.seconds for answer in answered):.3f} s")
    assert statuses.keys() == {200}
    assert statuses[200] >= NUM_REQUESTS
    assert values.keys() == {OLD, NEW}
    assert "sha256" in seen[2]["rejected"]
    assert [shown["state"] for shown in seen] == ["ready"] * 5
    assert seen[-1]["rejected"] is None
    assert server.metric("segserve_model_swaps_total", outcome="ok") >= 4
    assert server.metric("segserve_model_swaps_total", outcome="failed") >= 1


async def ask_while(work: Callable[[], None], server: Server) -> list[Answer]:
    """Ask again and again until the work is done, and at least ``NUM_REQUESTS`` times."""
    answered: list[Answer] = []
    working = asyncio.create_task(asyncio.to_thread(work))

    async def go_on_asking() -> None:
        while not working.done() or len(answered) < NUM_REQUESTS:
            answered.append(await ask(server.url, picture(RED)))

    async with asyncio.TaskGroup() as group:
        for _ in range(NUM_CLIENTS):
            group.create_task(go_on_asking())
    await working
    return answered


def one_value(answer: Answer) -> int | None:
    """Give the value that all pixels of a mask have, if they have one."""
    low, high = Image.open(BytesIO(answer.content)).getextrema()
    return int(str(low)) if low == high else None


def answers(server: Server, value: int) -> Callable[[], bool]:
    return lambda: one_value(asyncio.run(ask(server.url, picture(RED)))) == value


def rejects(server: Server) -> Callable[[], bool]:
    return lambda: server.get("/models/tiny").json()["rejected"] is not None


def rename_over(path: Path, content: bytes) -> None:
    """Replace a file in one step."""
    beside = path.with_suffix(".part")
    beside.write_bytes(content)
    beside.replace(path)


def overwrite(path: Path, content: bytes) -> None:
    """Write into the very file that is served, as cp does."""
    path.write_bytes(content)


def overwrite_slowly(path: Path, content: bytes) -> None:
    """Write into the file in pieces, each of which its reader may take for the whole."""
    with path.open("wb") as file:
        for start in range(0, len(content), 1 + len(content) // 4):
            file.write(content[start : start + 1 + len(content) // 4])
            file.flush()
            time.sleep(0.3)  # longer than the watcher's interval
