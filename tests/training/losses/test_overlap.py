from itertools import permutations

import pytest
import torch
from torch import Tensor

from training.losses.overlap import total_dice, total_lovasz

TARGETS = torch.tensor([[[0, 0, 0, 1], [0, 1, 1, 255]]])
FOUND = torch.tensor([[[0, 0, 1, 1], [0, 1, 3, 0]]])


def certain(masks: Tensor) -> Tensor:
    """Give logits ``[B, 4, H, W]`` that leave no doubt of ``masks`` ``[B, H, W]``."""
    return 100 * torch.nn.functional.one_hot(masks, 4).permute(0, 3, 1, 2).float()


def test_dice_of_a_certain_mask_is_one_minus_the_score_of_the_classes_that_are_there() -> None:
    loss = total_dice(certain(FOUND), TARGETS)

    assert loss.item() == pytest.approx(((1 - 2 * 3 / (3 + 4)) + (1 - 2 * 2 / (3 + 3))) / 2)


def test_lovasz_of_a_certain_mask_is_one_minus_the_iou_of_the_classes_that_are_there() -> None:
    loss = total_lovasz(certain(FOUND), TARGETS)

    assert loss.item() == pytest.approx(((1 - 3 / 4) + (1 - 2 / 4)) / 2)


def test_lovasz_between_certain_masks_is_the_convex_closure_of_the_jaccard_loss() -> None:
    """Berman 2018, section 2.2: for a submodular set function, the largest over all orders of the pixels."""
    truth, probabilities = torch.tensor([1, 1, 0, 0]), torch.tensor([0.9, 0.3, 0.6, 0.2])
    errors = (truth - probabilities).abs()
    logits = torch.stack([(1 - probabilities).log(), probabilities.log()])[None, :, None]
    ground = 1 - truth  # the other class, with the same errors

    expected = [max(extension(part, errors, order) for order in permutations(range(4))) for part in (truth, ground)]

    assert total_lovasz(logits, truth[None, None]).item() == pytest.approx(sum(expected) / 2)


def extension(truth: Tensor, errors: Tensor, order: tuple[int, ...]) -> float:
    losses = [jaccard_loss(truth, order[:size]) for size in range(5)]
    return sum(errors[pixel].item() * (losses[i + 1] - losses[i]) for i, pixel in enumerate(order))


def jaccard_loss(truth: Tensor, wrong: tuple[int, ...]) -> float:
    pixels = set(truth.nonzero()[:, 0].tolist())
    return len(wrong) / len(pixels | set(wrong))


@pytest.mark.parametrize("total", [total_dice, total_lovasz])
def test_trap_42_an_absent_class_is_left_out(total: object) -> None:
    assert callable(total)
    logits = torch.randn(1, 4, 2, 4)
    more = torch.cat([logits, torch.full((1, 3, 2, 4), -100.0)], dim=1)

    torch.testing.assert_close(total(more, TARGETS), total(logits, TARGETS))


def test_trap_42_an_empty_prediction_of_a_class_that_is_there_earns_nothing() -> None:
    targets = torch.zeros(1, 2, 4, dtype=torch.int64)
    targets[0, 0, 0] = 2

    loss = total_dice(certain(torch.zeros_like(targets)), targets)

    assert loss.item() == pytest.approx(((1 - 2 * 7 / (7 + 8)) + 1) / 2)


def test_trap_42_void_leaves_both_terms_of_dice() -> None:
    logits = torch.randn(1, 4, 2, 4)
    labelled = logits[:, :, :, :3], TARGETS[:, :, :3]
    void = TARGETS.clone()
    void[:, :, 3] = 255

    torch.testing.assert_close(total_dice(logits, void), total_dice(*labelled))
    torch.testing.assert_close(total_lovasz(logits, void), total_lovasz(*labelled))
