import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_zoo.preprocess import NetworkInput
from model_zoo.segmentation import PLAIN, Segmentation, Wanted
from service.admission import Priority
from service.batch_limits import BatchLimits
from service.batching import Batcher, BatchEvents, BatchRules, Forwarded, Replica
from service.devices import Device
from service.errors import DeviceFailed, ForwardFailed, OutOfMemory, ShuttingDown
from service.runtimes.runtime import Runtime
from tests.service.fakes import POISON, Echo, network_image

pytestmark = pytest.mark.anyio


def make_batcher(
    *runtimes: Runtime, size: int = 4, rules: BatchRules | None = None, events: BatchEvents | None = None
) -> Batcher:
    """Give a batcher with a CPU device for each runtime."""
    return Batcher(
        [
            Replica(runtime, Device(torch.device("cpu", index), num_threads=1), BatchLimits(size), "echo")
            for index, runtime in enumerate(runtimes)
        ],
        rules or BatchRules(),
        events or BatchEvents(),
    )


@asynccontextmanager
async def batching(
    *runtimes: Runtime, size: int = 4, rules: BatchRules | None = None, events: BatchEvents | None = None
) -> AsyncIterator[Batcher]:
    batcher = make_batcher(*runtimes, size=size, rules=rules, events=events)
    devices = [replica.device for replica in batcher.replicas]
    try:
        async with asyncio.timeout(20):
            yield batcher
    finally:
        for runtime in runtimes:
            if isinstance(runtime, Echo):
                runtime.go.set()
        await batcher.close()
        for device in devices:
            device.close()


@dataclass
class Fake:
    """Be a runtime that only gives what ``give`` does."""

    give: Callable[[int], list[Segmentation]]
    precision: str = "none"
    precision_note: str | None = None
    weights_bytes: int = 0

    def __call__(self, inputs: Sequence[NetworkInput], wanted: Sequence[Wanted]) -> list[Segmentation]:
        del wanted
        return self.give(len(inputs))


def send(
    batcher: Batcher,
    red: int,
    *,
    side: int = 32,
    wanted: Wanted = PLAIN,
    priority: Priority = Priority.INTERACTIVE,
) -> asyncio.Task[Forwarded]:
    image = network_image(red, side=side)
    return asyncio.create_task(batcher.forward(image, wanted=wanted, priority=priority))


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
        tasks = [asyncio.create_task(batcher.forward(image)) for image in images]
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


async def test_an_abandoned_image_leaves_the_queue_though_the_device_is_busy(echo: Echo) -> None:
    async with batching(echo) as batcher:
        first, left = await send_behind(batcher, echo, [1])
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        waiting = [waiting for group in batcher._groups.values() for waiting in group]
        echo.go.set()
        await first

    assert waiting == []


async def test_a_late_image_never_reaches_the_device(echo: Echo) -> None:
    async with batching(echo) as batcher:
        (first,) = await send_behind(batcher, echo, [])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batcher.forward(network_image(9)), 0.01)
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
        with_them = await send(batcher, 1, wanted=Wanted(sums=True))

    assert without.segmentation.probability_sums.sum() == 0
    assert with_them.segmentation.probability_sums.sum() > 0


async def test_a_delay_fills_a_batch(echo: Echo) -> None:
    async with batching(echo, size=2, rules=BatchRules(max_delay=10)) as batcher:
        await asyncio.gather(send(batcher, 1), send(batcher, 2))

    assert echo.batches == [[1, 2]]


async def test_a_delay_ends_even_if_nobody_else_comes(echo: Echo) -> None:
    async with batching(echo, size=2, rules=BatchRules(max_delay=0.02)) as batcher:
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
    async with batching(Fake(lambda _: [])) as batcher:
        for _ in range(2):
            with pytest.raises(ForwardFailed):
                await send(batcher, 1)


async def test_a_listener_that_fails_is_told_of_and_survived(echo: Echo) -> None:
    def fail(_: int) -> None:
        raise ZeroDivisionError

    device = Device(torch.device("cpu"), num_threads=1)
    batcher = Batcher([Replica(echo, device, BatchLimits(4), "echo")], events=BatchEvents(on_batch=fail))
    async with asyncio.timeout(20):
        for _ in range(2):
            with pytest.raises(ForwardFailed):
                await send(batcher, 1)
        await batcher.close()
    device.close()


async def test_too_little_memory_for_one_image_is_told_as_such(echo: Echo) -> None:
    echo.room = 0
    async with batching(echo) as batcher:
        with pytest.raises(OutOfMemory):
            await send(batcher, 1)


async def test_too_little_memory_halves_the_batches_for_good_and_loses_nobody(echo: Echo) -> None:
    echo.room = 2
    async with batching(echo, size=8) as batcher:
        tasks = await send_behind(batcher, echo, list(range(1, 9)))
        echo.go.set()
        answers = await asyncio.gather(*tasks)
        first_round = len(echo.batches)
        tasks = await send_behind(batcher, echo, list(range(1, 9)))
        echo.go.set()
        await asyncio.gather(*tasks)

    assert [red_of(answer) for answer in answers] == list(range(9))
    assert [len(batch) for batch in echo.batches[:first_round]] == [1, 8, 4, 2, 2, 4, 2, 2]
    assert [len(batch) for batch in echo.batches[first_round:]] == [1, 2, 2, 2, 2]


async def test_a_failed_batch_is_halved_down_to_the_image_that_fails(echo: Echo) -> None:
    async with batching(echo, size=8) as batcher:
        tasks = await send_behind(batcher, echo, [1, 2, 3, 4, 5, 6, 7, POISON])
        echo.go.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(answer) for answer in answers] == [Forwarded] * 8 + [ForwardFailed]
    assert [len(batch) for batch in echo.batches] == [1, 8, 4, 4, 2, 2, 1, 1]


async def test_interactive_images_go_before_bulk_ones(echo: Echo) -> None:
    async with batching(echo, size=2) as batcher:
        first, *_ = await send_behind(batcher, echo, [])
        bulk = [send(batcher, red, priority=Priority.BULK) for red in (1, 2)]
        await asyncio.sleep(0)
        others = [send(batcher, red) for red in (3, 4, 5)]
        await asyncio.sleep(0)
        echo.go.set()
        await asyncio.gather(first, *bulk, *others)

    assert echo.batches == [[0], [3, 4], [5, 1], [2]]


async def test_bulk_images_go_before_interactive_ones_that_came_much_later(echo: Echo) -> None:
    async with batching(echo, size=1, rules=BatchRules(bulk_delay=0.01)) as batcher:
        first, *_ = await send_behind(batcher, echo, [])
        bulk = send(batcher, 1, priority=Priority.BULK)
        await asyncio.sleep(0.02)
        late = send(batcher, 2)
        await asyncio.sleep(0)
        echo.go.set()
        await asyncio.gather(first, bulk, late)

    assert echo.batches == [[0], [1], [2]]


async def test_all_devices_of_a_model_work_at_the_same_time() -> None:
    one, other = Echo(), Echo()
    one.hold()
    other.hold()
    async with batching(one, other, size=1) as batcher:
        tasks = [send(batcher, red) for red in (1, 2)]
        one_works, other_works = await asyncio.gather(
            asyncio.to_thread(one.busy.wait, 20), asyncio.to_thread(other.busy.wait, 20)
        )
        one.go.set()
        other.go.set()
        await asyncio.gather(*tasks)

    assert one_works
    assert other_works
    assert sorted(one.batches + other.batches) == [[1], [2]]


def die(_: int) -> list[Segmentation]:
    raise SystemExit


async def test_when_a_device_breaks_the_other_goes_on(echo: Echo) -> None:
    async with batching(Fake(die), echo, size=1) as batcher:
        answers = [await asyncio.gather(send(batcher, red), return_exceptions=True) for red in range(4)]

    kinds = [type(answer) for (answer,) in answers]
    assert kinds == [DeviceFailed, Forwarded, Forwarded, Forwarded]


async def test_when_the_last_device_breaks_everybody_is_told() -> None:
    async with batching(Fake(die), size=1) as batcher:
        answers = await asyncio.gather(*(send(batcher, red) for red in range(3)), return_exceptions=True)
        with pytest.raises(DeviceFailed):
            await send(batcher, 5)

    assert [type(answer) for answer in answers] == [DeviceFailed] * 3


@dataclass(frozen=True)
class Arrival:
    """Say what is special about one image of the property test."""

    is_poison: bool
    side: int
    priority: Priority
    cancel_after: float | None
    deadline: float | None


ARRIVALS = st.builds(
    Arrival,
    st.booleans(),
    st.sampled_from([32, 64]),
    st.sampled_from(list(Priority)),
    st.none() | st.floats(0, 0.003),
    st.none() | st.floats(0, 0.003),
)


@settings(max_examples=25, deadline=None)
@given(
    arrivals=st.lists(ARRIVALS, min_size=1, max_size=30),
    size=st.integers(1, 8),
    num_devices=st.integers(1, 2),
    room=st.integers(1, 8),
)
async def test_everybody_gets_their_own_mask_whatever_happens_to_the_others(
    arrivals: list[Arrival], size: int, num_devices: int, room: int
) -> None:
    echoes = [Echo() for _ in range(num_devices)]
    for echo in echoes:
        echo.room = room
    reds = [POISON if arrival.is_poison else index for index, arrival in enumerate(arrivals)]

    async with batching(*echoes, size=size) as batcher:
        tasks = [asyncio.create_task(ask(batcher, red, arrival)) for red, arrival in zip(reds, arrivals, strict=True)]
        for task, arrival in zip(tasks, arrivals, strict=True):
            if arrival.cancel_after is not None:
                asyncio.get_running_loop().call_later(arrival.cancel_after, task.cancel)
        answers = await asyncio.gather(*tasks, return_exceptions=True)

    for red, arrival, answer in zip(reds, arrivals, answers, strict=True):
        if isinstance(answer, Forwarded):
            assert set(answer.segmentation.mask.flatten().tolist()) == {red}
            assert answer.segmentation.mask.shape == (arrival.side, arrival.side)
        elif isinstance(answer, ForwardFailed):
            assert arrival.is_poison
        elif isinstance(answer, TimeoutError):
            assert arrival.deadline is not None
        else:
            assert isinstance(answer, asyncio.CancelledError)
            assert arrival.cancel_after is not None


async def ask(batcher: Batcher, red: int, arrival: Arrival) -> Forwarded:
    async with asyncio.timeout(arrival.deadline):
        return await send(batcher, red, side=arrival.side, priority=arrival.priority)


async def test_it_is_told_how_many_wait(echo: Echo) -> None:
    told: list[int] = []

    async with batching(echo, events=BatchEvents(on_waiting=told.append)) as batcher:
        tasks = await send_behind(batcher, echo, [1, 2])
        assert told[-1] == 2
        tasks[-1].cancel()
        await asyncio.gather(tasks[-1], return_exceptions=True)
        assert told[-1] == 1
        echo.go.set()
        await asyncio.gather(*tasks[:-1])

    assert told[-1] == 0
