import pytest

from tests.service.conftest import Serve
from tests.service.fakes import plain_image

pytestmark = pytest.mark.anyio


async def test_the_process_says_that_it_is_alive(serve: Serve) -> None:
    async with serve() as client:
        assert (await client.get("/healthz")).json() == {
            "status": "alive",
            "devices": [{"name": "cpu", "problem": None}],
        }


async def test_readiness_names_every_model(serve: Serve) -> None:
    async with serve() as client:
        answer = (await client.get("/readyz")).json()

    assert answer == {
        "ready": True,
        "started": True,
        "draining": False,
        "problem": None,
        "models": {"tiny@1": {"state": "ready", "problem": None, "rejected": None}},
    }


async def test_metrics_tell_of_requests_images_stages_and_batches(serve_echo: Serve) -> None:
    async with serve_echo() as client:
        await client.post("/segment", content=plain_image(), headers={"Content-Type": "image/png"})
        await client.post("/segment", content=b"", headers={"Content-Type": "image/png"})
        answer = await client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=")
    for line in (
        'segserve_requests_total{route="/segment",status="200"} 1.0',
        'segserve_images_total{model="tiny",outcome="ok"} 1.0',
        'segserve_images_total{model="tiny",outcome="unreadable-image"} 1.0',
        'segserve_images_forwarded_total{model="tiny"} 1.0',
        'segserve_batch_size_count{model="tiny"} 1.0',
        'segserve_stage_seconds_count{model="tiny",stage="infer"} 1.0',
        'segserve_in_flight{model="tiny"} 0.0',
    ):
        assert line in answer.text.splitlines()


async def test_odd_requests_make_no_new_series(serve_echo: Serve) -> None:
    async with serve_echo() as client:
        for i in range(30):
            await client.get(f"/nowhere/{i}")
            await client.get(f"/models/m{i}")
            await client.post(f"/segment?model=m{i}", content=b"x", headers={"Content-Type": "image/png"})
        text = (await client.get("/metrics")).text

    series = [line for line in text.splitlines() if line.startswith("segserve_requests_total")]
    assert len(series) <= 6
