"""Every broken or odd image gets a mask or a problem, and the process carries on."""

import asyncio
import json
from collections.abc import Sequence
from io import BytesIO

import pytest
from PIL import Image

from tests.faults.clients import Answer, NoAnswer, ask, picture, together
from tests.faults.conftest import Tell
from tests.faults.corpus import OddFile, corpus
from tests.faults.server import Server

AT_ONCE = 8
SLACK = 160 << 20
"""What two codec threads may hold with an image of 25 million pixels each."""


@pytest.fixture(scope="module")
def grown_bytes(ordinary: Server) -> list[int]:
    """Give a place for how much the server's peak grew."""
    ordinary.post("/segment", picture(1))
    ordinary.forget_peak()
    return [ordinary.peak_bytes()]


@pytest.fixture(scope="module")
def answers(ordinary: Server, grown_bytes: list[int]) -> dict[str, Answer | None]:
    """Give the answer to every file of the corpus, by its name; none where the connection broke."""
    files = list(corpus())
    found = asyncio.run(ask_for_all(ordinary.url, files))
    grown_bytes.append(ordinary.peak_bytes() - grown_bytes.pop())
    return dict(zip([file.name for file in files], found, strict=True))


def test_every_broken_or_odd_image_gets_a_mask_or_a_problem(answers: dict[str, Answer | None], tell: Tell) -> None:
    complaints = {name: answer for name, answer in answers.items() if not is_fit(answer)}
    statuses = [answer.status for answer in answers.values() if answer is not None]

    tell("statuses", ", ".join(f"{statuses.count(status)} x {status}" for status in sorted(set(statuses))))
    assert complaints == {}
    assert len(answers) > 700


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("JPEG whole", 200),
        ("PNG whole", 200),
        ("WEBP whole", 200),
        ("BMP whole", 200),
        ("TIFF whole", 200),
        ("PNG with a wrong type", 200),
        ("GIF whole", 415),
        ("JPEG with rubbish for EXIF", 200),
        ("PNG interlaced", 200),
        ("PNG of four frames", 200),
        ("TIFF whose next page is its first", 200),
        ("JPEG of 1x16000", 200),
        ("JPEG of 1x20000", 413),
        ("PNG that claims to be huge", 413),
        ("BMP that claims to be huge", 413),
        ("JPEG that claims to be huge", 413),
        ("WEBP that claims to be huge", 413),
        ("TIFF that claims to be huge", 413),
        ("nothing as image/png", 422),
        ("PNG cut at 50 %", 422),
    ],
)
def test_odd_images_are_told_apart(answers: dict[str, Answer | None], name: str, status: int) -> None:
    answer = answers[name]

    assert answer is not None
    assert answer.status == status


def test_odd_images_cost_no_more_memory_than_allowed_ones(
    ordinary: Server, answers: dict[str, Answer | None], grown_bytes: list[int], tell: Tell
) -> None:
    tell("peak grew by", f"{grown_bytes[0] / (1 << 20):.1f} MiB over {len(answers)} files")

    assert grown_bytes[0] < SLACK
    assert ordinary.is_alive
    assert ordinary.metric("segserve_in_flight") == 0
    assert ordinary.post("/segment", picture(1)).status_code == 200


async def ask_for_all(url: str, files: Sequence[OddFile]) -> list[Answer | None]:
    places = asyncio.Semaphore(AT_ONCE)

    async def ask_for(file: OddFile) -> Answer | None:
        async with places:
            try:
                return await ask(url, file.content, Content_Type=file.media_type)
            except NoAnswer:
                return None

    return await together([ask_for(file) for file in files])


def is_fit(answer: Answer | None) -> bool:
    """Tell whether an answer is a mask, or a problem that the client can mend."""
    if answer is None:
        return False
    if answer.status == 200:
        return Image.open(BytesIO(answer.content)).format == "PNG"
    is_problem = answer.headers["content-type"] == "application/problem+json"
    return is_problem and 400 <= answer.status < 500 and json.loads(answer.content)["status"] == answer.status
