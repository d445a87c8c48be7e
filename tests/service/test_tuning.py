from pathlib import Path

import pytest
import torch

from service.settings import Settings
from service.tuning import Choice, Trial, Tuning, choose, read_tuning, this_machine, tuned_path, write_tuning

CPU = torch.device("cpu")
BEST = Trial(runtime="openvino", precision="bfloat16", batch_size=4, images_per_second=12.5, agreement=0.999)


def tuning(**changes: object) -> Tuning:
    found = Tuning(
        sha256="a" * 64, machine=this_machine(CPU), day="2026-11-29", shape=(3, 384, 512), best=BEST, times_plain=2.5,
        trials=(BEST,),
    )  # fmt: skip
    return found.model_copy(update=changes)


def choice(folder: Path, tuned: Tuning | None, settings: Settings | None = None) -> Choice:
    checkpoint = folder / "my.model.safetensors"
    if tuned is not None:
        write_tuning(tuned_path(checkpoint), tuned)
    return choose(settings or Settings(), checkpoint, "a" * 64, CPU)


def test_what_was_tuned_is_used(tmp_path: Path) -> None:
    found = choice(tmp_path, tuning())

    assert (found.settings.runtime, found.settings.precision, found.settings.max_batch_size) == (
        "openvino", "bfloat16", 4,
    )  # fmt: skip
    assert found.note == "tuned on 2026-11-29: 12.5 images/s, 2.50 times as many as by torch in float32"


def test_where_nothing_was_tuned_it_is_torch(tmp_path: Path) -> None:
    settings = Settings(precision="bfloat16")

    found = choice(tmp_path, None, settings)

    assert found == Choice(settings.model_copy(update={"runtime": "torch"}))


def test_a_runtime_that_is_asked_for_is_taken_in_any_case(tmp_path: Path) -> None:
    settings = Settings(runtime="torch")

    assert choice(tmp_path, tuning(), settings) == Choice(settings)


def test_a_batch_never_exceeds_the_settings(tmp_path: Path) -> None:
    assert choice(tmp_path, tuning(), Settings(max_batch_size=2)).settings.max_batch_size == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sha256": "b" * 64}, "measured with other weights"),
        ({"machine": {**this_machine(CPU), "CPUs": "99"}}, "measured with another CPUs"),
        ({"machine": {**this_machine(CPU), "torch": "1.0"}}, "measured with another torch"),
        ({"machine": {}}, "measured with another device"),
    ],
)
def test_what_was_measured_otherwise_does_not_count(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    found = choice(tmp_path, tuning(**changes))

    assert found.settings.runtime == "torch"
    assert found.note == f"my.model.tuned.json is not used, for it was {reason}"


def test_a_file_cannot_have_masks_made_without_a_network(tmp_path: Path) -> None:
    path = tmp_path / "my.model.tuned.json"
    path.write_text(tuning().model_dump_json().replace('"runtime":"openvino"', '"runtime":"null"', 1))

    found = choice(tmp_path, None)

    assert found.settings.runtime == "torch"
    assert found.note == "my.model.tuned.json is not used, for it cannot be read"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"schema_version": 2}', b"[" * 100_000])
def test_a_damaged_file_does_not_count(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "my.model.tuned.json").write_bytes(content)

    found = choice(tmp_path, None)

    assert found.settings.runtime == "torch"
    assert found.note == "my.model.tuned.json is not used, for it cannot be read"


def test_a_tuning_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_tuning(tmp_path / "a.tuned.json", tuning())

    assert read_tuning(tmp_path / "a.tuned.json") == tuning()
