"""Say in words what breaks first when more is asked of the service, from what was found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from benchmarks.scaling.points import OWN
from benchmarks.scaling.results import Results, Seen
from service.settings import Settings


def limits(results: Results) -> str:
    """Give a line for each thing that grew."""
    lines = [*_clients(results.seen("clients")), *_sizes(results), *_models(results.seen("models"))]
    return "\n".join(["What breaks first, as seen:", "", *lines])


def _clients(found: Sequence[Seen]) -> Iterator[str]:
    for row in OWN:
        loads = _named(found, row, "default limits")
        if not loads:
            continue
        best = max(loads, key=_rate)
        yield f"- **Clients**, `{row}`: {_rate(best):.1f} images/s at most, with {_count(best)}."
        refusing = [seen for seen in loads if seen.share(refused=True)]
        if refusing:
            most = refusing[-1]
            yield (
                f"  From {_count(refusing[0])} on it refuses with 503 (`max_in_flight={_default('max_in_flight')}`): of"
                f" {_count(most)}, which ask again after 50 ms, {most.share(refused=True):.2%} of the requests."
                f" Refusing takes time, too: {_rate(most):.1f} images/s are answered, within {_p99(most)} (p99), while"
                f" the client itself takes {_client_cores(most):.1f} cores."
            )
        for seen in _named(found, row, "all let in")[-1:]:
            yield f"  Let in, {_count(seen)} are answered within {_p99(seen)} (p99): {_rate(seen):.1f} images/s."
    large = [seen for seen in found if seen.point.images == "12mp" and seen.share(refused=True)]
    for seen in large[:1]:
        yield (
            f"- **Clients with 12 MP**: with {_count(seen)} `max_in_flight_pixels={_default('max_in_flight_pixels')}`"
            f" refuses {seen.share(refused=True):.1%}, and {_rate(seen):.1f} images/s are answered."
        )


def _sizes(results: Results) -> Iterator[str]:
    for point, words in results.refusals():
        detail = words.partition('"detail":"')[2].partition('"')[0]
        yield f"- **Size**: {point.value:g} MP with the default limits are refused: {detail}."
    for row in OWN:
        loads = [seen for seen in results.seen("sizes") if seen.point.row == row]
        if loads:
            most = max(loads, key=lambda seen: seen.megapixels * seen.clients)
            yield (
                f"- **Size**, `{row}`: {most.megapixels:g} MP let in, with {_count(most)}, are answered within"
                f" {_p99(most)} (p99), and take {most.value('peak_bytes') / 1e6:.0f} MB."
            )


def _models(found: Sequence[Seen]) -> Iterator[str]:
    eager = [seen for seen in found if seen.is_eager]
    if not eager:
        return
    first, most = eager[0], eager[-1]
    yield (
        f"- **Models**: asked in turn, {most.point.num_models} give {_rate(most):.1f} images/s where"
        f" {first.point.num_models} gives {_rate(first):.1f}: images of different models share no batch, and"
        " starts vary, as said above. They are"
        f" ready after {median(most.of_visits('ready_seconds')):.0f} s and hold"
        f" {most.value('peak_bytes') / 1e6:.0f} MB."
    )
    for seen in found:
        if budget := seen.point.settings.get("memory_budget_bytes"):
            yield (
                f"  With `memory_budget_bytes={budget}`, too little for all, requests wait for loads:"
                f" {_rate(seen):.1f} images/s, {seen.share(refused=True):.0%} refused with 503."
            )


def _named(found: Sequence[Seen], row: str, name: str) -> list[Seen]:
    return [seen for seen in found if (seen.point.row, seen.point.name) == (row, name)]


def _rate(seen: Seen) -> float:
    return seen.value("images_per_second")


def _p99(seen: Seen) -> str:
    return f"{seen.value('answered_p99'):.1f} s"


def _count(seen: Seen) -> str:
    return f"{seen.clients} client{'s' * (seen.clients != 1)}"


def _client_cores(seen: Seen) -> float:
    return seen.value("client_cpu_seconds") / seen.value("seconds")


def _default(name: str) -> str:
    return str(Settings.model_fields[name].default)
