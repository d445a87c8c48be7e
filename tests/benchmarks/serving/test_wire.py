"""Hold the reader of answers against every way in which their bytes can arrive."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.serving.wire import Answer, AnswerReader, BadAnswer, request_bytes

PLAIN = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nX-Other: a\r\n\r\nPNG!"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nPNG\r\nA;x=1\r\n0123456789\r\n0\r\n\r\n"
WITH_TRAILER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\n"
CONTINUED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"

EXPECTED = {
    PLAIN: Answer(200, b"PNG!", keeps_alive=True),
    CHUNKED: Answer(200, b"PNG0123456789", keeps_alive=True),
    WITH_TRAILER: Answer(200, b"hi", keeps_alive=True),
    CONTINUED: Answer(503, b"", keeps_alive=False),
    EMPTY: Answer(204, b"", keeps_alive=True),
}


@given(st.lists(st.sampled_from(list(EXPECTED)), max_size=4), st.lists(st.integers(0, 400), max_size=8))
def test_answers_are_the_same_however_their_bytes_arrive(answers: Sequence[bytes], cuts: Sequence[int]) -> None:
    received, edges = b"".join(answers), [0, *sorted(cuts)]
    reader = AnswerReader()

    found = [
        answer
        for start, stop in zip(edges, [*edges[1:], len(received)], strict=True)
        for answer in reader.feed(received[start : max(start, stop)])
    ]

    assert found == [EXPECTED[answer] for answer in answers]


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    reader = AnswerReader()

    assert reader.feed(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nPN") == []
    assert reader.feed(b"G") == []

    assert reader.end() == Answer(200, b"PNG", keeps_alive=False)


def test_the_end_of_a_connection_does_not_make_half_an_answer_whole() -> None:
    reader = AnswerReader()

    reader.feed(PLAIN[:-1])

    assert reader.end() is None


def test_http_1_0_does_not_keep_the_connection_unless_it_says_so() -> None:
    head = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n"

    assert [answer.keeps_alive for answer in AnswerReader().feed(head + b"\r\n")] == [False]
    assert [answer.keeps_alive for answer in AnswerReader().feed(head + b"Connection: keep-alive\r\n\r\n")] == [True]


@pytest.mark.parametrize(
    "received",
    [b"SSH-2.0 hello\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", CHUNKED.replace(b"3\r\n", b"x\r\n")],
)
def test_what_is_no_answer_is_refused(received: bytes) -> None:
    with pytest.raises(BadAnswer):
        AnswerReader().feed(received)


def test_a_request_is_whole_and_says_how_long_it_is() -> None:
    written = request_bytes("/segment", {"Content-Type": "image/jpeg"}, b"abc", host="here")

    head, body = written.split(b"\r\n\r\n")
    assert body == b"abc"
    assert head.split(b"\r\n") == [
        b"POST /segment HTTP/1.1", b"Host: here", b"Content-Length: 3", b"Content-Type: image/jpeg",
    ]  # fmt: skip
