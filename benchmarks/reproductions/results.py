"""Keep the results of a suite in one JSON file, written anew after every row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.reproductions.runner import settings_of
from benchmarks.reproductions.suites import FOLDER, PLAIN, Suite
from model_zoo.atomic import write_atomically

Result = Mapping[str, Any]


class Results:
    """Hold what has been found for the rows of a suite, each with its seeds."""

    def __init__(self, suite: Suite, path: Path | None = None) -> None:
        """Read what is in the file, if there is one; results of other settings than today's are left out."""
        self.suite = suite
        self.path = path or FOLDER / f"results-{suite.name}.json"
        content = json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else {"results": []}
        self._found = {(one["row"], one["seed"]): one for one in content["results"] if self._is_current(one)}

    def has(self, row: str, seed: int) -> bool:
        """Say whether a row has been run with a seed."""
        return (row, seed) in self._found

    def of(self, row: str) -> list[Result]:
        """Give the results of a row, by seed."""
        return [result for (name, _), result in sorted(self._found.items()) if name == row]

    def mious(self, row: str, view: str = PLAIN) -> dict[int, float]:
        """Give the mIoU of a row, by seed."""
        return {result["seed"]: result["scores"][view]["miou"] for result in self.of(row)}

    def add(self, result: Result) -> None:
        """Take a result and write all."""
        known = json.loads(json.dumps(result))
        self._found[known["row"], known["seed"]] = known
        lines = ",\n".join(json.dumps(one) for one in self._ordered())  # one line each, so that differences can be read
        write_atomically(self.path, [f'{{"suite": "{self.suite.name}", "results": [\n{lines}\n]}}\n'.encode()])

    def _ordered(self) -> Iterator[Result]:
        for row in self.suite.rows:
            yield from self.of(row.name)

    def _is_current(self, result: Result) -> bool:
        names = {row.name for row in self.suite.rows}
        if result["row"] not in names:
            return False
        wanted = settings_of(self.suite, self.suite.row(result["row"]), result["seed"])
        return bool(result["recipe"] == json.loads(json.dumps(wanted)))
