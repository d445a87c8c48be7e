"""Try keys that are wrong, and pages of other origins."""

from __future__ import annotations

import asyncio
import random
import statistics
import time

from benchmarks.attacks.target import Attack, Target, summed_up
from tests.faults.clients import connected, picture, request

NUM_GUESSES = 1000
_PAGE = "https://evil.example"


def attacks(key: str, token: str) -> list[Attack]:
    """Give those for a server that has this key and this admin token."""

    async def wrong(target: Target, _: bytes) -> str:
        swapped, last = key.swapcase(), key[:-1] + ("a" if key[-1] != "a" else "b")
        guesses = [swapped, last, key[:-1], key + "x", f"{key[:9]} {key[9:]}", "", " ", "\u00e9", "x" * 60_000]
        told = [await target.send(_get("X-API-Key", guess)) for guess in guesses]
        return summed_up([*told, await target.send(_get("Authorization", f"Basic {key}"))])

    async def padded(target: Target, _: bytes) -> str:
        return summed_up(
            [
                await target.send(_get("X-API-Key", f" {key}\t")),
                await target.send(_get("Authorization", f"bEARER  {key} ")),
            ]
        )

    async def elsewhere(target: Target, _: bytes) -> str:
        ways = [f"POST /models/../{path} HTTP/1.1" for path in ("segment", "metrics")]
        ways += ["POST /models/ HTTP/1.1", "POST /models/%2e%2e/segment HTTP/1.1", "GET //metrics HTTP/1.1"]
        ways += ["GET /healthz/../metrics HTTP/1.1", "GET /healthz%2f..%2fmetrics HTTP/1.1", "GET /metrics? HTTP/1.1"]
        return summed_up([await target.send(f"{way}\r\nHost: t\r\nConnection: close\r\n\r\n".encode()) for way in ways])

    async def admin(target: Target, _: bytes) -> str:
        guesses = (key, token.swapcase(), token[:-1], f"{token}x", "")
        return summed_up([
            await target.send(request(b"", path="/models/tiny/unload", Authorization=f"Bearer {guess}"))
            for guess in guesses
        ])  # fmt: skip

    async def timing(target: Target, _: bytes) -> str:
        return await _compare(target, key)

    async def cross(target: Target, _: bytes) -> str:
        opened = [await _allowed(target, raw) for raw in _cross_requests(key)]
        if any(opened):
            target.alarms.append("another origin may read")
        return f"{sum(opened)} of {len(opened)} answers allow the origin"

    return [
        Attack("wrong keys", "other case, one character, shorter, longer, blank inside, none, 60 kB", wrong),
        Attack("right key among blanks", "tab and blanks around it, `bEARER`", padded),
        Attack("around the key", "`POST /models/../metrics`, `//metrics`, `/healthz/../metrics` ...", elsewhere),
        Attack("wrong admin tokens", "a key, other case, shorter, longer, none", admin),
        Attack("time of the comparison", f"{NUM_GUESSES} guesses, first character right or wrong by turns", timing),
        Attack("pages of other origins", "preflight and simple requests, with and without the key", cross),
    ]


async def _compare(target: Target, key: str) -> str:
    """Compare the medians of both kinds of guesses, and those of halves that are drawn at random from both."""
    choices = random.Random(0)  # noqa: S311  # no secret
    near, far = (key[0] + "".join(choices.sample(key[1:], len(key) - 1)), "!" + key[1:])
    times: dict[str, list[float]] = {near: [], far: []}
    async with connected(target.url) as (reader, writer):
        for index in range(NUM_GUESSES):
            guess = (near, far)[index % 2]
            started = time.perf_counter()
            writer.write(f"GET /models HTTP/1.1\r\nHost: t\r\nX-API-Key: {guess}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            await reader.readexactly(length)
            times[guess].append(1e6 * (time.perf_counter() - started))
            assert head.startswith(b"HTTP/1.1 401"), head
    right, wrong = (statistics.median(times[guess]) for guess in (near, far))
    halves = []
    for _ in range(1000):
        mixed = choices.sample(times[near] + times[far], NUM_GUESSES)
        halves.append(statistics.median(mixed[::2]) - statistics.median(mixed[1::2]))
    noise = 1.96 * statistics.pstdev(halves)
    told = (
        f"medians {right:.0f} and {wrong:.0f} µs, difference {right - wrong:+.1f} µs; by chance up to ±{noise:.1f} µs"
    )
    if abs(right - wrong) > 2 * noise:
        target.alarms.append("the time may tell")
    return f"{told} (95 % of random splits)"


def _cross_requests(key: str) -> list[bytes]:
    simple = request(picture(7), Origin=_PAGE, Content_Type="text/plain")
    preflight = (
        f"OPTIONS /segment HTTP/1.1\r\nHost: t\r\nConnection: close\r\nOrigin: {_PAGE}\r\n"
        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-api-key\r\n"
    )
    return [
        simple,
        request(picture(7), Origin=_PAGE, X_API_Key=key),
        request(picture(7), Origin="null", X_API_Key=key),
        f"{preflight}\r\n".encode(),
        f"{preflight}Access-Control-Request-Private-Network: true\r\nX-API-Key: {key}\r\n\r\n".encode(),
    ]


async def _allowed(target: Target, raw: bytes) -> bool:
    async with asyncio.timeout(20), connected(target.url) as (reader, writer):
        writer.write(raw)
        return b"access-control-allow" in (await reader.read()).partition(b"\r\n\r\n")[0].lower()


def _get(name: str, value: str) -> bytes:
    return f"GET /models HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{name}: {value}\r\n\r\n".encode("latin-1")
