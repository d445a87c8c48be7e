import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import pairwise

import pytest
import torch

from model_zoo.labels import voc_palette
from model_zoo.preprocess import NetworkInput
from model_zoo.segmentation import Segmentation, Wanted
from model_zoo.spec import InputRule, ModelSpec, SizeRule
from service.batch_limits import Shape
from service.devices import Device
from service.errors import OutOfMemory
from service.warmup import WarmUp, usual_shapes, warm_up

pytestmark = pytest.mark.anyio

SPEC = ModelSpec(architecture="unet", classes=("a", "b"), palette=voc_palette(2), size=SizeRule(side=64, multiple=16))
SHAPE: Shape = (3, 48, 64)


class Watch:
    """Be a clock that stands still but for what the network of these tests takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Network:
    """Take ``seconds`` of a batch size for a pass, by the clock; have no room for more than ``room`` images."""

    precision = "float32"
    precision_note = None
    weights_bytes = 0

    def __init__(self, seconds: Callable[[int], float] = lambda _: 0.01, *, room: int = 1024) -> None:
        self.clock = Watch()
        self.batches: list[tuple[Shape, int]] = []
        self.are_dear: list[bool] = []
        self._seconds = seconds
        self._room = room

    @property
    def sizes(self) -> list[int]:
        return [size for _, size in self.batches]

    def __call__(self, inputs: Sequence[NetworkInput], wanted: Sequence[Wanted]) -> list[Segmentation]:
        self.are_dear.append(all(wish.sums for wish in wanted))
        self.batches.append((tuple(inputs[0].pixels.shape), len(inputs)))
        if len(inputs) > self._room:
            raise torch.OutOfMemoryError
        self.clock.now += self._seconds(len(inputs))
        torch.empty(inputs[0].pixels.nbytes * len(inputs) * (4 if self.are_dear[-1] else 2), dtype=torch.uint8)
        return []


@pytest.fixture
async def device() -> AsyncIterator[Device]:
    device = Device(torch.device("cpu"), num_threads=1)
    yield device
    device.close()


async def measure(network: Network, device: Device, max_batch_size: int) -> int:
    """Give the batch size that is found to be useful for one shape."""
    found = await warm_up(network, device, SPEC, max_batch_size=max_batch_size, shapes=[SHAPE], clock=network.clock)
    return found.batch_sizes[SHAPE]


@pytest.mark.parametrize(
    ("seconds", "max_batch_size", "useful"),
    [
        pytest.param(lambda size: 0.01 * size, 8, 1, id="a CPU that is busy with one image"),
        pytest.param(lambda size: 0.01 * max(4, size), 64, 4, id="a device that has room for four at once"),
        pytest.param(lambda size: 0.004 + 0.001 * size, 1024, 64, id="costs of a pass that fade with its size"),
        pytest.param(lambda _: 0.01, 8, 8, id="costs of a pass alone"),
        pytest.param(lambda _: 0.01, 6, 6, id="a limit that is no power of two"),
        pytest.param(lambda size: 0.01 * size**2, 8, 1, id="batches that are slower than their images"),
    ],
)
async def test_batches_grow_as_long_as_that_brings_more_images_a_second(
    device: Device, seconds: Callable[[int], float], max_batch_size: int, useful: int
) -> None:
    assert await measure(Network(seconds), device, max_batch_size) == useful


async def test_nothing_beyond_the_first_size_that_does_not_pay_is_tried(device: Device) -> None:
    network = Network(lambda size: 0.01 * max(4, size))

    await measure(network, device, 64)

    assert max(network.sizes) == 8


async def test_one_slow_pass_among_several_decides_nothing(device: Device) -> None:
    network = Network(lambda size: 0.05 if network.sizes.count(size) == 3 else 0.01 * max(4, size) / 4)

    assert await measure(network, device, 64) == 4


@pytest.mark.parametrize("useful", [1, 4])
async def test_the_slow_first_pass_of_a_size_decides_nothing(device: Device, useful: int) -> None:
    network = Network(lambda size: 0.1 * size if network.sizes.count(size) == 1 else 0.01 * max(useful, size))

    assert await measure(network, device, 64) == useful


async def test_a_first_pass_that_fills_caches_for_long_costs_no_measurement(device: Device) -> None:
    network = Network(lambda _: 30 if len(network.batches) == 1 else 0.01)

    assert await measure(network, device, 8) == 8


async def test_a_slow_network_is_not_run_on_more_than_one_image(device: Device) -> None:
    network = Network(lambda size: 3.0 * size)

    assert await measure(network, device, 8) == 1
    assert network.sizes == [1, 1]  # for the caches and the memory, and for the time


@pytest.mark.parametrize("seconds_an_image", [0.001, 0.02, 0.1, 0.3, 0.7])
async def test_warming_up_a_shape_takes_no_more_than_a_few_seconds(device: Device, seconds_an_image: float) -> None:
    network = Network(lambda size: seconds_an_image * size**0.9)

    await measure(network, device, 1024)

    assert network.clock.now - seconds_an_image <= 2.5  # beyond the pass for the caches


async def test_growing_ends_where_memory_does(device: Device) -> None:
    network = Network(room=3)

    assert await measure(network, device, 8) == 2
    assert network.sizes.count(4) == 1


async def test_a_model_that_has_no_room_for_one_image_is_refused(device: Device) -> None:
    with pytest.raises(OutOfMemory):
        await measure(Network(room=0), device, 8)


async def test_single_images_are_run_but_not_measured(device: Device) -> None:
    network = Network()

    assert await measure(network, device, 1) == 1
    assert network.sizes == [1]


async def test_every_usual_shape_is_measured(device: Device) -> None:
    network = Network(lambda size: 0.01 * max(4, size))

    found = await warm_up(network, device, SPEC, max_batch_size=8, clock=network.clock)

    assert found.batch_sizes == {(3, 48, 64): 4, (3, 64, 48): 4}


async def test_the_shapes_that_are_asked_for_take_the_place_of_the_usual_ones(device: Device) -> None:
    network = Network()
    shapes = [(3, 32, 32), (3, 32, 96)]

    found = await warm_up(network, device, SPEC, max_batch_size=1, shapes=shapes, clock=network.clock)

    assert list(found.batch_sizes) == shapes
    assert {shape for shape, _ in network.batches} == set(shapes)


async def test_memory_is_that_of_the_largest_useful_batch_of_the_largest_shape(device: Device) -> None:
    network = Network(lambda size: 0.01 * max(4, size))
    shapes = [(3, 32, 32), (3, 32, 96), (3, 48, 32)]

    found = await warm_up(network, device, SPEC, max_batch_size=8, shapes=shapes, clock=network.clock)

    assert found.peak_bytes == 4 * 4 * 3 * 32 * 96


async def test_what_is_known_is_not_measured_again(device: Device) -> None:
    network = Network()
    known = WarmUp({(3, 32, 32): 4, (3, 32, 96): 2}, peak_bytes=123)

    found = await warm_up(network, device, SPEC, max_batch_size=8, known=known, clock=network.clock)

    assert found is known
    assert network.batches == []


async def test_others_get_the_device_between_any_two_passes(device: Device) -> None:
    network = Network()
    seen: list[int] = []

    async def serve_on() -> None:
        while True:
            async with device.turn:
                seen.append(len(network.batches))
                await asyncio.sleep(0)

    serving = asyncio.create_task(serve_on())
    await measure(network, device, 8)
    serving.cancel()

    assert seen[-1] >= 4
    assert all(later - earlier <= 1 for earlier, later in pairwise(seen))


async def test_a_pass_waits_for_its_turn(device: Device) -> None:
    network = Network()

    async with device.turn:
        warming = asyncio.create_task(measure(network, device, 1))
        await asyncio.sleep(0)
        await device.run(lambda: None)
        before = len(network.batches)
    await warming

    assert before == 0
    assert network.batches


@pytest.mark.parametrize(
    ("size", "shapes"),
    [
        (SizeRule(side=512), [(3, 384, 512), (3, 512, 384)]),
        (SizeRule(side=4096), [(3, 768, 1024), (3, 1024, 768)]),
        (SizeRule(side=500, multiple=16), [(3, 384, 512), (3, 512, 384)]),
        (SizeRule(policy="shortest", side=256), [(3, 256, 352), (3, 352, 256)]),
        (SizeRule(policy="native", side=2048), [(3, 384, 512), (3, 512, 384)]),
    ],
)
def test_the_usual_shapes_are_those_of_photos(size: SizeRule, shapes: list[Shape]) -> None:
    assert usual_shapes(SPEC.model_copy(update={"size": size})) == shapes


def test_a_grey_network_is_warmed_up_on_one_channel() -> None:
    grey = SPEC.model_copy(update={"input": InputRule(mean=(0.5,), std=(0.5,), color_order="grey")})

    assert usual_shapes(grey) == [(1, 48, 64), (1, 64, 48)]


async def test_a_shape_that_both_ways_up_are_padded_to_is_warmed_up_once(device: Device) -> None:
    network = Network()
    coarse = SPEC.model_copy(update={"size": SizeRule(side=64, multiple=64)})

    await warm_up(network, device, coarse, max_batch_size=1, clock=network.clock)

    assert network.batches == [((3, 64, 64), 1)]


async def test_time_is_that_of_plain_masks_and_memory_that_of_the_dearest(device: Device) -> None:
    network = Network(lambda size: 0.03 * size if network.are_dear[-1] else 0.01 * max(4, size))

    found = await warm_up(network, device, SPEC, max_batch_size=8, shapes=[SHAPE], clock=network.clock)

    assert found == WarmUp({SHAPE: 4}, peak_bytes=4 * 4 * 3 * 48 * 64)


async def test_a_large_batch_is_found_though_every_pass_is_long(device: Device) -> None:
    network = Network(lambda _: 0.3)

    assert await measure(network, device, 8) == 8


async def test_a_shape_that_is_only_turned_is_not_measured_again(device: Device) -> None:
    network = Network(lambda size: 0.01 * max(4, size))
    shapes = [(3, 48, 64), (3, 64, 48)]

    warm = await warm_up(network, device, SPEC, max_batch_size=8, shapes=shapes, clock=network.clock)

    assert warm.batch_sizes == dict.fromkeys(shapes, 4)
    assert network.sizes.count(2) <= 4
