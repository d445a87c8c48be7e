from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batch_limits import MOST_SHAPES, BatchLimits, Shape

SHAPE: Shape = (3, 384, 512)

sizes = st.integers(1, 1024)
sides = st.integers(1, 512).map(lambda steps: 32 * steps)
shapes = st.tuples(st.just(3), sides, sides)


def test_a_shape_takes_what_was_measured_for_it() -> None:
    limits = BatchLimits(64, {SHAPE: 4, (3, 128, 128): 32})

    assert limits.of(SHAPE) == 4
    assert limits.of((3, 128, 128)) == 32


@pytest.mark.parametrize(
    ("shape", "limit"),
    [
        pytest.param((3, 32, 32), 32, id="smaller than all"),
        pytest.param((3, 128, 96), 32, id="near the small one"),
        pytest.param((3, 512, 384), 4, id="the other way up"),
        pytest.param((3, 256, 128), 16, id="twice the small one, so half as many"),
        pytest.param((3, 768, 512), 2, id="twice the large one, so half as many"),
        pytest.param((3, 2048, 2048), 1, id="larger than a whole batch"),
    ],
)
def test_a_shape_that_was_not_measured_takes_that_of_the_nearest_in_size(shape: Shape, limit: int) -> None:
    assert BatchLimits(64, {SHAPE: 4, (3, 128, 128): 32}).of(shape) == limit


def test_without_a_measurement_only_the_setting_counts() -> None:
    assert BatchLimits(6).of(SHAPE) == 6


def test_a_batch_that_had_no_room_halves_the_limit_of_its_shape_alone() -> None:
    limits = BatchLimits(16)

    assert limits.lower(SHAPE, 16) == 8
    assert limits.of(SHAPE) == 8
    assert limits.of((3, 512, 384)) == 16


def test_half_of_the_batch_that_failed_counts_not_half_of_the_limit() -> None:
    limits = BatchLimits(16)

    assert limits.lower(SHAPE, 5) == 2


def test_a_late_failure_of_a_larger_batch_does_not_raise_the_limit_again() -> None:
    limits = BatchLimits(16)
    limits.lower(SHAPE, 4)

    assert limits.lower(SHAPE, 16) == 2
    assert limits.of(SHAPE) == 2


@given(sizes, st.dictionaries(shapes, sizes, max_size=4), st.lists(st.tuples(shapes, sizes), max_size=20), shapes)
def test_a_limit_is_at_least_one_and_never_grows(
    most: int, measured: Mapping[Shape, int], failures: list[tuple[Shape, int]], asked: Shape
) -> None:
    limits = BatchLimits(most, measured)
    seen = [limits.of(asked)]

    for shape, failed in failures:
        assert 1 <= limits.lower(shape, failed) <= max(1, failed // 2)
        seen.append(limits.of(asked))

    assert seen == sorted(seen, reverse=True)
    assert 1 <= seen[-1] <= most


@given(sizes, sizes)
def test_a_batch_that_keeps_failing_comes_down_to_single_images(most: int, useful: int) -> None:
    limits = BatchLimits(most, {SHAPE: useful})

    for _ in range(10):
        limits.lower(SHAPE, limits.of(SHAPE))

    assert limits.of(SHAPE) == 1


def test_the_shape_that_failed_longest_ago_is_the_one_forgotten() -> None:
    limits = BatchLimits(8)
    others = [(3, 32, 32 * index) for index in range(1, MOST_SHAPES)]
    for shape in (SHAPE, *others, SHAPE):
        limits.lower(shape, 8)

    limits.lower((3, 64, 64), 8)

    assert limits.of(SHAPE) == 4
    assert limits.of(others[0]) == 8
    assert limits.of(others[1]) == 4
