"""Count what load.py wrote down, phase by phase, and judge it.

python table.py REQUESTS [--gateway-log FILE] [--kills FILE] [--may-fail PHASE ...]

Every phase but those that may fail must have no failed request. In those, only requests that were in work in the replica
that was killed may fail: the gateway's log says which replica each one was in. KILLS holds lines PHASE SECONDS-SINCE-1970.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MOST_SECONDS = 2.0


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
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


def row(phase: Phase) -> str:
    """Write a row of the table."""
    p50, p99 = (
        (f"{1000 * percentile(phase.seconds, share):.0f}" for share in (0.5, 0.99)) if phase.seconds else ("-", "-")
    )
    return f"| {phase.name} | {phase.sent} | {len(phase.seconds)} | {len(phase.failed)} | {p50} | {p99} |"


def judge(phase: Phase, log: dict[str, dict[str, Any]], killed_at: float | None) -> Iterable[str]:
    """Give what is wrong with a phase; without a time of a kill nothing may fail."""
    if phase.sent == 0:
        yield f"{phase.name}: nothing was asked"
    if killed_at is None:
        for failure in phase.failed[:5]:
            yield f"{phase.name}: {failure['request_id']}: {failure['status']} {failure['problem'][:200]}"
        return
    replicas = {log[failure["request_id"]]["replica"] for failure in phase.failed if failure["request_id"] in log}
    if len(replicas) > 1:
        yield f"{phase.name}: requests failed in {', '.join(sorted(replicas))}, one was killed"
    for failure in phase.failed:
        late = failure["start"] - killed_at
        if failure["request_id"] not in log or late > 0:
            yield f"{phase.name}: {failure['request_id']} failed, and was sent {late:.2f} s after the kill"
    last = last_try(phase, log, killed_at)
    if last > _MOST_SECONDS:
        yield f"{phase.name}: the gateway tried the killed replica until {last:.2f} s after the kill"


def last_try(phase: Phase, log: dict[str, dict[str, Any]], killed_at: float) -> float:
    """Give how long after the kill a request came that the gateway still tried to send to the replica, 0 if none."""
    tries = [line["time"] - killed_at for line in log.values() if line["retries"].lstrip("+") != "0"]
    return max([late for late in tries if 0 < late < 60], default=0.0)


def main() -> int:
    """Print the table; give 1 if something is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("requests", type=Path)
    parser.add_argument("--gateway-log", type=Path)
    parser.add_argument("--kills", type=Path)
    options = parser.parse_args()
    phases = read_phases(options.requests.read_text().splitlines())
    log = read_gateway_log(options.gateway_log.read_text().splitlines()) if options.gateway_log else {}
    kills: dict[str, float] = {}
    for line in options.kills.read_text().splitlines() if options.kills else []:
        name, _, when = line.rpartition(" ")
        kills[name] = float(when)
    print("| phase | sent | answered | failed | p50, ms | p99, ms |\n|---|---|---|---|---|---|")
    wrong: list[str] = []
    for phase in phases.values():
        print(row(phase))
        wrong += judge(phase, log, kills.get(phase.name))
    for name, when in kills.items():
        print(f"{name}: last request that tried the killed replica first: {last_try(phases[name], log, when):.2f} s later")
    print("versions of the model that answered, by phase: " + "; ".join(f"{p.name}: {', '.join(sorted(p.versions))}" for p in phases.values()))
    for line in wrong:
        print(f"WRONG: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
