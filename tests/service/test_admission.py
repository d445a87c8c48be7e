import pytest

from service.admission import Admission, Priority
from service.errors import QueueFull, ShuttingDown


def make(max_images: int, *, max_pixels: int = 1000) -> Admission:
    return Admission(max_images=max_images, max_pixels=max_pixels)


def test_as_many_as_the_limit_are_let_in_and_then_none() -> None:
    admission = make(2)

    with admission.admit(), admission.admit():
        with pytest.raises(QueueFull, match="2 images are in work, at most 2"):
            admission.check()
        with pytest.raises(QueueFull), admission.admit():
            pass
        assert admission.in_flight == 2


def test_a_place_is_free_again_after_a_failure() -> None:
    admission = make(1)

    with pytest.raises(ZeroDivisionError), admission.admit():
        raise ZeroDivisionError

    admission.check()


def test_a_closed_admission_lets_nobody_in_and_keeps_who_is_in() -> None:
    seen: list[int] = []
    admission = Admission(max_images=5, max_pixels=1000, on_change=seen.append)

    with admission.admit():
        admission.close()
        with pytest.raises(ShuttingDown):
            admission.check()

    assert seen == [1, -1]


def test_whoever_came_before_the_closing_still_gets_a_place() -> None:
    admission = make(1)

    admission.check()
    admission.close()

    with admission.admit():
        assert admission.in_flight == 1


def test_a_request_with_several_images_counts_as_that_many() -> None:
    admission = make(4)

    with admission.admit(num_images=3):
        with pytest.raises(QueueFull), admission.admit(num_images=2):
            pass
        with admission.admit():
            assert admission.in_flight == 4


def test_bulk_images_leave_half_of_the_places_to_others() -> None:
    admission = make(4)

    with admission.admit(Priority.BULK), admission.admit(Priority.BULK):
        with pytest.raises(QueueFull, match="2 bulk images are in work, at most 2"):
            admission.check(Priority.BULK)
        admission.check()


def test_a_single_place_is_for_bulk_images_too() -> None:
    make(1).check(Priority.BULK)


def test_pixels_are_bounded_together_and_given_back() -> None:
    admission = make(4, max_pixels=100)

    with admission.admit() as first, admission.admit() as second:
        first.add_pixels(60)
        with pytest.raises(QueueFull, match="have 60 pixels and this one 41, at most 100 in all"):
            second.add_pixels(41)
        second.add_pixels(40)
    with admission.admit() as third:
        third.add_pixels(100)


def test_an_image_that_is_larger_than_all_together_comes_in_alone() -> None:
    with make(4, max_pixels=100).admit() as place:
        place.add_pixels(101)


def test_pixels_that_are_counted_after_the_client_has_gone_do_not_stay() -> None:
    admission = make(4, max_pixels=100)
    with admission.admit() as gone:
        pass

    gone.add_pixels(100)

    with admission.admit() as place:
        place.add_pixels(100)
