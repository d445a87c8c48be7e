"""Put the service through what was done to seven other servers, and print what it did, one line a test.

Run from the repository's root: ``python -m benchmarks.behaviour``. The null runtime takes 0.2 s for a batch of up to 8,
so that no result depends on how fast the machine is. The latency of refusals is measured by ``refusals.py``.
"""

from __future__ import annotations

import asyncio
import platform
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
from PIL import Image

from tests.faults.clients import Answer, ask, connected, is_own_mask, picture, request, together
from tests.faults.server import Server, launched, serving, until
from tests.service.fakes import encode

NULL = {"null_batch_seconds": 0.2, "null_fail_color": "ff00ff", "max_batch_size": 8}
POISON = encode(Image.new("RGB", (40, 30), (255, 0, 255)))
FORWARDED = "segserve_images_forwarded_total"


def main() -> None:
    """Run the tests, each on a server of its own."""
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with serving(log, **NULL) as server:
            print("poison:", asyncio.run(poison(server)))
        with serving(log, **NULL) as server:
            print("disconnect:", disconnect(server))
        with serving(log, **NULL) as server:
            print("drain:", asyncio.run(drain(server)))
        with serving(log, **NULL) as server:
            print("70 MB body:", large_body(server))
        print("failed load:", failed_load(log))


async def poison(server: Server) -> str:
    """Have eight images gather in one batch, of which one fails."""
    plug = asyncio.create_task(ask(server.url, picture(9)))
    await asyncio.to_thread(until, lambda: server.metric("segserve_in_flight") == 1)
    *innocents, guilty = await together([ask(server.url, image) for image in [*map(picture, range(7)), POISON]])
    await plug
    after = await ask(server.url, picture(1))
    num_good = sum(answer.status == 200 and is_own_mask(answer, index) for index, answer in enumerate(innocents))
    return f"{num_good} of 7 innocents have their own mask, the bad one {guilty.status}, the next {after.status}"


def disconnect(server: Server) -> str:
    """Have 40 clients send an image and hang up after 0.15 s."""

    async def leave(index: int) -> None:
        async with connected(server.url) as (_, writer):
            writer.write(request(picture(index)))
            await asyncio.sleep(0.15)

    async def all_leave() -> None:
        await together([leave(index) for index in range(40)])

    asyncio.run(all_leave())
    until(lambda: server.metric("segserve_visitors") == 0)
    time.sleep(1)  # for what may be on the device
    return f"{server.metric(FORWARDED):.0f} of 40 images computed for nobody"


async def drain(server: Server) -> str:
    """Send SIGTERM with 24 in flight."""
    asking = [asyncio.create_task(ask(server.url, picture(index))) for index in range(24)]
    await asyncio.to_thread(until, lambda: server.metric("segserve_visitors") == 24)
    started = time.monotonic()
    server.signal(signal.SIGTERM)
    answers: list[Answer] = await asyncio.gather(*asking)
    code = await asyncio.to_thread(server.wait)
    statuses = dict(Counter(answer.status for answer in answers))
    left_over = len(server.processes())
    return f"{statuses}, exit code {code} after {time.monotonic() - started:.1f} s, {left_over} processes left"


def large_body(server: Server) -> str:
    """Send 70 MB, with their length declared and in chunks."""
    server.post("/segment", picture(1))
    server.forget_peak()
    before = server.peak_bytes()
    told = []
    for body in (bytes(70_000_000), iter([bytes(1_000_000)] * 70)):
        started = time.monotonic()
        answer = httpx.post(f"{server.url}/segment", content=body, headers={"Content-Type": "image/png"}, timeout=60)
        grown = (server.peak_bytes() - before) / (1 << 20)
        told.append(f"{answer.status_code} after {time.monotonic() - started:.2f} s, peak +{grown:.1f} MiB")
    return " (declared), ".join(told) + " (chunks; a body may have 32 MiB)"


def failed_load(log: Path) -> str:
    """Start with a model that cannot be loaded."""
    with launched(log, null_fail_load=1) as server:
        until(lambda: bool(server.events("model failed")))
        (model,) = server.get("/models").json()["models"]
        statuses = [server.get(path).status_code for path in ("/healthz", "/readyz")]
        answer = server.post("/segment", picture(1)).status_code
    with launched(log, null_fail_load=1, strict=1) as server:
        code = server.wait()
    probes = f"healthz, readyz {statuses}, /segment {answer}, /models says {model['state']}: {model['problem']}"
    return f"{probes}; strict: exit code {code}"


if __name__ == "__main__":
    main()
