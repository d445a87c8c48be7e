import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from model_zoo.architectures import ARCHITECTURES, build
from model_zoo.labels import voc_palette
from model_zoo.spec import ModelSpec, Prediction, SizeRule
from service.runtimes.lowering import LEAST_AGREEMENT, LoweredNetwork, agreement, lowered, objection
from tests.model_zoo.test_architectures import SMALL

SPEC = ModelSpec(
    architecture="unet", arguments={"base_channels": 4}, classes=("a", "b", "c"), palette=voc_palette(3),
    size=SizeRule(side=64),
)  # fmt: skip


def network(architecture: str = "unet") -> nn.Module:
    torch.manual_seed(0)
    return build(architecture, SPEC.num_classes, SMALL.get(architecture, {})).eval()


def scores(*, seed: int = 0) -> Tensor:
    return torch.randn(2, 3, 50, 40, generator=torch.Generator().manual_seed(seed))


class Wrong(LoweredNetwork):
    """Answer as the network does, but for what ``change`` makes of it."""

    def __init__(self, network: nn.Module, change: nn.Module) -> None:
        super().__init__(network, torch.float32)
        self.change = change

    def forward(self, images: Tensor) -> Prediction:
        return Prediction(self.change(super().forward(images).logits))


class Backwards(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return -logits


class Overflow(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits.masked_fill(logits == logits.max(), torch.inf)


class Missing(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        raise NotImplementedError("\"slow_conv2d_cpu\" not implemented for 'Half' in /secret/path")


class Exhausted(nn.Module):
    def forward(self, _logits: Tensor) -> Tensor:
        raise torch.OutOfMemoryError


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_runs_in_bfloat16_and_answers_in_float32(architecture: str) -> None:
    images = torch.rand(1, 3, 64, 64)

    with torch.inference_mode():
        found = lowered(network(architecture), torch.bfloat16)(images).logits

    assert found.shape == (1, 3, 64, 64)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()


def test_weights_are_lowered_and_batch_norms_are_not() -> None:
    lower = lowered(network("lraspp"), torch.bfloat16)

    for module in lower.modules():
        wanted = torch.float32 if isinstance(module, nn.BatchNorm2d) else torch.bfloat16
        assert {parameter.dtype for parameter in module.parameters(recurse=False)} <= {wanted}


def test_the_network_itself_stays_as_it_is() -> None:
    original = network()
    images = torch.rand(1, 3, 64, 64)
    before = original(images).logits

    lower = lowered(original, torch.bfloat16)
    with torch.no_grad():
        for parameter in lower.parameters():
            parameter.zero_()

    assert torch.equal(original(images).logits, before)


def test_a_lowered_network_keeps_its_memory_layout() -> None:
    original = network().to(memory_format=torch.channels_last)

    weights = [weight for weight in lowered(original, torch.bfloat16).parameters() if weight.ndim == 4]

    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_a_sound_network_meets_no_objection() -> None:
    original = network()

    assert objection(original, lowered(original, torch.bfloat16), SPEC) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (Backwards(), "% of the self-test's pixels, 99.5% are needed"),
        (Overflow(), "it gives numbers that are not finite"),
        (Missing(), "the network cannot run in it on this device"),
    ],
)
def test_a_network_that_went_wrong_is_objected_to_in_public_words(change: nn.Module, told: str) -> None:
    original = network()

    reason = objection(original, Wrong(original, change), SPEC)

    assert reason is not None
    assert reason.endswith(told)
    assert "secret" not in reason


def test_too_little_memory_is_no_fault_of_the_precision() -> None:
    original = network()

    with pytest.raises(torch.OutOfMemoryError):
        objection(original, Wrong(original, Exhausted()), SPEC)


@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-100, 100))
def test_scores_that_are_scaled_and_shifted_alike_agree(seed: int, factor: float, offset: float) -> None:
    assert agreement(scores(seed=seed), factor * scores(seed=seed) + offset) == 1


def test_a_share_of_pixels_that_changed_class_is_counted() -> None:
    found = scores()
    found[0, :, :5] = -found[0, :, :5]  # a twentieth of all

    assert agreement(scores(), found) == pytest.approx(0.95, abs=0.004)


def test_near_ties_may_fall_either_way() -> None:
    tied = scores()
    tied[:, 1] = tied[:, 0] + 0.01
    other = tied.clone()
    other[:, 1] -= 0.02

    assert (tied.argmax(1) != other.argmax(1)).double().mean() > 0.5
    assert agreement(tied, other) == 1


def test_what_hides_behind_a_sure_background_is_compared_too() -> None:
    shy = scores()
    shy[:, 0] += 1000

    assert (shy.argmax(1) == (shy + scores(seed=1)).argmax(1)).all()
    assert agreement(shy, shy + scores(seed=1)) < 0.9


def test_a_mask_that_moved_as_a_whole_does_not_agree() -> None:
    moved = scores()
    moved[:, 2] += 5  # above its own mean each class is where it was

    assert agreement(scores(), moved) < 0.5


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_network_that_sees_nothing_agrees_with_itself(value: float) -> None:
    flat = torch.full((1, 3, 8, 8), value)

    assert agreement(flat, flat.clone()) >= LEAST_AGREEMENT
