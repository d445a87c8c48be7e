from collections import deque
from threading import Event, Thread

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from service.memory import _peak_of_process, measured_peak

CPU = torch.device("cpu")
MIB = 1 << 20


def memory(size_bytes: int) -> Tensor:
    return torch.empty(size_bytes, dtype=torch.uint8)


def test_the_result_of_the_work_comes_back_with_its_peak() -> None:
    def work() -> str:
        first = memory(2 * MIB)
        second = memory(3 * MIB)
        del first, second
        memory(4 * MIB)
        return "done"

    assert measured_peak(CPU, work) == ("done", 5 * MIB)


@given(st.lists(st.integers(64, MIB), max_size=20), st.integers(1, 5))
def test_what_is_given_back_no_longer_counts(sizes: list[int], kept: int) -> None:
    def work() -> None:
        held: deque[Tensor] = deque()
        for size in sizes:
            if len(held) == kept:
                held.popleft()
            held.append(memory(size))

    totals = [sum(sizes[max(0, end - kept) : end]) for end in range(len(sizes) + 1)]

    assert measured_peak(CPU, work)[1] == max(totals)


def test_views_and_work_in_place_take_no_memory() -> None:
    image = memory(MIB)

    assert measured_peak(CPU, image.view(32, -1)[:, ::2].zero_)[1] == 0


def test_what_was_there_before_does_not_count_even_when_it_goes() -> None:
    held = [memory(8 * MIB)]

    def work() -> None:
        held.clear()
        memory(MIB)

    assert measured_peak(CPU, work)[1] == MIB


def test_buffers_inside_an_operation_count() -> None:
    convolution = nn.Conv2d(8, 8, 3, dtype=torch.double)  # which spreads the image out before it multiplies
    image = torch.zeros(1, 8, 64, 64, dtype=torch.double)

    with torch.inference_mode():
        result, peak = measured_peak(CPU, lambda: convolution(image))

    assert peak > 5 * result.nbytes


def test_other_threads_do_not_count() -> None:
    begun, ended = Event(), Event()

    def disturb() -> None:
        assert begun.wait(20)
        held = memory(64 * MIB)
        ended.set()
        del held

    def work() -> None:
        held = memory(MIB)
        begun.set()
        assert ended.wait(20)
        del held

    other = Thread(target=disturb)
    other.start()
    _, peak = measured_peak(CPU, work)
    other.join()

    assert peak == MIB


def test_two_threads_can_measure_at_once() -> None:
    both = [Event(), Event()]
    peaks = [0, 0]

    def work(index: int) -> None:
        held = memory((1 + index) * MIB)
        both[index].set()
        assert both[1 - index].wait(20)
        del held

    def measure(index: int) -> None:
        peaks[index] = measured_peak(CPU, lambda: work(index))[1]

    threads = [Thread(target=measure, args=[index]) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert peaks == [MIB, 2 * MIB]


def test_after_work_that_failed_the_next_is_measured() -> None:
    with pytest.raises(RuntimeError, match="invalid"):
        measured_peak(CPU, lambda: memory(MIB).view(3, 5, 7))

    assert measured_peak(CPU, lambda: memory(2 * MIB))[1] == 2 * MIB


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_memory_of_a_gpu_is_counted_beside_what_was_there() -> None:
    device = torch.device("cuda")
    before = torch.empty(8 * MIB, dtype=torch.uint8, device=device)

    _, peak = measured_peak(device, lambda: torch.empty(2 * MIB, dtype=torch.uint8, device=device).add_(1))

    assert peak == 2 * MIB
    assert before.nbytes == 8 * MIB


def test_without_the_profiler_the_growth_of_the_process_is_told() -> None:
    result, peak = _peak_of_process(lambda: torch.ones(1 << 28, dtype=torch.uint8).sum().item())

    assert result == 1 << 28
    assert peak >= 0
