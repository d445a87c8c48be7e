"""What is said before the service starts in a container."""

import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "docker/start.py"


@pytest.fixture
def start() -> ModuleType:
    spec = spec_from_file_location("start", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"memory.max": "536870912\n"}, 536870912),
        ({"memory.max": "max\n"}, None),
        ({"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 9223372036854771712),
        ({}, None),
    ],
)
def test_the_memory_limit_of_both_kinds_of_control_groups_is_read(
    start: ModuleType, tmp_path: Path, files: dict[str, str], limit: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert start.memory_limit(tmp_path) == limit


def test_too_little_memory_is_told_with_its_remedy(start: ModuleType) -> None:
    told = start.warning(256 << 20)

    assert "256 MiB" in told
    assert "SEGMENT_MEMORY" in told


@pytest.mark.parametrize("limit", [None, 1 << 30, 1 << 40])
def test_enough_memory_is_not_spoken_of(start: ModuleType, limit: int | None) -> None:
    assert start.warning(limit) is None


def test_the_service_takes_its_place_with_the_same_arguments(tmp_path: Path) -> None:
    service = tmp_path / "segserve"
    service.write_text('#!/bin/sh\necho "$$ $*"\nexit 7\n')
    service.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    process = subprocess.Popen(
        [sys.executable, "-I", str(SCRIPT), "serve", "--port", "1"],
        env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    output, _ = process.communicate(timeout=30)

    assert output == f"{process.pid} serve --port 1\n"
    assert process.returncode == 7
