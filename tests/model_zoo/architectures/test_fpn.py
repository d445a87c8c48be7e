from __future__ import annotations

from typing import Literal, get_args

import pytest
import torch

from model_zoo.architectures import build
from model_zoo.architectures.fpn import FPN
from model_zoo.backbones import EncoderName
from tests.model_zoo.blank import blank


@pytest.mark.parametrize("encoder", get_args(EncoderName))
def test_every_encoder_takes_odd_sizes(encoder: EncoderName) -> None:
    with torch.device("meta"):
        network = FPN(4, encoder=encoder)

    with torch.inference_mode():
        logits = blank(network)(torch.zeros(2, 3, 75, 93)).logits

    assert logits.shape == (2, 4, 75, 93)


@pytest.mark.parametrize(("merge", "width"), [("add", 128), ("cat", 512)])
def test_levels_are_added_or_stand_side_by_side(merge: Literal["add", "cat"], width: int) -> None:
    with torch.device("meta"):
        network = FPN(4, merge=merge)

    assert network(torch.empty(1, 3, 64, 64, device="meta")).logits.shape == (1, 4, 64, 64)
    assert network.score.in_channels == width


def test_each_level_convolves_once_for_each_doubling_and_the_finest_once() -> None:
    with torch.device("meta"):
        network = FPN(4)

    assert [len(list(level.children())) for level in network.levels] == [3, 2, 1, 1]


def test_the_coarsest_map_reaches_every_level() -> None:
    torch.manual_seed(0)
    network = FPN(4, pyramid_channels=8, segmentation_channels=64).eval()
    maps = [torch.randn(1, 8, side, side) for side in (2, 4, 8, 16)]
    network.laterals = torch.nn.ModuleList(torch.nn.Identity() for _ in maps)

    before = network._pyramid(maps)
    after = network._pyramid([maps[0] + 1, *maps[1:]])

    torch.testing.assert_close([a - b for a, b in zip(after, before, strict=True)], [torch.ones_like(m) for m in maps])


def test_a_level_is_as_wide_as_its_groups_can_normalise() -> None:
    with pytest.raises(ValueError, match="fpn has segmentation_channels=32: Input should be greater than or equal to"):
        build("fpn", 4, {"segmentation_channels": 32})
    with pytest.raises(ValueError, match="fpn has segmentation_channels=80: Input should be a multiple of 32"):
        build("fpn", 4, {"segmentation_channels": 80})


def test_the_narrowest_level_still_answers_the_smallest_image() -> None:
    network = FPN(4, pyramid_channels=8, segmentation_channels=64).eval()

    with torch.inference_mode():
        logits = network(torch.randn(1, 3, 32, 32)).logits

    assert logits.isfinite().all()


def test_aligned_corners_keep_the_scores_of_corner_pixels() -> None:
    torch.manual_seed(0)
    network = FPN(3, pyramid_channels=8, segmentation_channels=64, align_corners=True).eval()
    scores: list[torch.Tensor] = []
    network.score.register_forward_hook(lambda _module, _inputs, output: scores.append(output))

    with torch.inference_mode():
        logits = network(torch.randn(1, 3, 64, 96)).logits

    torch.testing.assert_close(logits[..., ::63, ::95], scores[0][..., ::15, ::23])
