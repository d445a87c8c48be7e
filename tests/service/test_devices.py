import threading

import pytest
import torch

from service.devices import Device, available_cpus, pick_device
from service.errors import OutOfMemory
from service.settings import BadSetting

pytestmark = pytest.mark.anyio


def test_auto_takes_what_there_is() -> None:
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_gpu_that_the_machine_has_not_is_refused() -> None:
    with pytest.raises(BadSetting, match="device=cuda:99: this machine has"):
        pick_device("cuda:99")


def test_at_least_one_cpu_is_available() -> None:
    assert available_cpus() >= 1


async def test_all_work_runs_in_one_thread_that_is_not_ours() -> None:
    device = Device(torch.device("cpu"), num_threads=1)

    threads = {await device.run(threading.get_ident) for _ in range(3)}
    num_threads = await device.run(torch.get_num_threads)
    device.close()

    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert num_threads == 1


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
async def test_too_little_memory_is_told_as_such(error: type[Exception]) -> None:
    def allocate() -> None:
        raise error

    device = Device(torch.device("cpu"), num_threads=1)
    with pytest.raises(OutOfMemory):
        await device.run(allocate)
    device.close()


async def test_too_little_memory_of_a_cpu_is_told_as_such() -> None:
    device = Device(torch.device("cpu"), num_threads=1)
    with pytest.raises(OutOfMemory):
        await device.run(lambda: torch.empty(1 << 50, dtype=torch.uint8))
    device.close()


async def test_other_errors_are_raised_as_they_are() -> None:
    device = Device(torch.device("cpu"), num_threads=1)
    with pytest.raises(RuntimeError, match="shape"):
        await device.run(lambda: torch.zeros(2).reshape(3))
    device.close()
