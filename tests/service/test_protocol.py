"""Speak to the protocol over real sockets, as clients do that no HTTP library would imitate."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import anyio
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from service import protocol
from service.protocol import MAX_HEAD_BYTES, CarefulProtocol

pytestmark = pytest.mark.anyio

GET = b"GET /read HTTP/1.1\r\nHost: test\r\n\r\n"
POST = b"POST /%b HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n"
IDLE_SECONDS = 1
LARGE = 10 << 20
GREAT = 40 << 20  # more than the buffers of both ends take


class App:
    """Read the body and give its length; ``/ignore`` answers without, ``/wait`` when ``go`` is set, ``/great`` much."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        self.deserted = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        num_bytes = 0
        while scope["path"] != "/ignore":
            message = await receive()
            if message["type"] == "http.disconnect":
                self.deserted.set()
                return
            num_bytes += len(message["body"])
            if not message["more_body"]:
                break
        if scope["path"] == "/wait":
            self.begun.set()
            await self._wait(receive)
        body = bytes(GREAT) if scope["path"] == "/great" else b"%d" % num_bytes
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _wait(self, receive: Receive) -> None:
        leaving = asyncio.create_task(self._notice_leaving(receive))
        waiting = asyncio.create_task(self.go.wait())
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        leaving.cancel()

    async def _notice_leaving(self, receive: Receive) -> None:
        await receive()
        self.deserted.set()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        with anyio.fail_after(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            line, *rest = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (header.partition(": ") for header in rest)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        return int(line.split()[1]), headers, body

    async def problem(self) -> tuple[int, str]:
        """Give status and type of an answer that is a problem, after which the server hangs up."""
        status, headers, body = await self.answer()
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        assert await self.rest() == b""
        return status, json.loads(body)["type"].rpartition(":")[2]

    async def rest(self) -> bytes:
        with anyio.fail_after(20):
            return await self.reader.read()


Connect = Callable[[], AbstractAsyncContextManager[Client]]


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def server(app: App) -> AsyncIterator[uvicorn.Server]:
    config = uvicorn.Config(
        app,
        http=CarefulProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=IDLE_SECONDS,
        limit_concurrency=3,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config.port = listener.getsockname()[1]
        serving = asyncio.create_task(server.serve([listener]))
        with anyio.fail_after(20):
            while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
                await anyio.sleep(0.01)
        yield server
        app.go.set()
        server.should_exit = True
        await serving


@pytest.fixture
def connect(server: uvicorn.Server) -> Connect:
    @asynccontextmanager
    async def connecting() -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.config.port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    return connecting


async def test_a_connection_serves_one_request_after_the_other(connect: Connect) -> None:
    async with connect() as client:
        await client.send(GET)
        first = await client.answer()
        await client.send(POST % (b"read", 5) + b"hello")
        second = await client.answer()

    assert (first[0], first[2], second[0], second[2]) == (200, b"0", 200, b"5")


async def test_pipelined_requests_are_answered_in_order(connect: Connect) -> None:
    async with connect() as client:
        await client.send(b"".join(POST % (b"read", size) + bytes(size) for size in (1, 2, 3)))
        answers = [await client.answer() for _ in range(3)]

    assert [body for _, _, body in answers] == [b"1", b"2", b"3"]


async def test_a_chunked_body_is_read_and_what_trails_it_is_ignored(connect: Connect) -> None:
    async with connect() as client:
        head = b"POST /read HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send(head + b"5\r\nhello\r\n1\r\n!\r\n0\r\nHost: evil\r\n\r\n" + GET)
        first, second = await client.answer(), await client.answer()

    assert (first[2], second[2]) == (b"6", b"0")


async def test_a_client_of_http_1_0_is_answered_and_the_connection_ends(connect: Connect) -> None:
    async with connect() as client:
        await client.send(b"GET /read HTTP/1.0\r\n\r\n")
        status, _, _ = await client.answer()
        rest = await client.rest()

    assert (status, rest) == (200, b"")


async def test_a_body_that_is_waited_for_is_asked_for(connect: Connect) -> None:
    async with connect() as client:
        await client.send(b"POST /read HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        go_on = await client.answer()
        await client.send(b"hello")
        answer = await client.answer()

    assert (go_on[0], answer[0], answer[2]) == (100, 200, b"5")


async def test_an_answer_instead_of_a_go_on_ends_the_connection(connect: Connect) -> None:
    async with connect() as client:
        await client.send(b"POST /ignore HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        status, _, _ = await client.answer()
        rest = await client.rest()

    assert (status, rest) == (200, b"")


async def test_a_wish_for_another_protocol_is_passed_over(connect: Connect) -> None:
    async with connect() as client:
        head = b"POST /read HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\n"
        await client.send(head + b"hello")
        status, _, body = await client.answer()

    assert (status, body) == (200, b"5")


async def test_a_client_that_ends_its_own_half_is_answered(connect: Connect, app: App) -> None:
    async with connect() as client:
        await client.send(POST % (b"wait", 5) + b"hello")
        client.writer.write_eof()
        await app.begun.wait()
        await anyio.sleep(0.2)  # long enough to be taken for one who has gone
        app.go.set()
        answer = await client.answer()
        rest = await client.rest()

    assert (answer[0], answer[2], rest) == (200, b"5", b"")


async def test_a_client_that_ends_its_half_after_several_requests_gets_all_answers(connect: Connect) -> None:
    async with connect() as client:
        await client.send(GET + POST % (b"read", 5) + b"hello")
        client.writer.write_eof()
        answers = [await client.answer() for _ in range(2)]

    assert [body for _, _, body in answers] == [b"0", b"5"]


@pytest.mark.parametrize("abruptly", [False, True])
async def test_a_client_that_has_gone_is_noticed_while_its_answer_is_made(
    connect: Connect, app: App, *, abruptly: bool
) -> None:
    async with connect() as client:
        await client.send(POST % (b"wait", 5) + b"hello")
        await app.begun.wait()
        linger = client.writer.get_extra_info("socket")
        linger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", abruptly, 0))

    with anyio.fail_after(5):
        await app.deserted.wait()


async def test_a_client_that_goes_amid_its_body_is_noticed(connect: Connect, app: App) -> None:
    async with connect() as client:
        await client.send(POST % (b"read", 5) + b"hel")
        client.writer.write_eof()

        with anyio.fail_after(5):
            await app.deserted.wait()


async def test_a_large_body_that_nobody_reads_does_not_cost_its_client_the_answer(connect: Connect) -> None:
    async with connect() as client:
        await client.send(POST % (b"ignore", LARGE) + bytes(LARGE))
        first = await client.answer()
        await client.send(GET)
        second = await client.answer()

    assert (first[0], second[0]) == (200, 200)


async def test_a_large_body_does_not_cost_its_client_the_last_answer(connect: Connect) -> None:
    async with connect() as client:
        head = b"POST /ignore HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % LARGE
        await client.send(head + bytes(LARGE))
        answer = await client.answer()
        rest = await client.rest()

    assert (answer[0], answer[1]["connection"], rest) == (200, "close", b"")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"rubbish\r\n\r\n",
        b"GET /read HTTP/1.1\r\n\r\n",
        b"GET /read HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /read HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
        b"GET /read HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: five\r\n\r\nhello",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\nhello",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nhello",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n",
    ],
)
async def test_what_cannot_be_read_or_be_read_in_two_ways_is_a_400(connect: Connect, request_bytes: bytes) -> None:
    async with connect() as client:
        await client.send(request_bytes)

        assert await client.problem() == (400, "broken-request")


async def test_rubbish_after_a_request_does_not_take_its_answer(connect: Connect) -> None:
    async with connect() as client:
        await client.send(POST % (b"read", 5) + b"hello" + b"rubbish\r\n\r\n")
        status, _, body = await client.answer()
        rest = await client.rest()

    assert (status, body, rest) == (200, b"5", b"")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /read HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000,
        b"GET /read HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /read HTTP/1.1\r\nHost: a\r\n" + b"X: x\r\n" * 50_000,
        b"GET /" + b"x" * 70_000,
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /read HTTP/1.1\r\nHost: a\r\nX: "
        + b"x" * 100_000
        + b"\r\nContent-Length: 1000000\r\n\r\n"
        + bytes(1000),
        b"\r\n" * 100_000,
    ],
)
async def test_a_head_that_is_too_large_is_a_431(connect: Connect, head: bytes) -> None:
    async with connect() as client:
        await client.send(head)

        assert await client.problem() == (431, "head-too-large")


async def test_what_trails_a_body_is_bounded_too(connect: Connect, app: App) -> None:
    async with connect() as client:
        await client.send(b"POST /read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: ")
        await client.send(b"x" * 8 * MAX_HEAD_BYTES)

        assert await client.problem() == (431, "head-too-large")
        with anyio.fail_after(5):
            await app.deserted.wait()


async def test_one_connection_too_many_is_told_when_to_come_back(connect: Connect) -> None:
    async with connect(), connect(), connect() as third:
        await third.send(GET)
        status, headers, body = await third.answer()
        rest = await third.rest()

    assert (status, headers["retry-after"], rest) == (503, "1", b"")
    assert json.loads(body)["type"] == "urn:problem-type:segserve:too-many-connections"


async def test_probes_are_answered_on_however_many_connections(connect: Connect) -> None:
    async with connect(), connect(), connect() as third:
        await third.send(GET.replace(b"/read", b"/healthz", 1))
        status, _, _ = await third.answer()

    assert status == 200


async def test_a_silent_connection_is_closed(connect: Connect) -> None:
    async with connect() as client:
        assert await client.rest() == b""


async def test_a_connection_that_has_been_idle_is_closed(connect: Connect) -> None:
    async with connect() as client:
        await client.send(GET)
        await client.answer()

        assert await client.rest() == b""


@pytest.mark.parametrize("before", [b"", GET, POST % (b"ignore", 5) + b"hello"])
@pytest.mark.parametrize(("begin", "dribble"), [(b"GET /read HTTP/1.1\r\nX: ", b"x"), (b"", b"\r\n")])
async def test_a_head_that_dribbles_in_is_given_up(
    connect: Connect, before: bytes, begin: bytes, dribble: bytes
) -> None:
    async def dribbling(client: Client) -> None:
        while True:
            await client.send(dribble)
            await anyio.sleep(IDLE_SECONDS / 5)

    async with connect() as client, anyio.create_task_group() as group:
        await client.send(before)
        if before:
            await client.answer()
        await client.send(begin)
        group.start_soon(dribbling, client)
        assert await client.problem() == (408, "head-too-slow")
        group.cancel_scope.cancel()


async def test_whoever_sends_its_head_piece_by_piece_but_in_time_is_served(connect: Connect) -> None:
    async with connect() as client:
        for byte in GET:
            await client.send(bytes([byte]))
        answer = await client.answer()

    assert answer[0] == 200


@pytest.mark.parametrize("sent", [b"", b"GET /re", GET])
async def test_a_connection_that_asks_for_nothing_does_not_hold_up_the_end(
    connect: Connect, server: uvicorn.Server, sent: bytes
) -> None:
    async with connect() as client:
        await client.send(sent)
        if sent.endswith(b"\r\n\r\n"):
            await client.answer()
        server.should_exit = True
        with anyio.fail_after(5):
            assert await client.rest() == b""


GREAT_GET = b"GET /great HTTP/1.1\r\nHost: test\r\n\r\n"


async def test_who_takes_nothing_of_an_answer_is_given_up(
    connect: Connect, server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "_READ_PATIENCE", 0.2)
    async with connect() as client:
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]  # or it would read on by itself
        await client.send(GREAT_GET)
        with anyio.fail_after(20):
            while not server.server_state.connections:  # noqa: ASYNC110  # it has not begun
                await anyio.sleep(0.01)
            while server.server_state.connections:  # noqa: ASYNC110  # nothing tells of it
                await anyio.sleep(0.05)


async def test_who_takes_it_slowly_gets_all(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_READ_PATIENCE", 0.3)
    async with connect() as client:
        await client.send(GREAT_GET)
        taken = 0
        with anyio.fail_after(60):
            await client.reader.readuntil(b"\r\n\r\n")
            while taken < GREAT:
                taken += len(await client.reader.readexactly(min(1 << 20, GREAT - taken)))
                await anyio.sleep(0.03)

    assert taken == GREAT
