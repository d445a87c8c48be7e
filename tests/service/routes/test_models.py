import pytest

from tests.service.conftest import Serve

pytestmark = pytest.mark.anyio


async def test_a_model_is_shown_with_what_its_checkpoint_says(serve: Serve) -> None:
    async with serve() as client:
        answer = await client.get("/models/tiny")

    entry = answer.json()
    assert (entry["name"], entry["state"], entry["is_default"]) == ("tiny", "ready", True)
    assert (entry["devices"], entry["dtype"], entry["dtype_note"]) == (["cpu"], "float32", None)
    assert entry["memory"]["weights_bytes"] >= 4 * entry["parameters"]
    assert entry["memory"]["peak_bytes"] > 0
    assert entry["batch_sizes"].keys() == {"48x64", "64x48"}
    assert (entry["num_loads"], entry["pinned"], entry["rejected"]) == (1, False, None)
    assert entry["architecture"] == "unet"
    assert entry["parameters"] > 1000
    assert entry["classes"][1] == {"id": 1, "name": "cat", "color": "#800000"}
    assert entry["input"]["color_order"] == "rgb"
    assert entry["size"]["side"] == 64
    assert entry["metrics"][0] == {
        "name": "miou", "value": 0.5, "dataset": "blobs val", "num_images": 10, "resolution": "original",
    }  # fmt: skip


async def test_all_models_are_listed(serve: Serve) -> None:
    async with serve() as client:
        entries = (await client.get("/models")).json()["models"]
        entry = (await client.get("/models/tiny")).json()

    assert entries == [entry]


async def test_an_unknown_model_is_a_problem_that_names_the_known(serve: Serve) -> None:
    async with serve() as client:
        answer = await client.get("/models/other")

    assert answer.status_code == 404
    assert answer.json()["detail"] == "no model 'other', served are tiny@1"
