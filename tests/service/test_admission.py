import pytest

from service.admission import Admission
from service.errors import QueueFull, ShuttingDown


def test_as_many_as_the_limit_are_let_in_and_then_none() -> None:
    admission = Admission(2)

    with admission.admit(), admission.admit():
        with pytest.raises(QueueFull, match="2 images are in work, at most 2"):
            admission.check()
        with pytest.raises(QueueFull), admission.admit():
            pass
        assert admission.in_flight == 2


def test_a_place_is_free_again_after_a_failure() -> None:
    admission = Admission(1)

    with pytest.raises(ZeroDivisionError), admission.admit():
        raise ZeroDivisionError

    admission.check()


def test_a_closed_admission_lets_nobody_in_and_keeps_who_is_in() -> None:
    seen: list[int] = []
    admission = Admission(5, on_change=seen.append)

    with admission.admit():
        admission.close()
        with pytest.raises(ShuttingDown):
            admission.check()

    assert seen == [1, 0]
