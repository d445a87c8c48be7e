"""Sixteen clients that do whatever comes to their mind."""

import asyncio

import pytest

from tests.faults.clients import ask, is_own_mask, picture
from tests.faults.conftest import Tell
from tests.faults.random_clients import misbehave
from tests.faults.server import Server, until

SLACK = 24 << 20


@pytest.mark.parametrize("seconds", [6, pytest.param(60, marks=pytest.mark.soak)])
def test_after_clients_that_do_anything_all_is_as_it_was(ordinary: Server, seconds: float, tell: Tell) -> None:
    asyncio.run(misbehave(ordinary.url, 2, seed=1))  # fills caches and pools
    until(lambda: ordinary.metric("segserve_in_flight") == 0)
    files, memory = ordinary.num_files(), ordinary.resident_bytes()
    errors = ordinary.metric("segserve_requests_total", status="500")

    num_good = asyncio.run(misbehave(ordinary.url, seconds, seed=2))

    answer = asyncio.run(ask(ordinary.url, picture(7)))
    grown = ordinary.resident_bytes() - memory
    tell("good requests", str(num_good))
    tell("memory grew by", f"{grown / (1 << 20):.1f} MiB")
    assert (answer.status, is_own_mask(answer, 7)) == (200, True)
    assert num_good > 0
    assert ordinary.metric("segserve_requests_total", status="500") == errors
    until(lambda: ordinary.metric("segserve_in_flight") == 0, seconds=10)
    until(lambda: ordinary.num_files() <= files, seconds=10)
    assert grown < SLACK
