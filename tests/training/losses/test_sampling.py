import pytest
import torch

from training.losses import count, sample_pixels


def test_row_13_a_share_of_the_labels_is_kept_and_the_others_are_void() -> None:
    targets = torch.randint(0, 5, (4, 100, 100))
    targets[0] = 255

    sampled = sample_pixels(targets, 0.25)

    kept = sampled != 255
    assert torch.equal(sampled[kept], targets[kept])
    assert kept.sum().item() == pytest.approx(0.25 * count(targets).pixels, rel=0.1)
    assert not kept[0].any()


@pytest.mark.parametrize(("share", "pixels"), [(1.0, 32), (0.0, 0)])
def test_row_13_all_are_kept_or_none(share: float, pixels: int) -> None:
    assert count(sample_pixels(torch.zeros(2, 4, 4, dtype=torch.uint8), share)).pixels == pixels


def test_row_13_the_draw_is_that_of_the_seed() -> None:
    targets = torch.zeros(2, 50, 50, dtype=torch.int64)

    torch.manual_seed(5)
    one, other = sample_pixels(targets, 0.5), sample_pixels(targets, 0.5)
    torch.manual_seed(5)
    again = sample_pixels(targets, 0.5)

    assert torch.equal(one, again)
    assert not torch.equal(one, other)
