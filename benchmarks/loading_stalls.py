"""Time the requests of a model that is in memory, alone and while another model is loaded and unloaded all the time.

Run a server with two models and an admin token, then::

    python benchmarks/loading_stalls.py http://127.0.0.1:8000 a b TOKEN examples/cat.jpg

``a`` is asked by one client, one request after the other; ``b`` is loaded and unloaded. Prints for both phases the
median, the 99th percentile and the longest time, and by how much the longest one grew in forward passes of ``a``.
"""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path
from statistics import median, quantiles
from threading import Event, Thread

import httpx

SECONDS = 20.0


def main() -> None:
    """Measure both phases and print them."""
    url, resident, other, token, picture = sys.argv[1:]
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}")
    with httpx.Client(base_url=url, timeout=60) as client:
        image = Path(picture).read_bytes()
        ask(client, resident, image, seconds=2)  # warm
        alone, passes = ask(client, resident, image, seconds=SECONDS)
        stop, loads = Event(), [0]
        loading = Thread(target=load_and_unload, args=(url, other, token, stop, loads))
        loading.start()
        beside, _ = ask(client, resident, image, seconds=SECONDS)
        stop.set()
        loading.join()
    show("alone", alone)
    show(f"beside {loads[0]} loads", beside)
    growth = (max(beside) - max(alone)) / median(passes)
    print(f"forward pass {1000 * median(passes):.1f} ms; the longest time grew by {growth:.2f} of them")


def ask(client: httpx.Client, model: str, image: bytes, *, seconds: float) -> tuple[list[float], list[float]]:
    """Give the seconds of each request, and those of its forward pass as the server tells them."""
    times, passes = [], []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.perf_counter()
        answer = client.post("/segment", params={"model": model}, content=image, headers={"Content-Type": "image/jpeg"})
        times.append(time.perf_counter() - started)
        answer.raise_for_status()
        stages = dict(stage.split(";dur=") for stage in answer.headers["server-timing"].split(", "))
        passes.append(float(stages["infer"]) / 1000)
    return times, passes


def load_and_unload(url: str, model: str, token: str, stop: Event, loads: list[int]) -> None:
    """Bring a model into memory and take it out again until told to stop."""
    with httpx.Client(base_url=url, timeout=60, headers={"Authorization": f"Bearer {token}"}) as client:
        while not stop.is_set():
            client.post(f"/models/{model}/unload").raise_for_status()
            client.post(f"/models/{model}/load").raise_for_status()
            loads[0] += 1


def show(phase: str, times: list[float]) -> None:
    """Print one line."""
    high = quantiles(times, n=100)[-1]
    print(
        f"{phase}: {len(times)} requests, median {1000 * median(times):.1f} ms, p99 {1000 * high:.1f} ms,"
        f" longest {1000 * max(times):.1f} ms"
    )


if __name__ == "__main__":
    main()
