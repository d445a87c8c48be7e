import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from training.datasets import Sample
from training.evaluation.extremes import Extremes
from training.evaluation.metrics import ConfusionMatrix


def watch(extremes: Extremes, name: str, *, hits: int, pixels: int = 100) -> None:
    """Show an image of which so many pixels are right."""
    matrix = ConfusionMatrix(2)
    matrix.counts[0] = torch.tensor([hits, pixels - hits])
    extremes.watch(Sample(name, Image.new("RGB", (1, 1)), np.zeros((1, 1), np.uint8)), torch.zeros(1, 1).byte(), matrix)


def test_the_best_and_the_worst_are_kept() -> None:
    extremes = Extremes(2)
    for hits in (50, 10, 90, 30, 70, 20):
        watch(extremes, str(hits), hits=hits)

    assert [one.sample.id for one in extremes.best] == ["90", "70"]
    assert [one.sample.id for one in extremes.worst] == ["10", "20"]
    assert [one.score for one in extremes.worst] == [0.1, 0.2]


def test_of_a_small_set_no_image_is_both() -> None:
    extremes = Extremes(2)
    for hits in (50, 10, 90):
        watch(extremes, str(hits), hits=hits)

    assert [one.sample.id for one in extremes.best] == ["90", "50"]
    assert [one.sample.id for one in extremes.worst] == ["10"]


def test_an_image_without_a_label_is_passed_over() -> None:
    extremes = Extremes(2)

    watch(extremes, "void", hits=0, pixels=0)

    assert extremes.best == extremes.worst == []


@given(st.lists(st.integers(0, 100), max_size=40), st.integers(1, 6))
def test_they_are_those_of_the_sorted_scores(scores: list[int], each: int) -> None:
    extremes = Extremes(each)
    for place, hits in enumerate(scores):
        watch(extremes, str(place), hits=hits)

    shares = sorted(hits / 100 for hits in scores)
    assert [one.score for one in extremes.best] == shares[::-1][:each]
    assert [one.score for one in extremes.worst] == shares[: max(0, min(each, len(shares) - each))]
