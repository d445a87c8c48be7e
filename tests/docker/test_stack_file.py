"""How the compose file becomes one that a swarm reads."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[2] / "docker/swarm/stack_file.py"


def convert(composed: dict[str, Any], *names: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *names],
        input=json.dumps(composed), capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    stack: dict[str, Any] = json.loads(done.stdout)
    return stack


def test_only_the_services_that_are_named_are_deployed_with_the_volumes_that_they_use() -> None:
    services = {"segment": {"image": "a", "volumes": ["checkpoints:/checkpoints:ro"]}, "train": {"image": "b"}}

    stack = convert({"services": services, "volumes": {"checkpoints": None, "runs": None}}, "segment")

    assert list(stack["services"]) == ["segment"]
    assert stack["volumes"] == {"checkpoints": {}}


def test_words_that_a_swarm_refuses_are_left_out() -> None:
    service = {"image": "a", "mem_limit": "4g", "cpus": 2, "profiles": ["x"], "restart": "always", "build": {}}

    stack = convert({"services": {"segment": service}}, "segment")

    assert set(stack["services"]["segment"]) == {"image", "volumes", "ports", "deploy"}


def test_limits_are_words_as_a_swarm_wants_them() -> None:
    deploy = {"resources": {"limits": {"cpus": 2, "memory": "4g"}}, "replicas": 2}

    stack = convert({"services": {"segment": {"image": "a", "deploy": deploy}}}, "segment")

    assert stack["services"]["segment"]["deploy"] == {
        "resources": {"limits": {"cpus": "2", "memory": "4g"}},
        "replicas": 2,
    }


def test_a_port_in_short_is_the_same() -> None:
    stack = convert({"services": {"gateway": {"image": "a", "ports": ["8000:8080/tcp"]}}}, "gateway")

    assert stack["services"]["gateway"]["ports"] == [
        {"target": 8080, "published": 8000, "protocol": "tcp", "mode": "host"}
    ]


def test_folders_in_memory_and_ports_are_told_at_length() -> None:
    service = {
        "image": "a",
        "tmpfs": ["/tmp:size=64m,mode=1777"],  # noqa: S108  # in the container
        "ports": [{"mode": "ingress", "target": 8080, "published": "8000", "protocol": "tcp"}],
    }

    stack = convert({"services": {"gateway": service}}, "gateway")

    assert stack["services"]["gateway"]["volumes"] == [
        {"type": "tmpfs", "target": "/tmp", "tmpfs": {"size": 64 << 20}}  # noqa: S108  # in the container
    ]
    assert stack["services"]["gateway"]["ports"] == [
        {"target": 8080, "published": 8000, "protocol": "tcp", "mode": "host"}
    ]
