"""Hold every architecture to promises about how it is built, where one forgotten word would break them unseen."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from model_zoo.architectures import ARCHITECTURES, allowed_arguments, build
from model_zoo.backbones import EncoderName, build_encoder
from model_zoo.card import Card
from model_zoo.checkpoint import load, save
from model_zoo.spec import ModelSpec

WITH_DROPOUT = [name for name in ARCHITECTURES if "drop_rate" in allowed_arguments(name)]


class NoNetwork(Exception):
    """Say that somebody tried to reach another machine."""


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Forbid connections, and give the empty folder in which downloaded weights would be looked for."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise NoNetwork

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


class Upsamplings(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Note of every interpolation whether it aligned corners."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.aligned: list[bool] = []

    def __torch_dispatch__(  # torch's own signature
        self,
        func: Any,  # noqa: ANN401
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        if "upsample_b" in func.__name__:  # nearest has no corners to align
            self.aligned.append(args[2])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_trap_59_building_an_architecture_downloads_nothing(name: str, no_network: Path) -> None:
    with torch.device("meta"):
        build(name, 2, {})

    assert list(no_network.iterdir()) == []


@pytest.mark.parametrize("name", get_args(EncoderName))
def test_trap_59_building_an_encoder_downloads_nothing(name: EncoderName, no_network: Path) -> None:
    with torch.device("meta"):
        build_encoder(name)

    assert list(no_network.iterdir()) == []


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("side", [32, 75])
def test_trap_33_no_network_aligns_corners_while_it_upsamples(name: str, side: int) -> None:
    with torch.device("meta"):
        network = build(name, 2, {}).train()
        coarse = torch.empty(1, 2, 4, 4)

    with Upsamplings() as noted:
        network(torch.empty(2, 3, side, side, device="meta"))
        F.interpolate(coarse, size=8, mode="bilinear", align_corners=True)

    assert noted.aligned.count(True) == 1  # the one above, which shows that they are noted


@pytest.mark.parametrize("name", WITH_DROPOUT)
@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_row_12_the_drop_rate_is_the_share_that_is_dropped(name: str, rate: float) -> None:
    with torch.device("meta"):
        network = build(name, 2, {"drop_rate": rate})

    assert {module.p for module in network.modules() if isinstance(module, (nn.Dropout, nn.Dropout2d))} == {rate}


def test_row_12_the_drop_rate_is_in_the_checkpoint(tmp_path: Path) -> None:
    spec = ModelSpec(
        architecture="unet", arguments={"base_channels": 1, "drop_rate": 0.25}, classes=("a",), palette=((0, 0, 0),)
    )
    save(tmp_path / "unet.safetensors", build(spec.architecture, 1, spec.arguments), Card(name="unet", spec=spec))

    found = load(tmp_path / "unet.safetensors")

    assert found.header.spec.arguments["drop_rate"] == 0.25
    assert [module.p for module in found.network.modules() if isinstance(module, nn.Dropout)] == [0.25]
