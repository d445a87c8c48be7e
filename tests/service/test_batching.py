import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_zoo.predict import Segmentation
from model_zoo.preprocess import NetworkInput
from service.batching import Batcher, Forwarded
from service.devices import Device
from service.errors import ForwardFailed, OutOfMemory, ShuttingDown
from service.runtimes.runtime import Runtime
from tests.service.fakes import POISON, Echo, network_image

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def batching(runtime: Runtime, *, size: int = 4, delay: float = 0.0) -> AsyncIterator[Batcher]:
    device = Device(torch.device("cpu"), num_threads=1)
    batcher = Batcher(runtime, device, max_batch_size=size, max_delay=delay)
    try:
        async with asyncio.timeout(20):
            yield batcher
    finally:
        if isinstance(runtime, Echo):
            runtime.go.set()
        await batcher.close()
        device.close()


def send(batcher: Batcher, red: int, *, side: int = 32, probabilities: bool = False) -> asyncio.Task[Forwarded]:
    return asyncio.create_task(batcher.forward(network_image(red, side=side), needs_probabilities=probabilities))


async def send_behind(batcher: Batcher, echo: Echo, reds: Sequence[int]) -> tuple[asyncio.Task[Forwarded], ...]:
    """Send one image that keeps the device busy, then the others, which gather behind it."""
    echo.hold()
    first = send(batcher, 0)
    await asyncio.to_thread(echo.busy.wait, 20)
    others = [send(batcher, red) for red in reds]
    await asyncio.sleep(0)
    return first, *others


def red_of(forwarded: Forwarded) -> int:
    return int(forwarded.segmentation.mask[0, 0])


async def test_an_idle_device_never_waits_for_company(echo: Echo) -> None:
    async with batching(echo) as batcher:
        answer = await send(batcher, 7)

    assert red_of(answer) == 7
    assert echo.batches == [[7]]
    assert answer.queue < 1


async def test_the_next_batch_gathers_while_the_device_works(echo: Echo) -> None:
    async with batching(echo, size=4) as batcher:
        tasks = await send_behind(batcher, echo, [1, 2, 3, 4, 5])
        echo.go.set()
        answers = await asyncio.gather(*tasks)

    assert [red_of(answer) for answer in answers] == [0, 1, 2, 3, 4, 5]
    assert echo.batches == [[0], [1, 2, 3, 4], [5]]


async def test_images_of_another_shape_go_in_another_batch(echo: Echo) -> None:
    async with batching(echo) as batcher:
        tasks = await send_behind(batcher, echo, [1])
        large = send(batcher, 2, side=64)
        small = send(batcher, 3)
        await asyncio.sleep(0)
        echo.go.set()
        await asyncio.gather(*tasks, large, small)

    assert echo.batches == [[0], [1, 3], [2]]


@pytest.mark.parametrize(
    ("mask_side", "batches"), [(2000, [[1, 2], [3]]), (2001, [[1], [2], [3]]), (4000, [[1], [2], [3]])]
)
async def test_the_masks_of_a_batch_are_bounded_together(echo: Echo, mask_side: int, batches: list[list[int]]) -> None:
    async with batching(echo) as batcher:
        first, *_ = await send_behind(batcher, echo, [])
        images = [network_image(red, mask_side=mask_side) for red in (1, 2, 3)]
        tasks = [asyncio.create_task(batcher.forward(image, needs_probabilities=False)) for image in images]
        await asyncio.sleep(0)
        echo.go.set()
        await asyncio.gather(first, *tasks)

    assert echo.batches == [[0], *batches]


async def test_an_abandoned_image_never_reaches_the_device(echo: Echo) -> None:
    async with batching(echo) as batcher:
        first, left, stays = await send_behind(batcher, echo, [1, 2])
        left.cancel()
        echo.go.set()
        await asyncio.gather(first, stays)

    assert echo.batches == [[0], [2]]
    assert left.cancelled()


async def test_a_late_image_never_reaches_the_device(echo: Echo) -> None:
    async with batching(echo) as batcher:
        (first,) = await send_behind(batcher, echo, [])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batcher.forward(network_image(9), needs_probabilities=False), 0.01)
        echo.go.set()
        await first
        await send(batcher, 3)

    assert echo.batches == [[0], [3]]


async def test_one_bad_image_fails_alone(echo: Echo) -> None:
    async with batching(echo) as batcher:
        first, *others = await send_behind(batcher, echo, [1, POISON, 3])
        echo.go.set()
        answers = await asyncio.gather(*others, return_exceptions=True)
        await first
        later = await send(batcher, 4)

    assert isinstance(answers[1], ForwardFailed)
    assert "secret" not in answers[1].detail
    assert [red_of(answer) for answer in answers if isinstance(answer, Forwarded)] == [1, 3]
    assert red_of(later) == 4


async def test_probabilities_are_computed_only_when_an_image_wants_them(echo: Echo) -> None:
    async with batching(echo) as batcher:
        without = await send(batcher, 1)
        with_them = await send(batcher, 1, probabilities=True)

    assert without.segmentation.probability_sums.sum() == 0
    assert with_them.segmentation.probability_sums.sum() > 0


async def test_a_delay_fills_a_batch(echo: Echo) -> None:
    async with batching(echo, size=2, delay=10) as batcher:
        await asyncio.gather(send(batcher, 1), send(batcher, 2))

    assert echo.batches == [[1, 2]]


async def test_a_delay_ends_even_if_nobody_else_comes(echo: Echo) -> None:
    async with batching(echo, size=2, delay=0.02) as batcher:
        answer = await send(batcher, 1)

    assert answer.queue >= 0.02
    assert echo.batches == [[1]]


async def test_all_are_answered_when_the_batcher_closes(echo: Echo) -> None:
    async with batching(echo, size=1) as batcher:
        tasks = await send_behind(batcher, echo, [1, 2])
        await batcher.close()
        answers = await asyncio.gather(*tasks, return_exceptions=True)

        assert [type(answer) for answer in answers] == [ShuttingDown] * 3
        with pytest.raises(ShuttingDown):
            await send(batcher, 5)


async def test_a_runtime_that_loses_an_image_is_told_of_and_survived() -> None:
    def lossy(inputs: Sequence[NetworkInput], *, probabilities: bool) -> list[Segmentation]:  # noqa: ARG001
        return []

    async with batching(lossy) as batcher:
        for _ in range(2):
            with pytest.raises(ForwardFailed):
                await send(batcher, 1)


async def test_a_listener_that_fails_is_told_of_and_survived(echo: Echo) -> None:
    def fail(_: int) -> None:
        raise ZeroDivisionError

    device = Device(torch.device("cpu"), num_threads=1)
    batcher = Batcher(echo, device, max_batch_size=4, on_batch=fail)
    async with asyncio.timeout(20):
        for _ in range(2):
            with pytest.raises(ForwardFailed):
                await send(batcher, 1)
        await batcher.close()
    device.close()


async def test_too_little_memory_is_told_as_such() -> None:
    def greedy(inputs: Sequence[NetworkInput], *, probabilities: bool) -> list[Segmentation]:  # noqa: ARG001
        raise torch.OutOfMemoryError

    async with batching(greedy) as batcher:
        with pytest.raises(OutOfMemory):
            await send(batcher, 1)


@settings(max_examples=25, deadline=None)
@given(
    arrivals=st.lists(
        st.tuples(st.integers(0, 20) | st.just(POISON), st.sampled_from([32, 64]), st.none() | st.floats(0, 0.003)),
        min_size=1,
        max_size=30,
    ),
    size=st.integers(1, 5),
)
async def test_everybody_gets_their_own_mask_whatever_happens_to_the_others(
    arrivals: list[tuple[int, int, float | None]], size: int
) -> None:
    async with batching(Echo(), size=size) as batcher:
        tasks = [send(batcher, red, side=side) for red, side, _ in arrivals]
        for task, (_, _, delay) in zip(tasks, arrivals, strict=True):
            if delay is not None:
                asyncio.get_running_loop().call_later(delay, task.cancel)
        answers = await asyncio.gather(*tasks, return_exceptions=True)

    for (red, side, delay), answer in zip(arrivals, answers, strict=True):
        if isinstance(answer, Forwarded):
            assert (red_of(answer), answer.segmentation.mask.shape) == (red, (side, side))
        elif isinstance(answer, ForwardFailed):
            assert red == POISON
        else:
            assert isinstance(answer, asyncio.CancelledError)
            assert delay is not None
