"""Hold the manifests against Kubernetes' own schemas, and against what the service promises."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.settings import Settings

yaml = pytest.importorskip("yaml")
kubernetes_validate = pytest.importorskip("kubernetes_validate")

FOLDER = Path(__file__).parents[2] / "docker/kubernetes"
VERSION = "1.32"
WITHOUT_SCHEMA = {"ScaledObject", "InferenceService", "ServingRuntime"}
"""Of KEDA and KServe, which bring their own."""


def manifests() -> Iterator[dict[str, Any]]:
    for file in sorted([*FOLDER.glob("*.yaml"), *FOLDER.glob("base/*.yaml"), *FOLDER.glob("k*/*.yaml")]):
        yield from (found for found in yaml.safe_load_all(file.read_text()) if found["kind"] != "Kustomization")


def manifest(kind: str, name: str = "segserve") -> dict[str, Any]:
    return next(found for found in manifests() if (found["kind"], found["metadata"]["name"]) == (kind, name))


@pytest.mark.parametrize(
    "found",
    [found for found in manifests() if found["kind"] not in WITHOUT_SCHEMA],
    ids=lambda found: f"{found['kind']}/{found['metadata']['name']}",
)
def test_a_manifest_has_nothing_that_kubernetes_does_not_know(found: dict[str, Any]) -> None:
    kubernetes_validate.validate(found, VERSION, strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("overlay", ["base", "overlays/keda", "overlays/gpu"])
def test_an_overlay_builds_what_kubernetes_knows(overlay: str) -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", FOLDER / overlay], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert {found["metadata"].get("namespace", "segserve") for found in built} == {"segserve"}
    scalers = [found["kind"] for found in built if found["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}]
    assert len(scalers) == 1
    for found in built:
        if found["kind"] not in WITHOUT_SCHEMA:
            kubernetes_validate.validate(found, VERSION, strict=True)


def test_a_pod_is_given_the_time_to_drain() -> None:
    pod = manifest("Deployment")["spec"]["template"]["spec"]
    settings = {entry["name"]: float(entry["value"]) for entry in pod["containers"][0]["env"]}

    drain = settings["SEGSERVE_DRAIN_DELAY"] + settings["SEGSERVE_SHUTDOWN_TIMEOUT"]

    assert pod["terminationGracePeriodSeconds"] > drain + 2


def test_every_probe_asks_a_page_that_there_is() -> None:
    app = create_app(Settings(runtime="null"))
    pages = {getattr(route, "path", None) for route in app.routes} | set(app.openapi()["paths"])
    containers = [
        manifest("Deployment")["spec"]["template"]["spec"]["containers"][0],
        manifest("ServingRuntime")["spec"]["containers"][0],
    ]

    asked = {
        container[probe]["httpGet"]["path"]
        for container in containers
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        if probe in container
    }

    assert asked == {"/startupz", "/readyz", "/healthz", "/v2/health/ready"}
    assert asked - pages == set()


@pytest.mark.parametrize(
    "pod",
    [
        manifest("Deployment")["spec"]["template"]["spec"],
        manifest("Job", "seed-checkpoints")["spec"]["template"]["spec"],
    ],
    ids=["Deployment", "Job"],
)
def test_a_pod_keeps_to_the_restricted_standard(pod: dict[str, Any]) -> None:
    [container] = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert set(container["resources"]) == {"requests", "limits"}
