"""Compare ways to the service: how much each answers in a second, and what a gateway adds to the time of a request.

python benchmarks/gateway.py PICTURE --throughput NAME=URL NAME=URL --overhead DIRECT-URL GATEWAY-URL

The ways take turns, so that whatever else the machine does meets all of them alike. docker/throughput.sh starts what is
compared here.
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

_CLIENTS = 6


class Client:
    """Ask one address over a connection that is kept."""

    def __init__(self, url: str) -> None:
        self._path = urlsplit(url).path
        self._connection = HTTPConnection(urlsplit(url).netloc, timeout=60)

    def ask(self, picture: bytes | None) -> float:
        """Give the seconds until the answer was there in full."""
        began = time.perf_counter()
        method = "GET" if picture is None else "POST"
        self._connection.request(method, self._path, picture, {"Content-Type": "image/jpeg"})
        answer = self._connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{self._path} answered {answer.status}")
        return time.perf_counter() - began


def count_answers(url: str, picture: bytes, seconds: float) -> float:
    """Give the answers a second that some clients get together, each asking again as soon as it is answered."""
    end = time.perf_counter() + seconds

    def ask_on(_: int) -> int:
        client, answers = Client(url), 0
        while time.perf_counter() < end:
            client.ask(picture)
            answers += 1
        return answers

    began = time.perf_counter()
    with ThreadPoolExecutor(_CLIENTS) as pool:
        answers = sum(pool.map(ask_on, range(_CLIENTS)))
    return answers / (time.perf_counter() - began)


def compare_throughput(ways: dict[str, str], picture: bytes, *, rounds: int, seconds: float) -> None:
    """Print what each way answers, round by round and in the median."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, url in ways.items():
            rates[name].append(count_answers(url, picture, seconds))
    for name, found in rates.items():
        told = ", ".join(f"{rate:.2f}" for rate in found)
        print(f"{name}: {statistics.median(found):.2f} answers a second (rounds: {told})")
    first, *others = rates.values()
    for name, found in zip(list(ways)[1:], others, strict=True):
        ratio = statistics.median(ours / theirs for ours, theirs in zip(first, found, strict=True))
        print(f"{next(iter(ways))} to {name}: {ratio:.2f} in the median round")


def compare_times(direct_url: str, gateway_url: str, picture: bytes | None, *, pairs: int) -> None:
    """Print the median time of both ways, and of the difference within a pair."""
    direct, gateway = Client(direct_url), Client(gateway_url)
    times = [(direct.ask(picture), gateway.ask(picture)) for _ in range(pairs + 3)][3:]
    of_direct, of_gateway = (1000 * statistics.median(way) for way in zip(*times, strict=True))
    added = 1000 * statistics.median(theirs - ours for ours, theirs in times)
    path = urlsplit(direct_url).path
    print(
        f"{path}, {pairs} pairs: direct p50 {of_direct:.2f} ms, gateway p50 {of_gateway:.2f} ms, added {added:.2f} ms"
    )


def main() -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--throughput", nargs="+", required=True, metavar="NAME=URL")
    parser.add_argument("--overhead", nargs=2, required=True, metavar="URL")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    picture = options.picture.read_bytes()
    direct, gateway = options.overhead
    compare_times(direct + "/readyz", gateway + "/readyz", None, pairs=500)
    compare_times(direct + "/segment", gateway + "/segment", picture, pairs=60)
    ways = dict(way.split("=", 1) for way in options.throughput)
    compare_throughput(
        {name: url + "/segment" for name, url in ways.items()}, picture, rounds=options.rounds, seconds=options.seconds
    )


if __name__ == "__main__":
    main()
