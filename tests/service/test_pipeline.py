import asyncio
import threading
from pathlib import Path

import pytest

from service.app import create_app
from service.dependencies import services_of
from service.masks.encoder import Encoder, LabelledMask
from service.pipeline import Wish
from service.settings import Settings
from tests.service.conftest import running, until_ready
from tests.service.fakes import Echo, plain_image

pytestmark = pytest.mark.anyio


async def test_masks_are_written_in_a_codec_thread(checkpoints: Path, echo: Echo) -> None:
    threads: list[str] = []

    def encode(_: LabelledMask) -> bytes:
        threads.append(threading.current_thread().name)
        return b"mask"

    app = create_app(Settings(checkpoints=checkpoints, device="cpu"), runtimes={"torch": echo.build})
    async with running(app) as client:
        await until_ready(client)
        pipeline = services_of(app).pipeline
        wish = Wish(Encoder("x/y", encode), timeout=20, deadline=asyncio.get_running_loop().time() + 20)
        with pipeline.visit(wish) as visit, visit.model.admission.admit() as place:
            answer = await pipeline.segment(plain_image(), visit, place, wish)

    assert (answer.content, answer.media_type) == (b"mask", "x/y")
    assert [name.rpartition("_")[0] for name in threads] == ["codec"]
