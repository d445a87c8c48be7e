import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model_zoo.checkpoint import load
from service.runtimes import RUNTIMES
from service.runtimes.openvino import compile_openvino
from service.settings import Settings

pytest.importorskip("openvino")

OUTLIVE = """
import faulthandler, gc, signal, subprocess, sys, threading
from pathlib import Path
import torch
from model_zoo.checkpoint import load
from service.runtimes import RUNTIMES
from service.settings import Settings

faulthandler.enable()  # which gives this thread a stack for signals
kept = [RUNTIMES["openvino"](load(Path(sys.argv[1])), torch.device("cpu"), Settings())]
thread = threading.Thread(target=lambda: (kept.clear(), gc.collect()))
thread.start()
thread.join()
told = []
signal.signal(signal.SIGCHLD, lambda *_: told.append("a child has ended"))
subprocess.run([sys.executable, "-c", ""])
print(*told)
"""
"""Build a runtime in the main thread, let it go in another one, and take a signal."""


def test_a_signal_after_a_network_has_gone_harms_nobody(checkpoints: Path) -> None:
    words = [sys.executable, "-c", OUTLIVE, str(checkpoints / "tiny.safetensors")]

    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603  # fixed words

    assert (done.returncode, done.stdout) == (0, "a child has ended\n"), done.stderr


def test_it_computes_in_bfloat16_or_says_why_not(checkpoints: Path) -> None:
    runtime = RUNTIMES["openvino"](
        load(checkpoints / "tiny.safetensors"), torch.device("cpu"), Settings(precision="bfloat16")
    )

    assert (runtime.precision == "bfloat16") == (runtime.precision_note is None)
    assert compile_openvino(b"", 1, "float16") is None
