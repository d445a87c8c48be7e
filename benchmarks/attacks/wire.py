"""Send what is no proper HTTP, or proper HTTP very slowly."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from urllib.parse import urlsplit

from PIL import Image

from benchmarks.attacks.bodies import FORM, form, part
from benchmarks.attacks.target import Attack, Target, summed_up
from tests.faults.clients import connected, picture, read_answer, request, request_head
from tests.service.fakes import encode

HOST = b"Host: test\r\nConnection: close\r\n"
_GOOD = picture(7)
_PAUSE = 0.2
_CHUNKED = b"Transfer-Encoding: chunked\r\nConnection"
_WAIT, _SIP_PAUSE = 100.0, 5.0
"""Seconds for which a client that does not read its answer stays."""


def attacks() -> list[Attack]:
    """Give all of them."""
    return [*_slow(), *_injections(), *_framing(), *_paths(), *_oddities()]


def _slow() -> list[Attack]:
    heads, bodies = (b"", request_head(1, X_Filler="a" * 1000)), (request_head(100_000), b"x" * 1000)

    async def dribble_head(target: Target, _: bytes) -> str:
        return await _dribble(target, *heads)

    async def dribble_body(target: Target, _: bytes) -> str:
        return await _dribble(target, *bodies)

    def many(number: int, sent: str, kinds: Sequence[tuple[bytes, bytes]]) -> Attack:
        async def run(target: Target, _: bytes) -> str:
            slow = [asyncio.create_task(_dribble(target, *kinds[index % len(kinds)])) for index in range(number)]
            await asyncio.sleep(1)
            good = [await target.post(_GOOD) for _ in range(20)]
            told = [await one for one in slow]
            return f"good requests beside them: {summed_up(good)}; the slow: {summed_up(told)}"

        return Attack(f"slow loris, {number} at once", f"{sent}, beside 20 good requests", run)

    return [
        Attack("slow loris, head", "a byte each 0.2 s", dribble_head),
        Attack("slow loris, body", "a byte each 0.2 s", dribble_body),
        many(200, "half of them heads, half bodies", (heads, bodies)),
        many(1200, "heads", (heads,)),
        Attack("answers never read", f"10 clients, npz of 60 MB each, watched for {_WAIT:g} s", _never_read),
        Attack("answers never read, request behind", "4 such clients send another request", _never_read_and_ask),
        Attack("answers read in sips", "10 such clients ask again, and take 300 kB in 5 s", _sip),
    ]


def _injections() -> list[Attack]:
    form_body = form(part(_GOOD, name=b"images", file=b'a\r\nX-Evil: 1\r\n.png"'))
    encoded = form(part(_GOOD, name=b"images", file=b"a%0d%0aX-Evil%3a1\x1b[2J\xff<script>"))
    return [
        _raw("CR LF in X-Request-ID", "bare, and a folded line", [
            request(_GOOD, X_Request_ID="a\r\nX-Evil: 1"), request(_GOOD, X_Request_ID="a\r\n\tX-Evil: 1"),
        ]),
        _raw("CR or LF alone, NUL, in X-Request-ID", "a\\rb, a\\nb, a\\0b", [
            request(_GOOD, X_Request_ID=f"a{odd}b") for odd in "\r\n\0"
        ]),
        _raw("CR LF in model name", "encoded, in the query and in the path, and where a redirect tells it", [
            request(_GOOD, path="/segment?model=a%0d%0aX-Evil:%201"), _get(b"/models/a%0d%0aX-Evil:%201"),
            _get(b"/models/a%0d%0aX-Evil:%201/"),
        ]),
        _raw("CR LF and controls in file name of a form", "bare, encoded, terminal codes, script", [
            request(form_body, Content_Type=FORM), request(encoded, path="/segment?format=rle", Content_Type=FORM),
        ]),
        _raw("long header, many headers", "1 MB; 9000; 40,000", [
            _get(b"/healthz", b"X: " + b"a" * 1_000_000 + b"\r\n"),
            _get(b"/healthz", b"a: b\r\n" * 9000), _get(b"/healthz", b"a: b\r\n" * 40_000),
        ]),
        _raw("long target, many options", "100 kB; 8000 unknown options", [
            _get(b"/" + b"a" * 100_000), request(_GOOD, path="/segment?" + "&".join(f"a{i}=1" for i in range(8000))),
        ]),
    ]  # fmt: skip


def _framing() -> list[Attack]:
    posted = b"POST /segment HTTP/1.1\r\n" + HOST
    smuggled = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: test\r\n\r\n"
    return [
        _raw("two Content-Length", "differing; `5, 6`; `+5`; `-1`; 2^64", [
            whole.replace(b"Connection", b"Content-Length: 5\r\nConnection") for whole in (request(_GOOD),)
        ] + [request(_GOOD, Content_Length=odd) for odd in ("5, 6", "+5", "-1", str(1 << 64))]),
        _raw("Content-Length and Transfer-Encoding", "both; two codings; `xchunked`; blank before the colon", [
            request(smuggled).replace(b"Connection", _CHUNKED),
            posted + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + smuggled,
            posted + b"Transfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\nabc",
            posted + b"Transfer-Encoding : chunked\r\n\r\n" + smuggled,
        ]),
        _raw("odd chunks", "no number, negative, 2^72, too long, LF alone", [
            posted + b"Transfer-Encoding: chunked\r\n\r\n" + odd
            for odd in (b"zz\r\n", b"-1\r\n\r\n", b"f" * 18 + b"\r\nx", b"3\r\nabcdef\r\n0\r\n\r\n", b"3\nabc\n0\n\n")
        ]),
        _raw("two Host, none, bare LF", "one request each", [
            _get(b"/healthz", b"Host: evil\r\n"), b"GET /healthz HTTP/1.1\r\n\r\n",
            b"GET /healthz HTTP/1.1\nHost: a\n\n",
        ]),
    ]  # fmt: skip


def _paths() -> list[Attack]:
    names = ("../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "%2fetc%2fpasswd", "%00", "..%00/", "%ff%fe")
    models = [_get(f"{start}/{name}".encode()) for start in ("/models", "/v2/models") for name in names]
    inferred = [request(_GOOD, path=f"/v2/models/{name}/infer") for name in names]
    static = ("/static-offline-docs/", "/docs/")
    ways = (
        "../../../../../../etc/passwd",
        "..%2f..%2f..%2fetc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "/etc/passwd",
        "%00",
    )
    return [
        _raw("path in model name, query", ", ".join(f"`{name}`" for name in names), [
            request(_GOOD, path=f"/segment?model={name}") for name in names
        ]),
        _raw("path in model name, path and v2", "the same", [*models, *inferred]),
        _raw("path to the documentation's files", "five ways up to /etc/passwd", [
            _get((start + way).encode()) for start in static for way in ways
        ]),
    ]  # fmt: skip


def _oddities() -> list[Attack]:
    hello = bytes.fromhex("1603010200010001fc0303") + bytes(500)
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n"
    methods = (b"TRACE", b"CONNECT", b"DELETE", b"PUT", b"PATCH", b"OPTIONS", b"PROPFIND", b"FOO", b"get", b"")
    return [
        _raw("unknown methods", ", ".join(method.decode() or "none" for method in methods), [
            _get(b"/models").replace(b"GET", method, 1) for method in methods
        ]),
        _raw("HTTP/0.9, 1.0, 2, 9.9", "one request each", [
            b"GET /healthz\r\n\r\n", b"GET /healthz HTTP/1.0\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET /healthz HTTP/9.9\r\n\r\n",
        ]),
        _raw("NUL and bytes above 127 in target and header", "one request each", [
            _get(b"/models/\0"), _get(b"/models/\xff"), _get(b"/healthz", b"X: \0\r\n"),
            _get(b"/healthz", b"X\0: a\r\n"), _get(b"/healthz", b"Content-Type: \xff\xfe\r\n"),
        ]),
        _raw("TLS hello on the plain port", "a ClientHello", [hello]),
        _raw("upgrade to a web socket, to h2c", "on /segment and /healthz", [
            _get(b"/segment", upgrade), _get(b"/healthz", b"Upgrade: h2c\r\nHTTP2-Settings: AA\r\n"),
        ]),
        _raw("absolute target, foreign host", "`GET http://evil/healthz`, `Host: evil`", [
            _get(b"http://evil/healthz"), _get(b"/healthz").replace(b"Host: test", b"Host: evil"),
        ]),
    ]  # fmt: skip


def _get(path: bytes, headers: bytes = b"") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n"


def _raw(name: str, sent: str, requests: Sequence[bytes]) -> Attack:
    """Send each request on a connection of its own."""

    async def run(target: Target, _: bytes) -> str:
        return summed_up([await target.send(one, patience=20) for one in requests])

    return Attack(name, sent, run)


async def _dribble(target: Target, start: bytes, rest: bytes) -> str:
    """Send the rest byte by byte until the server has had enough; tell what it said, and after how long."""
    started = time.monotonic()
    with suppress(ConnectionError):
        async with connected(target.url) as (reader, writer):
            writer.write(start)
            answer = asyncio.create_task(read_answer(reader, started))
            for index in range(len(rest)):
                writer.write(rest[index : index + 1])
                await asyncio.wait({answer}, timeout=_PAUSE)
                if answer.done():
                    break
            return f"{target.tell(await answer).split(',')[0]} after {time.monotonic() - started:.0f} s"
    return f"closed after {time.monotonic() - started:.0f} s"


async def _never_read(target: Target, _: bytes) -> str:
    return await _stay(target, number=10, behind=b"")


async def _never_read_and_ask(target: Target, _: bytes) -> str:
    return await _stay(target, number=4, behind=request(bytes(30 << 20), Connection="keep-alive"))


async def _sip(target: Target, _: bytes) -> str:
    return await _stay(target, number=10, behind=request(_GOOD, Connection="keep-alive"), sip=300_000)


async def _stay(target: Target, *, number: int, behind: bytes, sip: int = 0) -> str:
    """Ask for large answers, read next to nothing of them, and tell what is still held after a while."""
    large = request(
        encode(Image.new("RGB", (400, 320), (7, 0, 0))), path="/segment?format=npz", Connection="keep-alive"
    )
    num_files, before = target.server.num_files(), target.server.resident_bytes()
    loop, address = asyncio.get_running_loop(), urlsplit(target.url)

    def held() -> str:
        return f"{(target.server.resident_bytes() - before) / 1e6:+.0f} MB"

    async with AsyncExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(number)]
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, max(4096, 2 * sip))
            client.setblocking(False)
            await loop.sock_connect(client, (address.hostname, address.port))
            await loop.sock_sendall(client, large)
            await asyncio.sleep(1)
            with suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await loop.sock_sendall(client, behind)
        at_first = held()
        for _ in range(int(_WAIT / _SIP_PAUSE)):
            await asyncio.sleep(_SIP_PAUSE)
            for client in clients if sip else ():
                await _take(client, sip)
        left = target.server.num_files() - num_files
        return f"{at_first}; after {_WAIT:g} s {left} of {number} are connected, {held()}"


async def _take(client: socket.socket, number: int) -> None:
    """Read so many bytes, if they are there."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            while number > 0 and (taken := await asyncio.get_running_loop().sock_recv(client, number)):
                number -= len(taken)
