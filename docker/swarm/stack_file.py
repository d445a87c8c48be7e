"""Turn what `docker compose config` writes into what `docker stack deploy` reads: it knows fewer words.

docker compose config --format json | python3 stack_file.py SERVICE ... | docker stack deploy --compose-file - NAME
docker-compose config | python3 stack_file.py SERVICE ... | docker stack deploy --compose-file - NAME    (needs PyYAML)
"""

from __future__ import annotations

import json
import sys
from typing import Any

_UNDERSTOOD = {
    "image", "command", "entrypoint", "environment", "volumes", "ports", "networks", "logging", "healthcheck", "init",
    "read_only", "cap_drop", "stop_grace_period", "deploy", "user", "secrets", "configs",
}  # fmt: skip
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def stack_file(composed: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Keep the services that are named, and of each what a swarm understands."""
    services = {name: _service(composed["services"][name]) for name in names}
    mounted = {volume for service in services.values() for volume in _sources(service)}
    volumes = {name: _plain(about) for name, about in (composed.get("volumes") or {}).items() if name in mounted}
    networks = {name: _plain(about) for name, about in (composed.get("networks") or {}).items()}
    kept = {"version": "3.8", "services": services, "volumes": volumes, "networks": networks}
    return kept | ({"secrets": composed["secrets"]} if composed.get("secrets") else {})


def _service(composed: dict[str, Any]) -> dict[str, Any]:
    service = {key: value for key, value in composed.items() if key in _UNDERSTOOD and value is not None}
    service["volumes"] = [_volume(volume) for volume in service.get("volumes", [])]
    service["volumes"] += [_tmpfs(entry) for entry in composed.get("tmpfs", [])]
    service["ports"] = [_port(port) for port in service.get("ports", [])]
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    service["deploy"] = {**service.get("deploy", {})}
    if limits:
        service["deploy"]["resources"] = {"limits": {name: str(value) for name, value in limits.items()}}
    return service


def _volume(volume: Any) -> Any:  # noqa: ANN401  # as compose writes it
    if isinstance(volume, dict):
        return {key: value for key, value in volume.items() if key in {"type", "source", "target", "read_only"}}
    return volume


def _tmpfs(entry: str) -> dict[str, Any]:
    target, _, options = entry.partition(":")
    size = dict(option.partition("=")[::2] for option in options.split(",")).get("size")
    mount: dict[str, Any] = {"type": "tmpfs", "target": target}
    return mount | ({"tmpfs": {"size": int(size[:-1]) * _UNITS[size[-1]]}} if size else {})


def _port(port: Any) -> dict[str, Any]:  # noqa: ANN401  # as compose writes it
    if isinstance(port, dict):
        published, target = port["published"], port["target"]
    else:
        published, target = port.removesuffix("/tcp").split(":")[-2:]
    return {"target": int(target), "published": int(published), "protocol": "tcp", "mode": "host"}


def _sources(service: dict[str, Any]) -> list[str]:
    return [
        volume.get("source", "") if isinstance(volume, dict) else volume.partition(":")[0]
        for volume in service["volumes"]
    ]


def _plain(about: dict[str, Any] | None) -> dict[str, Any]:
    return {
        key: value for key, value in (about or {}).items() if key in {"internal", "driver", "driver_opts", "external"}
    }


def _read(text: str) -> dict[str, Any]:
    try:
        composed: dict[str, Any] = json.loads(text)
    except ValueError:
        import yaml  # type: ignore[import-untyped]  # noqa: PLC0415  # only the older docker-compose writes YAML, and it comes with this package

        composed = yaml.safe_load(text)
    return composed


if __name__ == "__main__":
    print(json.dumps(stack_file(_read(sys.stdin.read()), sys.argv[1:]), indent=2))
