"""Keep what the points found in one JSON file, and give it load by load."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.scaling.points import Point

_SIDES = {"default": 512, "default-256": 256}
"""The longest side that networks see; those of the parts ``classes`` and ``sizes`` see that of ``default``."""

REFUSED = "status 503"


@dataclass(frozen=True, slots=True)
class Seen:
    """Hold what a point's rounds found under one load; ``visits`` and ``loads`` have one entry a round."""

    point: Point
    clients: int
    visits: Sequence[Mapping[str, Any]]
    loads: Sequence[Mapping[str, Any]]

    def value(self, key: str) -> float | None:
        """Give the median over the rounds; None where a round has none."""
        values = [load.get(key) for load in self.loads]
        return None if not values or None in values else median(value for value in values if value is not None)

    def of_visit(self, key: str) -> float | None:
        """Give the median over the rounds of what was found before any load."""
        values = [visit[key] for visit in self.visits if visit[key] is not None]
        return median(values) if values else None

    def milliseconds(self, key: str) -> float | None:
        """Give the processors' time of an answered image."""
        values = [1000 * load[key] / load["answered"] for load in self.loads if load["answered"]]
        return median(values) if values else None

    def share(self, *, refused: bool) -> float:
        """Give the share of requests that were refused for want of room, or that failed in another way."""
        failures = [(kind, count) for load in self.loads for kind, count in load["failures"].items()]
        total = sum(load["answered"] for load in self.loads) + sum(count for _, count in failures)
        return sum(count for kind, count in failures if (kind == REFUSED) == refused) / total if total else 0.0

    @property
    def megapixels(self) -> float:
        """Give the size of an image."""
        return float(self.point.images.removesuffix("mp")) if self.point.images.endswith("mp") else 0.256**2

    @property
    def input_megapixels(self) -> float:
        """Give the size of what the network sees."""
        side = _SIDES.get(self.point.network, _SIDES["default"])
        return side**2 * (3 / 4 if self.point.images.endswith("mp") else 1) / 1e6

    @property
    def num_classes(self) -> int:
        """Count the network's classes."""
        return int(self.point.network.removeprefix("classes-")) if "classes-" in self.point.network else 21


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
        """Tell whether a round of this very point has been measured without an error."""
        return any(_is_of(one, point, number) and not one["visit"]["error"] for one in self.found)

    def seen(self, part: str) -> list[Seen]:
        """Give what was found in a part, load by load, in the order of the points."""
        rounds: dict[str, list[Mapping[str, Any]]] = {}
        for one in self.found:
            if one["point"]["part"] == part and not one["visit"]["error"]:
                rounds.setdefault(json.dumps(one["point"]), []).append(one["visit"])
        return [
            Seen(Point(**json.loads(key)), loads[0]["clients"], visits, loads)
            for key, visits in rounds.items()
            for name in visits[0]["loads"]
            if (loads := [visit["loads"][name] for visit in visits])
        ]


def _is_of(one: Mapping[str, Any], point: Point, number: int) -> bool:
    return one["round"] == number and json.dumps(one["point"]) == json.dumps(asdict(point))
