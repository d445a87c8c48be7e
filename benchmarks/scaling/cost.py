"""Fit what an image costs, and what memory is held, by sums of a few terms that each mean something.

Least squares are of relative errors, so that a small image counts as much as a large one. No coefficient is negative:
a term whose coefficient would be is left out, and so is one that nothing tells from another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.scaling.results import Results, Seen
from service.settings import Settings

COST = ("1", "MP", "classes x MP", "MP that the network sees", "classes x MP that the network sees")
"""What the CPU ms of an image depend on."""

MEMORY = ("1", "models", "MP that the network sees", "MP decoded at once")
"""What the peak MB of a server depend on."""

CODEC_THREADS = int(Settings.model_fields["codec_threads"].default)
"""So many images are decoded at once; those that wait are still JPEGs."""

Terms = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Fit:
    """Hold the coefficient of each term, and how far off the sum is at most."""

    coefficients: Terms
    worst_error: float
    num_points: int

    def at(self, values: Terms) -> float:
        """Give the sum for these values of the terms."""
        return sum(value * values[name] for name, value in self.coefficients.items())


def fit(points: Sequence[tuple[Terms, float]], names: Sequence[str]) -> Fit:
    """Find the coefficients with which the terms of these names come nearest to what was found."""
    values = np.array([[values_of[name] for name in names] for values_of, _ in points])
    found = np.array([value for _, value in points])
    kept = list(np.sort(np.unique(values, axis=1, return_index=True)[1]))
    while True:
        solution = np.linalg.lstsq(values[:, kept] / found[:, None], np.ones(len(found)), rcond=None)[0]
        if (solution >= 0).all():
            break
        del kept[int(solution.argmin())]
    errors = np.abs(values[:, kept] @ solution / found - 1)
    coefficients = {names[index]: float(value) for index, value in zip(kept, solution, strict=True)}
    return Fit(coefficients, float(errors.max()), len(found))


def terms(
    *, megapixels: float, input_megapixels: float, num_classes: int, num_models: int = 1, in_work: int = 1
) -> Terms:
    """Give the values of all terms."""
    return {
        "1": 1.0,
        "MP": megapixels,
        "classes x MP": num_classes * megapixels,
        "MP that the network sees": input_megapixels,
        "classes x MP that the network sees": num_classes * input_megapixels,
        "models": num_models,
        "MP decoded at once": min(in_work, CODEC_THREADS) * megapixels,
    }


def terms_of(seen: Seen) -> Terms:
    """Give what CPU and memory of a load depend on."""
    return terms(
        megapixels=seen.megapixels,
        input_megapixels=seen.input_megapixels,
        num_classes=seen.num_classes,
        num_models=seen.point.num_models,
        in_work=seen.clients,
    )


def cost_model(results: Results, row: str) -> Fit:
    """Fit CPU ms of an image to what was found with images of all sizes and any number of classes."""
    loads = answered(results, row, "sizes", "classes")
    return fit([(terms_of(seen), median(seen.milliseconds("cpu_seconds"))) for seen in loads], COST)


def memory_model(results: Results, row: str) -> Fit:
    """Fit peak MB to what was found with images of all sizes and any number of models, all loaded at the start."""
    loads = [seen for seen in answered(results, row, "sizes", "models") if seen.is_eager]
    return fit([(terms_of(seen), seen.value("peak_bytes") / 1e6) for seen in loads], MEMORY)


def busy_share(results: Results, row: str) -> float:
    """Give the share of the cores' time that a server used while several images were in work: the median."""
    cores = int(results.about["machine"]["cores"])
    loads = [seen for seen in answered(results, row, "sizes", "classes") if seen.clients > 1]
    return median(seen.value("cpu_seconds") / seen.value("seconds") / cores for seen in loads)


def throughput_error(results: Results, row: str) -> float:
    """Give how far off the images/s are at most that follow from the cost model, with several images in work."""
    cores, cost, busy = int(results.about["machine"]["cores"]), cost_model(results, row), busy_share(results, row)
    loads = [seen for seen in answered(results, row, "clients", "sizes", "classes") if seen.clients > 1]
    return max(
        abs(1000 * cores * busy / cost.at(terms_of(seen)) / seen.value("images_per_second") - 1) for seen in loads
    )


def answered(results: Results, row: str, *parts: str) -> Iterator[Seen]:
    """Give the loads of a row under which every request was answered with a mask."""
    for part in parts:
        for seen in results.seen(part):
            if seen.point.row == row and not (seen.share(refused=True) or seen.share(refused=False)):
                yield seen
