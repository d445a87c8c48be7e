from __future__ import annotations

import torch

from model_zoo.architectures.layers import mirror_pad


def test_borders_are_mirrored() -> None:
    images = torch.arange(4.0).reshape(1, 1, 1, 4)

    padded = mirror_pad(images, height=(0, 0), width=(2, 1))

    assert padded.flatten().tolist() == [2, 1, 0, 1, 2, 3, 2]


def test_trap_32_an_axis_too_small_to_mirror_repeats_its_border() -> None:
    images = torch.arange(3.0).reshape(1, 1, 3, 1).expand(1, 1, 3, 8)

    padded = mirror_pad(images, height=(3, 0), width=(3, 3))

    assert padded.shape == (1, 1, 6, 14)
    assert padded[0, 0, :, 0].tolist() == [0, 0, 0, 0, 1, 2]
