"""Hold alert rules and dashboard against the metrics that there are, and against Grafana's own schema."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.metrics import Metrics

yaml = pytest.importorskip("yaml")

DOCKER = Path(__file__).parents[2] / "docker"
DASHBOARD: dict[str, Any] = json.loads((DOCKER / "grafana/dashboards/segserve.json").read_text())
RULES: dict[str, Any] = yaml.safe_load((DOCKER / "prometheus/rules.yml").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def rules() -> Iterator[dict[str, Any]]:
    for group in RULES["groups"]:
        yield from group["rules"]


def expressions() -> list[str]:
    of_panels = [target["expr"] for panel in PANELS for target in panel["targets"]]
    return [rule["expr"] for rule in rules()] + of_panels


def exposed() -> set[str]:
    """Give the names of all series that a replica can have."""
    types = re.findall(r"^# TYPE (\w+) (\w+)$", Metrics().expose().decode(), re.MULTILINE)
    names = {name for name, _ in types}
    return names | {
        f"{name}_{part}" for name, kind in types if kind == "histogram" for part in ("bucket", "sum", "count")
    }


def test_every_metric_that_is_asked_for_exists() -> None:
    asked = {name for expression in expressions() for name in re.findall(r"\b(?:segserve|process)_\w+", expression)}

    assert asked
    assert asked - exposed() == set()


def test_every_recorded_series_that_is_asked_for_is_recorded() -> None:
    asked = {name for expression in expressions() for name in re.findall(r"segserve:[\w:]+", expression)}

    assert asked - {rule["record"] for rule in rules() if "record" in rule} == set()


@pytest.mark.parametrize("rule", [rule for rule in rules() if "alert" in rule], ids=lambda rule: rule["alert"])
def test_every_alert_says_what_is_wrong_and_where_to_look(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"info", "warning", "critical"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")


def test_every_alert_is_tested() -> None:
    tests = yaml.safe_load((DOCKER / "prometheus/rules.test.yml").read_text())["tests"]

    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case.get("exp_alerts")}

    assert fired == {rule["alert"] for rule in rules() if "alert" in rule}


@needs_promtool
@pytest.mark.parametrize(
    "command",
    [
        ["check", "config", "prometheus/prometheus.yml"],
        ["check", "rules", "prometheus/rules.yml"],
        ["test", "rules", "prometheus/rules.test.yml"],
    ],
    ids=" ".join,
)
def test_prometheus_accepts_what_it_is_given(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], cwd=DOCKER, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_understands_what_the_dashboard_asks(tmp_path: Path) -> None:
    asked = [re.sub(r"\$__rate_interval", "1m", expression) for expression in expressions()]
    file = tmp_path / "asked.yml"
    recorded = [{"record": f"asked:{number}", "expr": expression} for number, expression in enumerate(asked)]
    file.write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": recorded}]}))

    done = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_is_read_whole_by_grafanas_schema() -> None:
    encoder = pytest.importorskip("grafana_foundation_sdk.cog.encoder").JSONEncoder
    schema = pytest.importorskip("grafana_foundation_sdk.models.dashboard").Dashboard

    read = json.loads(json.dumps(schema.from_json(DASHBOARD), cls=encoder, sort_keys=True))

    assert lost(DASHBOARD, read, "dashboard") == []


def lost(ours: Any, read: Any, path: str) -> list[str]:  # noqa: ANN401  # JSON
    """Give where what was read differs from what we wrote; the schema may add defaults of its own."""
    if isinstance(ours, dict):
        missing = [f"{path}.{key}" for key in ours if key not in read and ours[key] not in (None, [], {})]
        return missing + [line for key in ours if key in read for line in lost(ours[key], read[key], f"{path}.{key}")]
    if isinstance(ours, list):
        pairs = zip(ours, read, strict=True)
        return [line for number, (mine, theirs) in enumerate(pairs) for line in lost(mine, theirs, f"{path}[{number}]")]
    return [] if ours == read else [f"{path}: {ours!r} became {read!r}"]


def test_no_two_panels_have_the_same_id_or_place() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = [(place["x"] + x, place["y"] + y) for place in places for x in range(place["w"]) for y in range(place["h"])]

    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23


def test_the_dashboards_source_is_the_one_that_is_provisioned() -> None:
    provisioned = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yml").read_text())

    used = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}

    assert used == {provisioned["datasources"][0]["uid"]}
