import asyncio
import ctypes
import gc
import threading
import weakref
from pathlib import Path

import pytest
import torch

from service.devices import Device, available_cpus, cpu_quota, pick_devices, threads_for
from service.errors import DeviceFailed, OutOfMemory
from service.settings import BadSetting

pytestmark = pytest.mark.anyio


def test_auto_takes_what_there_is() -> None:
    assert pick_devices("auto")[0].type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ("cuda:99", "device=cuda:99: this machine has"),
        ("cpu,cuda:99", "device=cuda:99: this machine has"),
        ("cpu,cpu", "device=cpu,cpu: cpu is named twice"),
    ],
)
def test_devices_that_the_machine_has_not_are_refused(names: str, told: str) -> None:
    with pytest.raises(BadSetting, match=told):
        pick_devices(names)


def test_devices_can_be_listed() -> None:
    assert [str(device) for device in pick_devices("cpu:0,cpu:1")] == ["cpu:0", "cpu:1"]


def test_devices_share_the_cpus() -> None:
    cpu = torch.device("cpu")

    assert available_cpus() >= 1
    assert threads_for([cpu], wanted=None) == available_cpus()
    assert threads_for([cpu] * 1000, wanted=None) == 1
    assert threads_for([cpu], wanted=7) == 7


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_both_kinds_of_control_groups_is_read(
    tmp_path: Path, files: dict[str, str], quota: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert cpu_quota(tmp_path) == quota


async def test_all_work_runs_in_one_thread_that_is_not_ours() -> None:
    device = Device(torch.device("cpu"), num_threads=1)

    threads = {await device.run(threading.get_ident) for _ in range(3)}
    num_threads = await device.run(torch.get_num_threads)
    device.close()

    assert len(threads) == 1
    assert threading.get_ident() not in threads
    assert num_threads == 1


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError(), RuntimeError("CUDA error: out of memory at /secret/path")]
)
async def test_too_little_memory_is_told_as_such(error: Exception) -> None:
    def allocate() -> None:
        raise error

    device = Device(torch.device("cpu"), num_threads=1)
    with pytest.raises(OutOfMemory) as caught:
        await device.run(allocate)
    device.close()

    assert "secret" not in str(caught.value)


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

    assert device.problem is not None  # now that it is closed


async def test_a_device_whose_thread_dies_says_so_and_answers_all_who_wait() -> None:
    device = Device(torch.device("cpu"), num_threads=1)
    thread, started = await device.run(threading.get_ident), threading.Event()

    def endless() -> None:
        started.set()
        threading.Event().wait(0.05)
        while True:
            threading.Event().wait(0.001)

    running, waiting = asyncio.create_task(device.run(endless)), asyncio.create_task(device.run(int))
    await asyncio.to_thread(started.wait, 20)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(SystemExit))
    outcomes = await asyncio.wait_for(asyncio.gather(running, waiting, return_exceptions=True), 20)
    with pytest.raises(DeviceFailed):
        await device.run(int)

    assert [type(outcome) for outcome in outcomes] == [DeviceFailed, DeviceFailed]
    assert device.is_broken
    assert device.problem == "the device's thread has died"


async def test_a_gpu_that_fails_even_at_the_simplest_work_is_broken() -> None:
    def fail() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered at /secret/path")

    device = Device(torch.device("cuda", 99), num_threads=1)  # no machine has it, so nothing works there
    with pytest.raises(DeviceFailed) as caught:
        await device.run(fail)
    was_broken, problem = device.is_broken, device.problem
    device.close()

    assert "secret" not in str(caught.value)
    assert (was_broken, problem) == (True, "an error on the GPU that stays until the process ends")


async def test_a_device_that_is_stuck_says_so_until_it_goes_on() -> None:
    device, go = Device(torch.device("cpu"), num_threads=1, stall_timeout=0.01), threading.Event()
    stuck = asyncio.create_task(device.run(go.wait, 20))

    async with asyncio.timeout(20):
        while device.problem is None:  # noqa: ASYNC110  # as a probe looks
            await asyncio.sleep(0.01)
    told, was_broken = device.problem, device.is_broken
    go.set()
    await stuck
    async with asyncio.timeout(20):
        while device.problem is not None:  # noqa: ASYNC110  # as a probe looks
            await asyncio.sleep(0.001)
    device.close()

    assert told == "one piece of work takes longer than 0.01 s"
    assert not was_broken


async def test_a_device_that_is_stuck_does_not_hold_up_the_end() -> None:
    device, go = Device(torch.device("cpu"), num_threads=1), threading.Event()
    stuck = asyncio.create_task(device.run(go.wait, 20))
    await asyncio.sleep(0)

    await asyncio.wait_for(asyncio.to_thread(device.close, patience=0.01), 5)
    go.set()

    assert await stuck


async def test_what_failed_work_had_allocated_is_free_when_its_failure_is_known() -> None:
    class Activation:
        pass

    alive: list[weakref.ref[Activation]] = []

    def work() -> None:
        activation = Activation()
        alive.append(weakref.ref(activation))
        raise MemoryError

    device = Device(torch.device("cpu"), num_threads=1)
    gc.disable()
    try:
        with pytest.raises(OutOfMemory):
            await device.run(work)
        left = [reference() for reference in alive]
    finally:
        gc.enable()
    device.close()

    assert left == [None]
