"""Keep what the points found in one JSON file, and give it load by load."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.scaling.points import Point, points
from benchmarks.serving.images import photo_size
from model_zoo.preprocess import network_size, padded_size
from model_zoo.spec import SizeRule

_SMALL = SizeRule(policy="longest", side=256)
_USUAL = SizeRule(policy="longest", side=512)
"""What the shipped network sees of an image, as it is and in ``default-256``."""

REFUSED = "status 503"


@dataclass(frozen=True, slots=True)
class Seen:
    """Hold what a point's rounds found under one load; ``visits`` and ``loads`` have one entry a round."""

    point: Point
    clients: int
    visits: Sequence[Mapping[str, Any]]
    loads: Sequence[Mapping[str, Any]]

    def values(self, key: str) -> list[float]:
        """Give what the rounds found."""
        return [load[key] for load in self.loads if load.get(key) is not None]

    def value(self, key: str) -> float:
        """Give the median over the rounds, 0 where none has any."""
        return median(self.values(key) or [0.0])

    def of_visits(self, key: str) -> list[float]:
        """Give what the rounds found before any load."""
        return [visit[key] for visit in self.visits if visit[key] is not None]

    def milliseconds(self, key: str) -> list[float]:
        """Give the processors' time of an answered image in each round."""
        return [1000 * load[key] / load["answered"] for load in self.loads if load["answered"]]

    def share(self, *, refused: bool) -> float:
        """Give the share of requests that were refused for want of room, or that failed in another way."""
        failures = [(kind, count) for load in self.loads for kind, count in load["failures"].items()]
        total = sum(load["answered"] for load in self.loads) + sum(count for _, count in failures)
        return sum(count for kind, count in failures if (kind == REFUSED) == refused) / total if total else 0.0

    @property
    def is_eager(self) -> bool:
        """Whether all models were loaded at the start."""
        return "loading" not in self.point.settings

    @property
    def megapixels(self) -> float:
        """Give the size of an image."""
        return float(self.point.images.removesuffix("mp")) if self.point.images.endswith("mp") else 0.256**2

    @property
    def input_megapixels(self) -> float:
        """Give the size of what the network sees."""
        width, height = photo_size(self.megapixels) if self.point.images.endswith("mp") else (256, 256)
        return input_megapixels(width, height, is_small=self.point.network == "default-256")

    @property
    def num_classes(self) -> int:
        """Count the network's classes."""
        return int(self.point.network.removeprefix("classes-")) if "classes-" in self.point.network else 21


def input_megapixels(width: int, height: int, *, is_small: bool) -> float:
    """Give the size of what the shipped network sees of an image."""
    rule = _SMALL if is_small else _USUAL
    return math.prod(padded_size(network_size((width, height), rule), rule)) / 1e6


class Results:
    """Hold what was found so far."""

    def __init__(self, about: Mapping[str, Any], found: Sequence[Mapping[str, Any]] = ()) -> None:
        self.about = about
        self.found = list(found)

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read a file."""
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(content["about"], content["points"])

    def write(self, path: Path) -> None:
        """Write a file with a line for each point and round."""
        lines = ",\n".join(json.dumps(one) for one in self.found)
        path.write_text(f'{{"about": {json.dumps(self.about, indent=1)},\n"points": [\n{lines}\n]}}\n', "utf-8")

    def add(self, point: Point, number: int, visit: Mapping[str, Any]) -> None:
        """Keep what a round found, in the place of what it found before."""
        self.found = [one for one in self.found if not _is_of(one, point, number)]
        self.found.append({"point": asdict(point), "round": number, "visit": visit})

    def has(self, point: Point, number: int) -> bool:
        """Tell whether a round of this very point has been measured; that pictures are refused is a finding, too."""
        errors = [one["visit"]["error"] or "" for one in self.found if _is_of(one, point, number)]
        return any(not error or error.startswith("WrongAnswer") for error in errors)

    def refusals(self) -> list[tuple[Point, str]]:
        """Give the points whose pictures are refused, and the server's words."""
        told = ((one["point"], one["visit"]["error"] or "") for one in self.found)
        return [(Point(**point), error) for point, error in told if error.startswith("WrongAnswer")]

    def seen(self, part: str) -> list[Seen]:
        """Give what was found in a part, load by load, in the order of the points."""
        order = {json.dumps(asdict(point)): number for number, point in enumerate(points([part]))}
        rounds: dict[str, list[Mapping[str, Any]]] = {}
        for one in self.found:
            if one["point"]["part"] == part and not one["visit"]["error"]:
                rounds.setdefault(json.dumps(one["point"]), []).append(one["visit"])
        return [
            Seen(Point(**json.loads(key)), loads[0]["clients"], visits, loads)
            for key, visits in sorted(rounds.items(), key=lambda one: order.get(one[0], len(order)))
            for name in visits[0]["loads"]
            if (loads := [visit["loads"][name] for visit in visits])
        ]


def _is_of(one: Mapping[str, Any], point: Point, number: int) -> bool:
    return one["round"] == number and json.dumps(one["point"]) == json.dumps(asdict(point))
