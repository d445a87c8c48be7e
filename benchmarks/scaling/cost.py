"""Fit what an image costs, and what memory is held, by sums of a few terms that each mean something.

Least squares are of relative errors, so that a small image counts as much as a large one, and no coefficient is
negative: a term whose coefficient would be is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.scaling.results import Results, Seen

HEADROOM = 0.8
"""The share of what it can do that a replica is planned with."""

Terms = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Fit:
    """Hold the coefficient of each term, and how far off the fit is at most."""

    coefficients: Terms
    worst_error: float
    num_points: int

    def at(self, terms: Terms) -> float:
        """Give the sum for these values of the terms."""
        return sum(self.coefficients[name] * value for name, value in terms.items())


def fit(points: Sequence[tuple[Terms, float]]) -> Fit:
    """Find the coefficients with which the terms come nearest to what was found."""
    names = list(points[0][0])
    values = np.array([[terms[name] for name in names] for terms, _ in points])
    found = np.array([value for _, value in points])
    kept = list(range(len(names)))
    while True:
        solution = np.linalg.lstsq(values[:, kept] / found[:, None], np.ones(len(found)), rcond=None)[0]
        if (solution >= 0).all():
            break
        del kept[int(solution.argmin())]
    errors = np.abs(values[:, kept] @ solution / found - 1)
    coefficients = dict.fromkeys(names, 0.0) | {
        names[index]: float(value) for index, value in zip(kept, solution, strict=True)
    }
    return Fit(coefficients, float(errors.max()), len(found))


def cost_terms(seen: Seen) -> Terms:
    """Give what the CPU ms of an image depend on."""
    return {
        "an image": 1.0,
        "MP of the image": seen.megapixels,
        "MP that the network sees": seen.input_megapixels,
        "MP that the network sees, of 100 classes": seen.num_classes / 100 * seen.input_megapixels,
    }


def memory_terms(seen: Seen) -> Terms:
    """Give what the peak MB depend on; of the images in work only those in a batch are held decoded."""
    return {
        "the process": 1.0,
        "a model": float(seen.point.num_models),
        "MP of images in work": seen.clients * seen.megapixels,
    }


def cost_model(results: Results, row: str) -> Fit:
    """Fit CPU ms of an image to what was found with images and classes of all sizes."""
    return fit(
        [
            (cost_terms(seen), milliseconds)
            for seen in _of(results, row, ("sizes", "classes"))
            if (milliseconds := seen.milliseconds("cpu_seconds")) is not None
        ]
    )


def memory_model(results: Results, row: str) -> Fit:
    """Fit peak MB to what was found with images of all sizes and any number of models."""
    return fit(
        [
            (memory_terms(seen), peak / 1e6)
            for seen in _of(results, row, ("sizes", "models"))
            if "loading" not in seen.point.settings and (peak := seen.value("peak_bytes")) is not None
        ]
    )


def busy_share(results: Results, row: str) -> float:
    """Give the share of the cores' time that a server under load used."""
    cores = int(results.about["machine"]["cores"])
    return median(
        rate * milliseconds / 1000 / cores
        for seen in _of(results, row, ("sizes", "classes"))
        if seen.clients > 1
        and (rate := seen.value("images_per_second"))
        and (milliseconds := seen.milliseconds("cpu_seconds"))
    )


def _of(results: Results, row: str, parts: Sequence[str]) -> list[Seen]:
    """Give the loads of a row under which all was answered."""
    return [
        seen
        for part in parts
        for seen in results.seen(part)
        if seen.point.row == row and not (seen.share(refused=True) or seen.share(refused=False))
    ]
