"""Send pictures to a server as clients do, from a process of their own, and tell what became of them.

Run: ``python -m benchmarks.serving.load PLAN.json``; the findings are printed as JSON. Nothing but Python's own library
is imported, and nothing is done with an answer but to see that it is whole, has the status 200 and holds a PNG.

*Closed loop*: each of so many clients sends its next picture once it has the answer to the one before. *Open loop*:
pictures are sent at times that were drawn before (a Poisson process), whether answers come or not, each on a connection
that is free or on a new one; latency counts from the time that was drawn, so that a server which keeps everybody
waiting cannot hide it.

What is counted ends within a window that begins after a warm-up. In an open loop the latencies are of all pictures due
in the window; those that were refused or never answered count as slower than any other.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.serving.processes import cpu_seconds
from benchmarks.serving.wire import Answer, AnswerReader, BadAnswer

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"iVBORw0KGgo")  # as it is, and in base64, for answers that are JSON
_AFTER_FAILURE = 0.05  # seconds that a client of a closed loop waits, not to do nothing but fail


@dataclass(frozen=True, slots=True)
class Plan:
    """Say what is sent where; ``clients`` is of a closed loop, ``rate`` a second of an open one.

    The window is at least ``seconds`` long, and in a closed loop as much longer, up to ``most_seconds``, as it takes to
    see ``least`` answers. ``roots`` are the processes below which the servers' processes are. Several servers are on
    ports that follow each other, and get the pictures in turn.
    """

    port: int
    requests: Sequence[str]
    clients: int | None = None
    rate: float | None = None
    warm_up: float = 1.0
    seconds: float = 5.0
    most_seconds: float = 30.0
    least: int = 1
    patience: float = 60.0
    seed: int = 0
    roots: Sequence[int] = ()
    wants_png: bool = True
    num_ports: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """Hold what became of the pictures of a window; latencies in seconds, None where too many failed to tell.

    ``answered_p50`` and ``answered_p99`` leave out what failed. ``lateness`` is by how much the client itself sent
    later than was drawn: the 99th percentile.
    """

    seconds: float
    answered: int
    failures: dict[str, int]
    images_per_second: float
    p50: float | None
    p90: float | None
    p99: float | None
    slowest: float | None
    answered_p50: float | None
    answered_p99: float | None
    cpu_seconds: float
    client_cpu_seconds: float
    lateness: float
    connections: int


@dataclass(slots=True)
class Sample:
    """Hold when a picture was due, when it was sent, and when and how that ended: well if ``failure`` is None."""

    due: float
    sent: float
    ended: float = math.inf
    failure: str | None = "no answer"


@dataclass(slots=True)
class Window:
    """Hold when counting began and ended, and the processors' time of server and client then."""

    times: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    own_cpu: list[float] = field(default_factory=list)

    def mark(self, roots: Sequence[int]) -> None:
        """Begin, or end."""
        self.times.append(time.monotonic())
        self.cpu.append(sum(map(cpu_seconds, roots)))
        self.own_cpu.append(time.process_time())


def main(words: Sequence[str]) -> None:
    """Do what a plan's file says."""
    plan = Plan(**json.loads(Path(words[0]).read_text(encoding="utf-8")))
    gc.disable()
    print(json.dumps(asdict(asyncio.run(run(plan)))))


async def run(plan: Plan) -> Found:
    """Send what the plan says, wait for the answers, and tell."""
    client = Client(plan)
    window = await (open_loop(client, plan) if plan.rate else closed_loop(client, plan))
    await client.finish(plan.patience)
    return found(client.samples, window, by_due_time=bool(plan.rate), connections=client.num_connections)


def poisson_times(rate: float, seconds: float, seed: int) -> list[float]:
    """Draw the times, from 0 on, of events that come independently of each other at a rate a second."""
    draw = random.Random(seed)  # noqa: S311  # no secret
    times = []
    now = draw.expovariate(rate)
    while now < seconds:
        times.append(now)
        now += draw.expovariate(rate)
    return times


class Client:
    """Send the requests of a plan, one after the other in a fixed order, over connections that are kept."""

    def __init__(self, plan: Plan) -> None:
        self.samples: list[Sample] = []
        self.num_connections = 0
        self._requests = [Path(path).read_bytes() for path in plan.requests]
        self._wants_png = plan.wants_png
        self._idle: dict[int, list[_Connection]] = {plan.port + number: [] for number in range(plan.num_ports)}
        self._waiting: set[asyncio.Task[Sample]] = set()

    def start(self, due: float) -> asyncio.Task[Sample]:
        """Send the next picture now, though it may have been due before; the task ends with the answer."""
        sample, number = Sample(due, time.monotonic()), len(self.samples)
        request = self._requests[number % len(self._requests)]
        port = list(self._idle)[number % len(self._idle)]
        self.samples.append(sample)
        task = asyncio.get_running_loop().create_task(self._send(sample, request, port))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        return task

    async def finish(self, patience: float) -> None:
        """Wait for the answers that are still to come, but not for ever, and hang up."""
        await _end(self._waiting, patience)
        for idle in self._idle.values():
            for connection in list(idle):
                connection.close()

    async def _send(self, sample: Sample, request: bytes, port: int) -> Sample:
        idle = self._idle[port]
        try:
            connection = idle.pop() if idle else await self._connect(port)
            answer = await connection.ask(request)
        except BadAnswer:
            sample.failure = "no HTTP"
        except OSError as error:
            sample.failure = "connection lost" if isinstance(error, ConnectionError) else "no connection"
        else:
            sample.failure = _complaint(answer, wants_png=self._wants_png)
            if answer.keeps_alive and not connection.is_closed:
                idle.append(connection)
        sample.ended = time.monotonic()
        return sample

    async def _connect(self, port: int) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: _Connection(self._idle[port]), "127.0.0.1", port)
        self.num_connections += 1
        return connection


async def closed_loop(client: Client, plan: Plan) -> Window:
    """Have so many clients ask one after the other until the window is over."""
    num_clients = plan.clients or 0
    window, is_over = Window(), asyncio.Event()
    started = time.monotonic()
    warm_up, counted = 0, 0

    def count() -> None:
        """Begin the window with an answer after the warm-up, and end it with one, too."""
        nonlocal warm_up, counted
        now = time.monotonic()
        if not window.times:
            warm_up += 1
            if now >= started + plan.warm_up and warm_up >= num_clients:
                window.mark(plan.roots)
            return
        counted += 1
        if now >= window.times[0] + plan.seconds and counted >= plan.least:
            is_over.set()

    async def ask() -> None:
        while not is_over.is_set():
            sample = await client.start(time.monotonic())
            if not is_over.is_set():
                count()
            if sample.failure:
                await asyncio.sleep(_AFTER_FAILURE)

    tasks = [asyncio.create_task(ask()) for _ in range(num_clients)]
    with suppress(TimeoutError):
        async with asyncio.timeout(plan.warm_up + plan.most_seconds):
            await is_over.wait()
    is_over.set()
    for _ in range(2 - len(window.times)):  # both, if not even the warm-up came to its end
        window.mark(plan.roots)
    await _end(tasks, plan.patience)
    return window


async def open_loop(client: Client, plan: Plan) -> Window:
    """Send pictures at times that were drawn before."""
    assert plan.rate is not None
    window, loop = Window(), asyncio.get_running_loop()
    total = plan.warm_up + plan.seconds
    times = poisson_times(plan.rate, total, plan.seed)
    started = loop.time()  # the same clock as time.monotonic
    loop.call_at(started + plan.warm_up, window.mark, plan.roots)
    for due in times:
        await _until(started + due)
        client.start(started + due)
    await _until(started + total)
    window.mark(plan.roots)
    return window


def found(samples: Sequence[Sample], window: Window, *, by_due_time: bool, connections: int) -> Found:
    """Count what falls into the window."""
    start, stop = window.times
    length = stop - start
    ended = [sample for sample in samples if start < sample.ended <= stop]
    unanswered = [sample for sample in samples if math.isinf(sample.ended)]
    seen = [sample for sample in samples if start <= sample.due < stop] if by_due_time else ended + unanswered
    latencies = [math.inf if sample.failure else sample.ended - sample.due for sample in seen]
    answered = [sample.ended - sample.due for sample in ended if sample.failure is None]
    return Found(
        seconds=length,
        answered=len(answered),
        failures=dict(Counter(sample.failure for sample in seen if sample.failure)),
        images_per_second=len(answered) / length if length else 0.0,
        p50=percentile(latencies, 50),
        p90=percentile(latencies, 90),
        p99=percentile(latencies, 99),
        slowest=percentile(latencies, 100),
        answered_p50=percentile(answered, 50),
        answered_p99=percentile(answered, 99),
        cpu_seconds=window.cpu[1] - window.cpu[0],
        client_cpu_seconds=window.own_cpu[1] - window.own_cpu[0],
        lateness=percentile([sample.sent - sample.due for sample in seen], 99) or 0.0,
        connections=connections,
    )


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Give the smallest value that so many percent are not above; None if that is infinite, or there are none."""
    if not values:
        return None
    value = sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]
    return None if math.isinf(value) else value


class _Connection(asyncio.Protocol):
    """Carry one request after the other to its answer."""

    def __init__(self, idle: list[_Connection]) -> None:
        self.is_closed = False
        self._idle = idle
        self._reader = AnswerReader()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None

    def ask(self, request: bytes) -> asyncio.Future[Answer]:
        """Send a request; the future is its answer."""
        self._answer = asyncio.get_running_loop().create_future()
        assert self._transport is not None
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            answers = self._reader.feed(data)
        except BadAnswer as error:
            self._fail(error)
            return
        for answer in answers:
            self._give(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        if self in self._idle:
            self._idle.remove(self)
        if answer := self._reader.end():
            self._give(answer)
        else:
            self._fail(exc if isinstance(exc, ConnectionError) else ConnectionResetError("it was closed"))

    def _give(self, answer: Answer) -> None:
        waiting, self._answer = self._answer, None
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def _fail(self, error: Exception) -> None:
        waiting, self._answer = self._answer, None
        if waiting is not None and not waiting.done():
            waiting.set_exception(error)
        self.close()


def _complaint(answer: Answer, *, wants_png: bool) -> str | None:
    """Say what is wrong with an answer, if anything is."""
    if answer.status != 200:
        return f"status {answer.status}"
    return None if not wants_png or any(signature in answer.body for signature in _SIGNATURES) else "no PNG"


async def _end(tasks: Collection[asyncio.Task[Any]], patience: float) -> None:
    """Wait for tasks for so many seconds, and cancel those that have not ended then."""
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=patience)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def _until(moment: float) -> None:
    """Wait for a moment of the loop's clock; give way to answers even if it is over."""
    await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))


if __name__ == "__main__":
    main(sys.argv[1:])
