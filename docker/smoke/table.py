"""Count what load.py wrote down, phase by phase, and judge it.

python table.py REQUESTS [--gateway-log FILE] [--kills FILE]

KILLS has a line of JSON for every replica that was killed: phase, when, and when its successor was started. In such a
phase only requests may fail that were in work at that moment, all in the same replica, and the gateway has to leave it
alone within two seconds. In every other phase nothing may fail.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MOST_SECONDS = 2.0
_HASTE = 0.5
"""By how much the engine may be late to notice an end that clients have noticed."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Say in which phase and when a replica was killed, and when its successor was started, in seconds since 1970."""

    phase: str
    when: float
    replaced: float


@dataclass(slots=True)
class Phase:
    """Hold what was asked in a phase."""

    name: str
    seconds: list[float] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    versions: set[str] = field(default_factory=set)

    @property
    def sent(self) -> int:
        """Count the requests."""
        return len(self.seconds) + len(self.failed)


def read_phases(lines: Iterable[str]) -> dict[str, Phase]:
    """Sort the requests by phase, in the order in which those began."""
    phases: dict[str, Phase] = {}
    for event in map(json.loads, lines):
        phase = phases.setdefault(event["phase"], Phase(event["phase"]))
        if "begins" in event:
            continue
        if event["status"] == 200 and not event["problem"]:
            phase.seconds.append(event["seconds"])
            phase.versions.add(event["version"])
        else:
            phase.failed.append(event)
    phases.pop("", None)
    return phases


def read_gateway_log(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Give what the gateway wrote about each request, by its id."""
    told = [json.loads(line) for line in lines if line.startswith("{")]
    return {line["request_id"]: line for line in told if line.get("event") == "request"}


def percentile(values: Sequence[float], share: float) -> float:
    """Give the smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def row(phase: Phase) -> str:
    """Write a row of the table."""
    p50, p99 = (
        (f"{1000 * percentile(phase.seconds, share):.0f}" for share in (0.5, 0.99)) if phase.seconds else ("-", "-")
    )
    return f"| {phase.name} | {phase.sent} | {len(phase.seconds)} | {len(phase.failed)} | {p50} | {p99} |"


def judge(phase: Phase, log: dict[str, dict[str, Any]], kill: Kill | None) -> Iterable[str]:
    """Give what is wrong with a phase."""
    if phase.sent == 0:
        yield f"{phase.name}: nothing was asked"
    replicas = {log[failure["request_id"]]["replica"] for failure in phase.failed if failure["request_id"] in log}
    if kill is not None and len(replicas) > 1:
        yield f"{phase.name}: requests failed in {', '.join(sorted(replicas))}, one was killed"
    for failure in phase.failed:
        if kill is None or not failure["start"] <= kill.when <= failure["start"] + failure["seconds"] + _HASTE:
            yield f"{phase.name}: {told(failure)}"
    if kill is not None and (last := last_try(log, kill)) > _MOST_SECONDS:
        yield f"{phase.name}: the gateway tried the killed replica until {last:.2f} s after the kill"


def told(failure: dict[str, Any]) -> str:
    """Say what became of a request that failed."""
    return f"{failure['request_id']}: {failure['status']} {failure['problem'][:200]}"


def last_try(log: dict[str, dict[str, Any]], kill: Kill) -> float:
    """Give how long after the kill a request came that the gateway still tried to send to the replica, 0 if none."""
    tried = [line["time"] for line in log.values() if line["retries"].lstrip("+") != "0"]
    return max([when - kill.when for when in tried if kill.when < when < kill.replaced], default=0.0)


def main() -> int:
    """Print the table; give 1 if something is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("requests", type=Path)
    parser.add_argument("--gateway-log", type=Path)
    parser.add_argument("--kills", type=Path)
    options = parser.parse_args()
    phases = read_phases(options.requests.read_text().splitlines())
    log = read_gateway_log(options.gateway_log.read_text().splitlines()) if options.gateway_log else {}
    kills = [Kill(**json.loads(line)) for line in options.kills.read_text().splitlines()] if options.kills else []
    print("| phase | sent | answered | failed | p50, ms | p99, ms |\n|---|---|---|---|---|---|")
    wrong: list[str] = []
    for phase in phases.values():
        print(row(phase))
        wrong += judge(phase, log, next((kill for kill in kills if kill.phase == phase.name), None))
    for kill in kills:
        print(f"{kill.phase}: the last request that was sent to it came {last_try(log, kill):.2f} s later")
    versions = [f"{phase.name}: {', '.join(sorted(phase.versions))}" for phase in phases.values()]
    print(f"versions of the model that answered: {'; '.join(versions)}")
    for line in wrong:
        print(f"WRONG: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
