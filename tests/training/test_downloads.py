from pathlib import Path

import pytest
from torchvision import datasets  # type: ignore[import-untyped]  # torchvision has no stubs

from training.datasets import Reference
from training.downloads import download
from training.errors import InvalidDataset


@pytest.mark.parametrize(("reader", "torchvision_reader"), [("voc", "VOCSegmentation"), ("pet", "OxfordIIITPet")])
def test_torchvision_fetches_into_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, torchvision_reader: str
) -> None:
    asked: list[tuple[Path, bool]] = []

    def fetch(root: Path, *, download: bool, **_: object) -> None:
        asked.append((root, download))

    monkeypatch.setattr(datasets, torchvision_reader, fetch)

    download(Reference.parse(f"{reader}:train:{tmp_path}"))

    assert asked == [(tmp_path, True)]


def test_what_came_damaged_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: object, **__: object) -> None:
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(datasets, "OxfordIIITPet", fetch)

    with pytest.raises(InvalidDataset, match="pet: File not found or corrupted"):
        download(Reference.parse(f"pet:test:{tmp_path}"))


def test_what_nobody_can_fetch_is_refused() -> None:
    with pytest.raises(InvalidDataset, match="coco cannot be downloaded; of the datasets only voc, pet can"):
        download(Reference.parse("coco:train:x"))
