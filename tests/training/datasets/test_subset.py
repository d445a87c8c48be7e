from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.datasets.shapes import Shapes
from training.datasets.subset import take_share

SHARES = st.floats(1e-3, 1)


@given(SHARES, SHARES)
def test_a_smaller_share_is_part_of_a_larger_one(one: float, other: float) -> None:
    shapes = Shapes(Path("40"), "train")
    small, large = take_share(shapes, min(one, other)), take_share(shapes, max(one, other))

    assert set(small.ids) <= set(large.ids) <= set(shapes.ids)
    assert 40 * min(one, other) - 1e-9 <= len(small) < 40 * min(one, other) + 1


def test_a_share_that_comes_out_even_is_not_rounded_up() -> None:
    assert len(take_share(Shapes(Path("100"), "train"), 0.07)) == 7  # as floats, 0.07 * 100 is above 7


def test_a_share_is_drawn_by_chance_and_keeps_the_order() -> None:
    shapes = Shapes(Path("40"), "train")

    half = take_share(shapes, 0.5)

    places = [shapes.ids.index(sample_id) for sample_id in half.ids]
    assert places == sorted(places)
    assert places != list(range(20))


def test_samples_of_a_share_are_those_of_the_dataset() -> None:
    shapes = Shapes(Path("9"), "val")

    some = take_share(shapes, 0.3)

    whole = shapes[shapes.ids.index(some.ids[1])]
    assert some[1].id == some.ids[1] == whole.id
    assert np.array_equal(some[1].target, whole.target)
    assert some.image_sha256(1) == shapes.image_sha256(shapes.ids.index(whole.id))
    assert (some.labels, some.rules) == (shapes.labels, shapes.rules)


def test_all_of_a_dataset_is_the_dataset_itself() -> None:
    shapes = Shapes(Path("9"), "val")

    assert take_share(shapes, 1.0) is shapes
