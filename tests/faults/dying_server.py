"""Serve as ``python -m service`` does, but kill the device's thread on SIGUSR1: run by test_dead_device.py."""

import ctypes
import signal
import sys
import threading
from types import FrameType

from service.__main__ import main


def kill_device_thread(_number: int, _frame: FrameType | None) -> None:
    """Raise SystemExit in the thread, at the next line of Python that it comes to."""
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "device-cpu"]
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit))


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, kill_device_thread)
    sys.exit(main(["serve"]))
