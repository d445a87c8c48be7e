"""What the compose file promises of every container, however it is started."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
FILE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
SEGMENTS = [name for name in SERVICES if name.startswith("segment")]
GPUS = [name for name in SERVICES if name.startswith("segment-gpu-")]


def default_of(text: str) -> str:
    """Put the defaults in the place of ``${VARIABLE:-default}``."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_may_more_than_it_must(name: str) -> None:
    service = SERVICES[name]

    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["init"] is True
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices"} & set(service)


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_fills_the_memory_the_disk_or_the_process_table(name: str) -> None:
    service = SERVICES[name]

    assert re.fullmatch(r"\d+[mg]", default_of(service["mem_limit"]))
    assert service["pids_limit"] > 0
    assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_is_reached_from_other_machines_unless_asked_for(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert default_of(port).startswith("127.0.0.1:")


@pytest.mark.parametrize("name", SEGMENTS)
def test_a_replica_is_given_the_time_to_drain(name: str) -> None:
    settings = SERVICES[name]["environment"]

    drain = float(settings["SEGSERVE_DRAIN_DELAY"]) + float(settings["SEGSERVE_SHUTDOWN_TIMEOUT"])

    assert seconds(SERVICES[name]["stop_grace_period"]) > drain + 2


@pytest.mark.parametrize("name", SEGMENTS)
def test_no_replica_writes_checkpoints_or_reaches_the_internet(name: str) -> None:
    assert default_of(SERVICES[name]["volumes"][0]) == "checkpoints:/checkpoints:ro"
    assert list(SERVICES[name]["networks"]) == ["inside"]
    assert FILE["networks"]["inside"] == {"internal": True}


def test_each_gpu_has_one_replica_that_the_gateway_finds() -> None:
    devices = [SERVICES[name]["deploy"]["resources"]["reservations"]["devices"] for name in GPUS]

    assert [device["device_ids"] for [device] in devices] == [[str(index)] for index in range(8)]
    assert all(SERVICES[name]["networks"]["inside"]["aliases"] == ["segment"] for name in GPUS)
    assert all(SERVICES[name]["environment"]["SEGSERVE_DEVICE"] == "cuda" for name in GPUS)


@pytest.mark.parametrize(("profile", "num_gpus"), [("gpu", 1), ("gpu2", 2), ("gpu8", 8)])
def test_a_profile_starts_a_replica_on_each_gpu(profile: str, num_gpus: int) -> None:
    assert sum(profile in SERVICES[name]["profiles"] for name in GPUS) == num_gpus


def test_only_gateway_and_one_replica_start_unless_asked_for() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == ["gateway", "segment"]


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
def test_compose_itself_accepts_the_file() -> None:
    done = subprocess.run(
        ["docker-compose", "--file", ROOT / "docker-compose.yml", "config", "--quiet"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "")
