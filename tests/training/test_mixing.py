import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.errors import InvalidRecipe
from training.mixing import Mix, RepeatedMix, SlidingWindow, repeat_factors, share_out, shares
from training.recipe import read_recipe

sizes_of = st.lists(st.integers(1, 12), min_size=1, max_size=4)
weight = st.one_of(st.integers(0, 9), st.floats(0, 1e6, allow_subnormal=False))
mixes = sizes_of.flatmap(
    lambda sizes: st.tuples(st.just(sizes), st.lists(weight, min_size=len(sizes), max_size=len(sizes)).filter(any))
)
factors = st.lists(st.floats(1, 30), min_size=1, max_size=40)


def run(sizes: Sequence[int], weights: Sequence[float] | None, *, epochs: int, seed: int = 0) -> list[tuple[int, int]]:
    mix = Mix(sizes, weights, seed=seed)
    return list(chain.from_iterable(mix.epoch(number) for number in range(1, epochs + 1)))


@given(sizes_of, st.integers(0, 5), st.integers(1, 4))
def test_trap_19_without_weights_an_epoch_visits_every_sample_once(sizes: list[int], seed: int, number: int) -> None:
    visits = Mix(sizes, None, seed=seed).epoch(number)

    assert Counter(visits) == Counter((number, index) for index in range(sum(sizes)))


def test_without_weights_the_order_is_what_it_was_for_runs_of_one_dataset() -> None:
    visits = Mix([4, 6], None, seed=3).epoch(7)

    assert visits == [(7, index) for index in (1, 6, 0, 9, 3, 8, 2, 5, 7, 4)]


@given(mixes, st.integers(0, 5), st.integers(1, 5))
def test_an_epoch_is_as_long_as_all_datasets_together(
    mixed: tuple[list[int], list[float]], seed: int, number: int
) -> None:
    sizes, weights = mixed
    mix = Mix(sizes, weights, seed=seed)

    assert len(mix.epoch(number)) == len(mix) == sum(sizes)


@given(mixes, st.integers(1, 6))
def test_trap_19_a_sample_is_visited_again_only_after_all_others_of_its_dataset(
    mixed: tuple[list[int], list[float]], epochs: int
) -> None:
    sizes, weights = mixed

    visits = run(sizes, weights, epochs=epochs)

    assert max(Counter(visits).values()) == 1
    ends = list(accumulate(sizes))
    visits_of_lap = Counter((bisect_right(ends, index), lap) for lap, index in visits)
    last_laps = dict(sorted(visits_of_lap))
    earlier = [(dataset, lap) for dataset, last in last_laps.items() for lap in range(1, last)]
    assert [visits_of_lap[key] for key in earlier] == [sizes[dataset] for dataset, _ in earlier]


@given(mixes, st.integers(1, 200))
def test_each_dataset_has_its_share_of_all_epochs_together(mixed: tuple[list[int], list[float]], epochs: int) -> None:
    sizes, weights = mixed
    exact = [Fraction(weight) for weight in weights]
    total = epochs * sum(sizes)

    given = shares(total, exact)

    assert sum(given) == total
    errors = [abs(count - total * weight / sum(exact)) for count, weight in zip(given, exact, strict=True)]
    assert max(errors) <= len(sizes) / 2


@given(st.lists(st.fractions(0, 100), min_size=1, max_size=5).filter(any), st.integers(0, 60))
def test_no_share_falls_when_the_total_grows(weights: list[Fraction], total: int) -> None:
    before, after = shares(total, weights), shares(total + 1, weights)

    assert all(a <= b for a, b in zip(before, after, strict=True))


@given(sizes_of, st.integers(1, 4))
def test_weights_like_the_sizes_give_every_sample_once_an_epoch(sizes: list[int], number: int) -> None:
    visits = Mix(sizes, sizes, seed=0).epoch(number)

    assert Counter(visits) == Counter((number, index) for index in range(sum(sizes)))


def test_a_small_dataset_of_large_weight_is_gone_through_many_times_and_one_without_weight_never() -> None:
    visits = run([2, 7, 11], [3, 1, 0], epochs=2)

    datasets = Counter("small" if index < 2 else "large" if index < 9 else "none" for _, index in visits)
    assert datasets == {"small": 30, "large": 10}
    assert max(lap for lap, index in visits if index < 2) == 15


def test_trap_20_an_epoch_depends_on_seed_and_number_alone() -> None:
    mix = Mix([9, 20], [1, 1], seed=4)
    first = mix.epoch(1)
    torch.rand(3)

    assert mix.epoch(5) == Mix([9, 20], [1, 1], seed=4).epoch(5)
    assert mix.epoch(1) == first
    assert mix.epoch(2) != first
    assert Mix([9, 20], [1, 1], seed=5).epoch(1) != first


def test_datasets_are_shuffled_among_each_other() -> None:
    visits = Mix([500, 500], [1, 1], seed=0).epoch(1)

    first_half = sum(index < 500 for _, index in visits[:500])
    assert 200 < first_half < 300


@pytest.mark.parametrize("weights", [None, [1.0, 0.1]])
def test_a_late_epoch_of_a_large_mix_takes_no_longer_than_the_first(weights: list[float] | None) -> None:
    mix = Mix([90_000, 10_000], weights, seed=0)
    mix.epoch(1)

    start = time.perf_counter()
    mix.epoch(1000)

    assert time.perf_counter() - start < 2  # 0.02 s on an idle core


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        ([1.0], "1 weights for 2 datasets"),
        ([1.0, float("inf")], "weight inf is not a number from 0 on"),
        ([float("nan"), 1.0], "weight nan"),
        ([1.0, -0.5], r"weight -0\.5"),
        ([0.0, 0.0], "no dataset has a weight above 0"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(weights: list[float], complaint: str) -> None:
    with pytest.raises(InvalidRecipe, match=complaint):
        Mix([3, 4], weights, seed=0)


def test_a_dataset_without_samples_can_have_no_weight() -> None:
    assert Mix([3, 0], [1.0, 0.0], seed=0).epoch(1)

    with pytest.raises(InvalidRecipe, match=r"weight 1\.0 is of a dataset without samples"):
        Mix([3, 0], [1.0, 1.0], seed=0)


@given(factors, st.integers(0, 5), st.integers(1, 4))
def test_an_epoch_of_repeated_samples_visits_each_its_share_rounded_either_way(
    given_factors: list[float], seed: int, number: int
) -> None:
    mix = RepeatedMix(given_factors, seed=seed)

    visited = Counter(index for _, index in mix.epoch(number))

    exact = np.array(given_factors) / sum(given_factors) * len(given_factors)
    counts = np.array([visited[index] for index in range(len(given_factors))])
    assert counts.sum() == len(mix) == len(given_factors)
    assert (np.floor(exact - 1e-9) <= counts).all()
    assert (counts <= np.ceil(exact + 1e-9)).all()


def test_over_many_epochs_a_sample_is_visited_in_proportion_to_its_factor() -> None:
    mix = RepeatedMix([1.0, 2.0, 4.5], seed=0)

    counts = Counter(index for number in range(1, 2001) for _, index in mix.epoch(number))

    assert [counts[index] / 6000 for index in range(3)] == pytest.approx([1 / 7.5, 2 / 7.5, 4.5 / 7.5], abs=0.01)


def test_with_equal_factors_an_epoch_visits_every_sample_once() -> None:
    assert sorted(index for _, index in RepeatedMix([1.7] * 50, seed=3).epoch(2)) == list(range(50))


def test_no_two_visits_of_repeated_samples_have_the_same_random_crop() -> None:
    mix = RepeatedMix([1.0, 9.0, 9.0], seed=0)

    numbers = [visit for number in range(1, 30) for visit, _ in mix.epoch(number)]

    assert len(set(numbers)) == len(numbers)
    assert min(numbers) == 1


def test_trap_19_the_order_of_repeated_samples_depends_on_seed_and_epoch_alone_and_differs_between_them() -> None:
    mix = RepeatedMix([1.0] * 30, seed=1)
    mix.epoch(1)

    assert mix.epoch(2) == RepeatedMix([1.0] * 30, seed=1).epoch(2)
    assert [index for _, index in mix.epoch(2)] != [index for _, index in mix.epoch(1)]
    assert mix.epoch(1) != RepeatedMix([1.0] * 30, seed=2).epoch(1)


def test_the_order_of_repeated_samples_is_what_it_was_for_earlier_runs() -> None:
    visits = RepeatedMix([1.0, 2.0, 4.5, 1.0, 1.0], seed=3).epoch(7)

    assert visits == [(31, 2), (32, 2), (33, 1), (34, 0), (35, 4)]


def test_an_image_is_repeated_for_the_rarest_of_its_classes() -> None:
    classes = [{0}, {0, 1}, {0, 1}, {0, 1, 2}]  # 1 is in three quarters, 2 in one

    found = repeat_factors(classes, share=1.0)

    assert found == pytest.approx([1.0, (4 / 3) ** 0.5, (4 / 3) ** 0.5, 2.0])


def test_a_class_that_is_no_rarer_than_the_share_is_not_repeated_and_neither_is_an_image_without_labels() -> None:
    assert repeat_factors([{0}, {0, 1}, set()], share=1 / 3) == [1.0, 1.0, 1.0]


def test_samples_that_are_never_visited_count_for_nothing() -> None:
    assert repeat_factors([{0}, {0, 1}, None, None], share=1.0) == pytest.approx([1.0, 2**0.5, 0.0, 0.0])


def test_the_factors_of_a_dataset_add_up_to_its_weight() -> None:
    scaled = share_out([1.0, 3.0, 5.0], [2, 1], [0.5, 2.0])

    assert scaled == pytest.approx([0.125, 0.375, 2.0])


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 3))
def test_a_sliding_window_sees_only_the_first_samples_of_the_list(samples: int, size: int, number: int) -> None:
    window = SlidingWindow(samples, batch_size=size)

    visits = window.epoch(number)

    width = min(size, samples)
    steps = samples // width
    assert len(visits) == len(window) == steps * width
    assert {index for _, index in visits} == set(range(steps + width - 1))
    assert [index for _, index in visits[-width:]] == list(range(steps - 1, steps - 1 + width))


def test_no_two_visits_of_a_sliding_window_have_the_same_random_crop() -> None:
    window = SlidingWindow(12, batch_size=4)

    visits = [visit for number in (1, 2, 3) for visit in window.epoch(number)]

    assert max(Counter(visits).values()) == 1


@pytest.mark.parametrize("change", [{"rare_share": 0.1}, {"train_weights": [1]}])
def test_a_sliding_order_is_refused_where_images_are_chosen_otherwise(change: dict[str, object]) -> None:
    with pytest.raises(InvalidRecipe, match="order sliding has neither rare_share nor train_weights"):
        read_recipe("quick", {"order": "sliding", **change})
