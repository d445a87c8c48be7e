"""Choose in which order a recipe's samples are visited."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from training.mixing import Mix, RepeatedMix, SlidingWindow, repeat_factors, share_out
from training.recipe import Recipe

Order = Mix | RepeatedMix | SlidingWindow


def sample_order(recipe: Recipe, sizes: Sequence[int], classes: Callable[[], list[frozenset[int]]]) -> Order:
    """Give the visits of every epoch.

    Args:
        recipe: says the order, the weights of the datasets, and what is rare.
        sizes: how many samples each dataset has.
        classes: gives the classes in each sample, one dataset behind the other; it is called only where it counts.

    Raises:
        InvalidRecipe: the weights do not fit the datasets.
    """
    if recipe.order == "sliding":
        return SlidingWindow(sum(sizes), batch_size=recipe.batch_size)
    weighted = Mix(sizes, recipe.train_weights or None, seed=recipe.seed)
    if not recipe.rare_share:
        return weighted
    factors = repeat_factors(visited_classes(classes(), sizes, recipe.train_weights), recipe.rare_share)
    if recipe.train_weights:
        factors = share_out(factors, sizes, recipe.train_weights)
    return RepeatedMix(factors, seed=recipe.seed)


def visited_classes(
    classes: Sequence[frozenset[int]], sizes: Sequence[int], weights: Sequence[float]
) -> list[frozenset[int] | None]:
    """Leave out the classes of samples that are never visited, since their dataset's weight is 0.

    Without weights, all are visited.
    """
    every = weights or [1.0] * len(sizes)
    is_visited = [weight > 0 for size, weight in zip(sizes, every, strict=True) for _ in range(size)]
    return [found if visited else None for found, visited in zip(classes, is_visited, strict=True)]
