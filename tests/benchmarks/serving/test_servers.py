"""Start and stop a server that does no work, and visit it as others are visited."""

from __future__ import annotations

import socket
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.peers import Task
from benchmarks.serving.processes import descendants
from benchmarks.serving.rows import ROWS, TRIVIAL
from benchmarks.serving.servers import NotReady, serving
from benchmarks.serving.trivial import PNG
from benchmarks.serving.visit import Load, Setup, Visit, agreement, run_visit
from tests.faults.server import free_port


def png(pixels: list[list[int]]) -> bytes:
    output = BytesIO()
    Image.fromarray(np.array(pixels, np.uint8)).save(output, "PNG")
    return output.getvalue()


def test_a_server_is_asked_while_it_serves_and_gone_afterwards(tmp_path: Path) -> None:
    with serving(ROWS[TRIVIAL], Task(None), port=free_port(), log=tmp_path / "log") as server:
        answered, alive = server.ask(b"a picture"), descendants(server.root)

    assert answered == PNG
    assert len(alive) == 1
    assert server.ready_seconds > 0
    assert descendants(server.root) == []


def test_a_server_that_ends_is_told_of_with_its_last_words(tmp_path: Path) -> None:
    broken = replace(ROWS[TRIVIAL], command=lambda *_: ["sh", "-c", "echo no luck; exit 3"])

    with (
        pytest.raises(NotReady, match="ended with 3: no luck"),
        serving(broken, Task(None), port=free_port(), log=tmp_path / "log"),
    ):
        pass


def test_a_port_on_which_somebody_answers_is_refused(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(NotReady, match="another server"),
        serving(ROWS[TRIVIAL], Task(None), port=other.getsockname()[1], log=tmp_path / "log"),
    ):
        pass


def test_a_visit_measures_every_load(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(b"a picture")
    setup = Setup(
        network=None, images=str(tmp_path), masks=str(tmp_path), log=str(tmp_path / "log"), port=free_port(),
        threads=1, max_batch_size=1, seconds=0.1, warm_up=0.0,
    )  # fmt: skip

    found = run_visit(Visit(TRIVIAL, 1, [Load(clients=2), Load(share=0.1), Load(rate=50)]), setup)

    assert found["error"] is None
    assert list(found["loads"]) == ["2 clients", "10% of capacity", "50 a second"]
    assert all(load["answered"] > 0 for load in found["loads"].values())
    assert found["loads"]["10% of capacity"]["rate"] == pytest.approx(
        0.1 * found["loads"]["2 clients"]["images_per_second"]
    )


def test_a_server_that_does_not_start_is_an_error_of_the_visit_alone(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        setup = Setup(
            network=None, images=str(tmp_path), masks=str(tmp_path), log=str(tmp_path / "log"),
            port=taken.getsockname()[1], threads=1, max_batch_size=1, seconds=0.1,
        )  # fmt: skip

        found = run_visit(Visit(TRIVIAL, 1, [Load(clients=1)]), setup)

    assert found["error"].startswith("NotReady: trivial ended with 1")
    assert found["loads"] == {}


def test_agreement_is_the_share_of_equal_pixels() -> None:
    assert agreement(png([[1, 2], [3, 4]]), png([[1, 2], [3, 5]])) == 0.75
    assert agreement(png([[1, 2]]), png([[1], [2]])) == 0
