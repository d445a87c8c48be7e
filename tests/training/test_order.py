from collections import Counter

import pytest

from training.mixing import Mix, RepeatedMix, SlidingWindow
from training.order import Order, sample_order, visited_classes
from training.recipe import read_recipe

SIZES = [60, 20]


def order(**changes: object) -> Order:
    recipe = read_recipe("quick", {"train": ["shapes:train:60", "shapes:val:20"], **changes})
    classes = [frozenset({0, 1})] * 50 + [frozenset({0, 2})] * 10 + [frozenset({0})] * 20
    return sample_order(recipe, SIZES, lambda: classes)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, Mix),
        ({"train_weights": [1, 2]}, Mix),
        ({"order": "sliding"}, SlidingWindow),
        ({"rare_share": 0.5}, RepeatedMix),
        ({"rare_share": 0.5, "train_weights": [1, 2]}, RepeatedMix),
    ],
)
def test_the_order_is_what_the_recipe_says(changes: dict[str, object], kind: type[Order]) -> None:
    assert type(order(**changes)) is kind


def test_each_dataset_fills_its_share_and_rare_classes_come_more_often_within_it() -> None:
    chosen = order(rare_share=0.5, train_weights=[1, 3])

    visited = Counter(index for epoch in range(1, 401) for _, index in chosen.epoch(epoch))

    total = visited.total()
    assert sum(visited[index] for index in range(60, 80)) / total == pytest.approx(0.75, abs=0.01)
    rare = sum(visited[index] for index in range(50, 60)) / 10
    common = sum(visited[index] for index in range(50)) / 50
    assert rare / common == pytest.approx((0.5 / (10 / 80)) ** 0.5, rel=0.05)  # ten images of eighty have it


def test_a_dataset_without_weight_is_never_visited() -> None:
    chosen = order(rare_share=0.5, train_weights=[1, 0])

    assert {index for epoch in range(1, 30) for _, index in chosen.epoch(epoch)} == set(range(60))


def test_images_without_weight_make_no_class_rare() -> None:
    chosen = order(rare_share=0.5, train_weights=[1, 0])

    visited = Counter(index for epoch in range(1, 401) for _, index in chosen.epoch(epoch))

    rare = sum(visited[index] for index in range(50, 60)) / 10
    common = sum(visited[index] for index in range(50)) / 50
    assert rare / common == pytest.approx((0.5 / (10 / 60)) ** 0.5, rel=0.05)  # ten images of sixty have it


def test_the_classes_of_samples_without_weight_are_left_out() -> None:
    one, two, three = frozenset({1}), frozenset({2}), frozenset({3})

    assert visited_classes([one, two, three], [1, 2], [0.0, 2.0]) == [None, two, three]
    assert visited_classes([one, two, three], [1, 2], []) == [one, two, three]
