"""Serve with TorchServe: one worker, its own batching. Writes archive and settings, then becomes the server."""

import json
import os
import subprocess
import sys
from pathlib import Path

import ts

from benchmarks.peers.peer import Task, free_port, read_task

HANDLER = Path(__file__).with_name("torchserve_handler.py")


def main(port: int) -> None:
    """Serve on a port."""
    folder = Path("runs/peers/torchserve/served") / str(port)
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.update(LOG_LOCATION=str(folder / "logs"), METRICS_LOCATION=str(folder / "logs"))
    _archive(folder)
    settings = folder / "config.properties"
    settings.write_text("".join(f"{name}={value}\n" for name, value in _settings(port, read_task(os.environ)).items()))
    home = Path(ts.__file__).parent
    # As ``torchserve --foreground`` starts it; that would stay beside it and not pass signals on.
    words = ["java", f"-Dmodel_server_home={home.parent}", *_java_options(folder), "-cp", f".:{home}/frontend/*"]
    words += ["org.pytorch.serve.ModelServer", "--python", sys.executable, "-f", str(settings), "-s", str(folder)]
    os.execvp(words[0], [*words, "-ncs", "--disable-token-auth", "-m", "segment=segment.mar"])  # noqa: S606


def _archive(folder: Path) -> None:
    program = Path(sys.executable).with_name("torch-model-archiver")
    words = ["--model-name", "segment", "--version", "1.0", "--handler", HANDLER, "--export-path", folder, "--force"]
    subprocess.run([program, *words], check=True)  # noqa: S603  # no word of another


def _settings(port: int, task: Task) -> dict[str, object]:
    model = {
        "defaultVersion": True,
        "marName": "segment.mar",
        "minWorkers": 1,
        "maxWorkers": 1,
        "batchSize": task.max_batch_size,
        "maxBatchDelay": round(1000 * task.max_delay),
        "responseTimeout": 300,
    }
    return {
        "inference_address": f"http://127.0.0.1:{port}",
        "management_address": f"http://127.0.0.1:{free_port()}",
        "metrics_address": f"http://127.0.0.1:{free_port()}",
        "grpc_inference_port": free_port(),
        "grpc_management_port": free_port(),
        "job_queue_size": 1024,
        "default_workers_per_model": 1,
        "disable_system_metrics": "true",
        "models": json.dumps({"segment": {"1.0": model}}),
    }


def _java_options(folder: Path) -> list[str]:
    log = folder / "log4j2.xml"
    log.write_text(_LOGGING)
    return [f"-Dlog4j.configurationFile=file://{log.resolve()}"]


_LOGGING = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders>
    <Console name="stderr" target="SYSTEM_ERR"><PatternLayout pattern="%d %-5p %c - %m%n"/></Console>
  </Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="stderr"/></Root></Loggers>
</Configuration>
"""


if __name__ == "__main__":
    main(int(sys.argv[1]))
