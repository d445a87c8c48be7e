import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model_zoo import sparse_argmax as module
from model_zoo.segmentation import Wanted
from model_zoo.sparse_argmax import Step, one_image, sparse_argmax
from model_zoo.upsample import segmented

SIDE = st.integers(1, 60)
SOFT = Wanted(sums=True)


def areas(channels: int, height: int, width: int, *, seed: int = 0) -> Tensor:
    """Make scores of a few smooth areas, as networks do."""
    coarse = torch.randn(1, channels, 3, 3, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0]


def plain(scores: Tensor, steps: list[Step]) -> Tensor:
    for step in steps:
        scores = step.apply(scores)
    return scores


def check(scores: Tensor, steps: list[Step]) -> Tensor:
    """Compare the mask with that of all scores; where it differs, its class is as good but for rounding."""
    mask = sparse_argmax(scores, steps)
    assert mask is not None
    expected = plain(scores.double(), steps)
    chosen = expected.gather(0, mask.long()[None])[0]
    assert mask.dtype == torch.uint8
    torch.testing.assert_close(chosen, expected.amax(0), atol=1e-5, rtol=0)
    return mask


@settings(max_examples=60)
@given(st.integers(1, 9), SIDE, SIDE, SIDE, SIDE, st.booleans(), st.integers(0, 9))
def test_the_mask_is_that_of_all_scores(c: int, h: int, w: int, tall: int, wide: int, ends: bool, seed: int) -> None:  # noqa: PLR0917  # drawn
    grid, size = (h + tall, w + wide), (tall * 3, wide * 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_SPARSE", 1.0)
        patch.setattr(module, "_SPARSE_ON_THE_WAY", 1.0)
        check(areas(c, h, w, seed=seed), [Step(grid, grid, align_corners=ends)])
        check(areas(c, h, w, seed=seed), [Step(grid, (grid[0] - 1, w), align_corners=ends), Step(size, size)])


@pytest.mark.parametrize("at_once", [1, 7])
def test_pieces_change_nothing(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, steps = areas(3, 40, 50), [Step((80, 100), (75, 99)), Step((90, 120), (90, 120))]
    whole = check(scores, steps)
    monkeypatch.setattr(module, "_PIXELS_AT_ONCE", at_once)

    assert torch.equal(check(scores, steps), whole)


def test_a_class_that_no_corner_has_may_win_between_them() -> None:
    scores = torch.tensor([[[1.0, 0.0]], [[0.9, 0.9]], [[0.0, 1.0]]]).repeat(1, 1, 20)  # few cells of many are mixed
    scores = torch.cat([scores, scores[..., -1:].expand(-1, -1, 400)], dim=2)

    mask = check(scores, [Step((1, 8 * 440), (1, 8 * 440))])

    assert set(mask.flatten().tolist()) == {0, 1, 2}


def test_255_classes_have_labels_of_their_own() -> None:
    scores = torch.zeros(255, 4, 4)
    scores[254] = 1

    assert torch.equal(check(scores, [Step((8, 8), (8, 8))]), torch.full((8, 8), 254, dtype=torch.uint8))


def test_scores_like_noise_are_left_to_the_plain_way() -> None:
    noise = torch.randn(5, 20, 20, generator=torch.Generator().manual_seed(0))
    steps = [Step((80, 80), (77, 80)), Step((99, 50), (99, 50))]

    assert sparse_argmax(noise, steps) is None
    assert torch.equal(segmented(noise, steps).mask.long(), plain(noise, steps).argmax(0))


@pytest.mark.parametrize(
    "steps", [[], [Step((40, 44), (40, 41))], [Step((40, 44), (40, 44), align_corners=True), Step((80, 60), (80, 60))]]
)
def test_what_is_wanted_beside_the_mask_does_not_change_it(steps: list[Step]) -> None:
    scores = areas(4, 10, 11)

    assert torch.equal(segmented(scores, steps).mask, segmented(scores, steps, SOFT).mask)


@pytest.mark.parametrize(
    "scores", [torch.rand(3, 4, 5), torch.rand(4, 5, 3).permute(2, 0, 1)], ids=["planes", "pixels"]
)
def test_one_image_is_in_the_layout_that_torch_knows_to_be_channels_last(scores: torch.Tensor) -> None:
    image = one_image(scores)

    assert torch.equal(image[0], scores)
    assert image.stride() == torch.empty(2, 3, 4, 5).contiguous(memory_format=torch.channels_last).stride()
