"""Hold the server under attack, tell what it answered, and look after each attack whether it still serves."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.faults.clients import Answer, NoAnswer, ask, connected, is_own_mask, picture, read_answer
from tests.faults.server import Server, serving

PATIENCE = 150.0
"""Seconds after which an attack is given up, if the server has not ended it by then."""

MOST_BYTES = 8 << 30
"""Memory beyond which the server is killed by us, before the system kills something else."""

_GOOD = 7
_TICK = 0.05
_BUSY = 0.5
_PRIVATE = re.compile(
    rb"Traceback|File \\?\"|site-packages|/home/|/root|/tmp|\.py\b|\.so\b"
    rb"|libtiff|libjpeg|PIL\b|[Pp]ydantic|[Ss]tarlette|numpy"
)
_DELIBERATE = frozenset({"queue-full", "too-many-connections", "deadline-exceeded", "model-failed", "model-not-ready"})


@dataclass(frozen=True, slots=True)
class Attack:
    """Hold what is done, in words and as a coroutine that tells what came of it; ``make`` gives it what is sent."""

    name: str
    sent: str
    run: Callable[[Target, bytes], Awaitable[str]]
    make: Callable[[], bytes] = bytes


@dataclass(frozen=True, slots=True)
class Row:
    """Hold what an attack did: memory is the peak during it, beyond what there was before."""

    attack: Attack
    told: str
    num_bytes: int
    grown_mb: float
    slowest_probe: float
    after: str
    alarms: Sequence[str]

    def __str__(self) -> str:
        """Write a row of the table."""
        cells = (
            self.attack.name,
            ", ".join(filter(None, (self.attack.sent, _size(self.num_bytes)))),
            "; ".join((self.told, *(f"**{alarm}**" for alarm in self.alarms))),
            f"{self.grown_mb:+.0f}",
            f"{1000 * self.slowest_probe:.0f}",
            self.after,
        )
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


@dataclass(slots=True)
class Target:
    """Hold a server that can be started anew, and what was strange of late."""

    folder: Path
    settings: dict[str, object]
    headers: dict[str, str] = field(default_factory=dict)
    alarms: list[str] = field(default_factory=list)
    _server: Server | None = None
    _stack: ExitStack = field(default_factory=ExitStack)
    _num_tracebacks: int = 0
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def server(self) -> Server:
        """Give the server that runs."""
        assert self._server is not None
        return self._server

    @property
    def url(self) -> str:
        """Give its address."""
        return self.server.url

    @contextmanager
    def running(self) -> Iterator[Target]:
        """Run it, and end it in the end."""
        with self._stack:
            self.restart()
            yield self

    def restart(self) -> None:
        """End the server if there is one, and start another."""
        self._stack.close()
        log = self.folder / f"server{next(self._numbers)}.log"
        self._server = self._stack.enter_context(serving(log, **self.settings))
        self._num_tracebacks = 0
        self.server.post("/segment", picture(_GOOD), **self.headers)

    async def attempt(self, attack: Attack) -> Row:
        """Do it, and tell what came of it; a server that is not what it was is replaced."""
        content = await asyncio.to_thread(attack.make)
        self.alarms.clear()
        self.server.forget_peak()
        before = self.server.resident_bytes()
        probes: list[float] = []
        watching = asyncio.create_task(self._watch(probes))
        try:
            async with asyncio.timeout(PATIENCE):
                told = await attack.run(self, content)
        except TimeoutError:
            told = f"no end after {PATIENCE:g} s"
            self.alarms.append("given up")
        except AssertionError as error:  # of the waiting for what has to come
            told = str(error)
            self.alarms.append("given up")
        except OSError as error:
            told = f"connection lost ({type(error).__name__})"
        watching.cancel()
        await asyncio.wait({watching})
        peak = self.server.peak_bytes() if self.server.is_alive else MOST_BYTES
        after = await self._after()
        self._look_for_tracebacks()
        row = Row(attack, told, len(content), (peak - before) / 1e6, max(probes, default=0.0), after, [*self.alarms])
        if after != "serves":
            await asyncio.to_thread(self.restart)
        return row

    async def send(self, raw: bytes, *, patience: float = PATIENCE) -> str:
        """Send bytes on a connection of their own, and tell what was answered."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(patience), connected(self.url) as (reader, writer):
                writer.write(raw)
                with suppress(ConnectionError):
                    await writer.drain()
                return self.tell(await read_answer(reader, started))
        except NoAnswer as error:
            return f"no HTTP answer: {error} ({1000 * (time.monotonic() - started):.0f} ms)"

    async def post(self, content: bytes, *, path: str = "/segment", **headers: str) -> str:
        """Post a body, and tell what was answered."""
        try:
            return self.tell(await ask(self.url, content, path=path, patience=PATIENCE, **{**self.headers, **headers}))
        except NoAnswer as error:
            return f"no HTTP answer: {error}"

    def tell(self, answer: Answer) -> str:
        """Put an answer in words, and note what should not be in one."""
        name = problem_name(answer)
        if answer.status >= 500 and name not in _DELIBERATE:
            self.alarms.append(f"{answer.status} {name}")
        if answer.headers.get("content-type", "").endswith("json") and (found := _PRIVATE.search(answer.content)):
            self.alarms.append(f"private words: {found[0].decode()}")
        if "x-evil" in answer.headers:
            self.alarms.append("a header was injected")
        return f"{answer.status} {name}, {1000 * answer.seconds:.0f} ms".replace(" ,", ",")

    async def is_good(self, *, patience: float = 60.0) -> bool:
        """Ask for a mask, and say whether it came and is right."""
        with suppress(OSError, TimeoutError):
            answer = await ask(self.url, picture(_GOOD), patience=patience, **self.headers)
            return answer.status == 200 and is_own_mask(answer, _GOOD)
        return False

    def cpu_seconds(self) -> float:
        """Give the time that the server has computed since its start."""
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def _watch(self, seen: list[float]) -> None:
        """Ask for /healthz again and again, and note how long each took; kill the server before it takes all memory."""
        while self.server.is_alive:
            seen.append(0.0)
            started = time.monotonic()
            asking = asyncio.create_task(self._ask_for_health())
            try:
                while not asking.done() and self.server.is_alive:
                    await asyncio.wait({asking}, timeout=_TICK)
                    if self.server.resident_bytes() > MOST_BYTES:
                        self.alarms.append(f"killed by us at {MOST_BYTES >> 30} GiB")
                        self.server.end()
                        return
            finally:
                seen[-1] = time.monotonic() - started
                asking.cancel()
            await asyncio.sleep(_TICK)

    async def _ask_for_health(self) -> None:
        with suppress(OSError):
            async with connected(self.url) as (reader, writer):
                writer.write(b"GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
                await reader.read()

    async def _after(self) -> str:
        if not self.server.is_alive:
            return "gone"
        if not await self.is_good():
            return "**does not serve**"
        before = self.cpu_seconds()
        await asyncio.sleep(_BUSY)
        return "serves" if self.cpu_seconds() - before < _BUSY / 2 else "**serves, but still computes**"

    def _look_for_tracebacks(self) -> None:
        found = self.server.log_text().count('"traceback"')
        if found > self._num_tracebacks:
            self.alarms.append(f"{found - self._num_tracebacks} tracebacks in the log")
        self._num_tracebacks = found


def posting(name: str, sent: str, make: Callable[[], bytes], *, path: str = "/segment", **headers: str) -> Attack:
    """Give the attack that posts what ``make`` gives."""

    async def run(target: Target, content: bytes) -> str:
        return await target.post(content, path=path, **headers)

    return Attack(name, sent, run, make)


def problem_name(answer: Answer) -> str:
    """Give the short name of what went wrong, or nothing."""
    if answer.status < 400:
        return ""
    try:
        body = json.loads(answer.content)
    except ValueError:
        return f"({answer.headers.get('content-type')})"
    kind = str(body.get("type", "v2")) if isinstance(body, dict) else "?"
    return "" if kind == "about:blank" else kind.removeprefix("urn:problem-type:segserve:")


def summed_up(told: Sequence[str]) -> str:
    """Tell how often each outcome came, without its time."""
    outcomes = Counter(re.sub(r", \d+ ms$", "", one) for one in told)
    return ", ".join(f"{number} x {outcome}" for outcome, number in outcomes.most_common())


def _size(num_bytes: int) -> str:
    if num_bytes < 1000:
        return f"{num_bytes} B" if num_bytes else ""
    return f"{num_bytes / 1e3:.0f} kB" if num_bytes < 1e6 else f"{num_bytes / 1e6:.1f} MB"
