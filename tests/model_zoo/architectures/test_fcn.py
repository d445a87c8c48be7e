from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.architectures.fcn import CAFFE_CROPS, CAFFE_SKIP_CROPS, FCN, FCN8s, FCN16s, FCN32s, Fusion, Upsampling

NUM_CLASSES = 21


def small_fcn8s(*, decoder: Literal["score", "wide"] = "score", score_init: Literal["zero", "he"] = "zero") -> FCN8s:
    torch.manual_seed(0)
    return FCN8s(NUM_CLASSES, head_kernel=1, head_width=512, drop_rate=0, decoder=decoder, score_init=score_init)


def train(network: nn.Module, *, steps: int = 3, rate: float = 0.05) -> list[float]:
    """Fit one batch, and give the loss before each step; the gradients of the last step stay."""
    torch.manual_seed(1)
    images, target = torch.randn(2, 3, 32, 32), torch.randint(NUM_CLASSES, (2, 32, 32))
    target[:, :16] = 3
    optimizer = torch.optim.SGD(network.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images).logits, target)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        losses.append(loss.item())
    return losses


def fusions_of(network: FCN) -> list[Fusion]:
    return [fusion for fusion in network.fusions if isinstance(fusion, Fusion)]


def has_gradient(module: nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.any()) for p in module.parameters())


def test_trap_25_scores_that_start_at_zero_train() -> None:
    network = small_fcn8s()

    losses = train(network, steps=4)

    assert losses[0] == pytest.approx(math.log(NUM_CLASSES), abs=1e-5)
    assert losses[-1] < losses[0] - 0.05
    assert has_gradient(network.encoder)
    assert has_gradient(network.fc6)


def test_trap_25_two_zero_layers_in_a_row_are_dead() -> None:
    network = small_fcn8s()
    coarse = (network.score, fusions_of(network)[0].up)
    for layer in coarse:
        nn.init.zeros_(layer.weight)

    losses = train(network)

    assert losses[-1] < losses[0]
    assert has_gradient(fusions_of(network)[0].score)
    assert not any(has_gradient(layer) for layer in coarse)


@pytest.mark.parametrize("after", [nn.Sequential(nn.ReLU()), nn.Sequential(nn.BatchNorm2d(21), nn.ReLU())])
def test_trap_25_a_relu_after_zero_scores_is_dead(after: nn.Sequential) -> None:
    network = small_fcn8s()
    network.score = nn.Sequential(network.score, *after)  # type: ignore[assignment]  # the fault under test

    losses = train(network)

    assert losses[-1] < losses[0]
    assert has_gradient(fusions_of(network)[0].score)
    assert not has_gradient(network.score)
    assert not has_gradient(network.fc7)


def test_trap_25_zero_scores_with_relu_everywhere_never_learn() -> None:
    network = small_fcn8s()
    network.score = nn.Sequential(network.score, nn.ReLU())  # type: ignore[assignment]  # the fault under test
    for fusion in fusions_of(network):
        fusion.score = nn.Sequential(fusion.score, nn.ReLU())

    losses = train(network, steps=3, rate=1.0)

    assert losses == pytest.approx([math.log(21)] * 3, abs=1e-6)


@pytest.mark.parametrize("decoder", ["score", "wide"])
@pytest.mark.parametrize("score_init", ["zero", "he"])
def test_every_branch_has_a_gradient_at_the_first_step(
    decoder: Literal["score", "wide"], score_init: Literal["zero", "he"]
) -> None:
    network = small_fcn8s(decoder=decoder, score_init=score_init)

    train(network, steps=1)
    first = [has_gradient(network.score), *(has_gradient(fusion) for fusion in fusions_of(network))]
    train(network, steps=1)

    assert first == [True, True, True]
    assert has_gradient(network.encoder.features[0])
    assert has_gradient(network.encoder.features[28])


def test_trap_25_class_scores_can_be_negative_in_every_branch() -> None:
    network = small_fcn8s(score_init="he").eval()
    scores: list[Tensor] = []
    for layer in (network.score, *(fusion.score for fusion in fusions_of(network)), *fusions_of(network)):
        layer.register_forward_hook(lambda _module, _inputs, output: scores.append(output))

    with torch.inference_mode():
        network(torch.randn(1, 3, 64, 64))

    assert len(scores) == 5
    assert all(score.min() < 0 for score in scores)


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_trap_30_upsampling_starts_as_bilinear_interpolation_but_at_the_border(factor: int) -> None:
    up = Upsampling(3, 3, factor, padding="same", is_wide=False)
    scores = torch.randn(1, 3, 6, 5)

    ours = up(scores)
    reference = F.interpolate(scores, scale_factor=factor, mode="bilinear", align_corners=False)

    inside = (..., slice(factor, -factor), slice(factor, -factor))
    torch.testing.assert_close(ours[inside], reference[inside], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(ours, reference, rtol=1e-5, atol=1e-5)


def test_trap_30_classes_are_upsampled_each_for_itself() -> None:
    weight = Upsampling(4, 4, 2, padding="same", is_wide=False).weight

    mixed = weight.sum(dim=(2, 3))

    torch.testing.assert_close(mixed, 4 * torch.eye(4))


def test_upsampling_is_fixed_when_told_so() -> None:
    with torch.device("meta"):
        network = FCN8s(3, learn_upsampling=False)

    fixed = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert fixed == ["fusions.0.up.weight", "fusions.1.up.weight", "upscore.8.weight"]


def test_a_wide_decoder_refuses_fixed_upsampling() -> None:
    with pytest.raises(ValueError, match="learn_upsampling must be true"), torch.device("meta"):
        FCN8s(3, decoder="wide", learn_upsampling=False)


def test_trap_27_the_caffe_crops_are_those_that_the_coordinates_give() -> None:
    # The centre of the first pixel of each map, in image pixels: pad 100 before a 3x3, then 2x2 poolings, then a 7x7
    pool3 = -99 + 0.5 * (1 + 2 + 4)
    pool4 = pool3 + 0.5 * 8
    scores = pool4 + 0.5 * 16 + 3 * 32
    fused4 = scores - 1.5 * 16  # a transposed 4x4 of stride 2 begins 1.5 of its pixels before its input
    fused3 = fused4 - 1.5 * 8

    assert (fused4 - pool4) / 16 == CAFFE_SKIP_CROPS[0]
    assert (fused3 - pool3) / 8 == CAFFE_SKIP_CROPS[1]
    assert {32: 31.5 - scores, 16: 15.5 - fused4, 8: 7.5 - fused3} == CAFFE_CROPS


@pytest.mark.parametrize("network_class", [FCN32s, FCN16s, FCN8s])
@pytest.mark.parametrize("size", [(32, 32), (33, 97), (61, 64), (375, 500)])
def test_trap_27_caffe_padding_gives_the_same_shapes(network_class: type[FCN], size: tuple[int, int]) -> None:
    with torch.device("meta"):
        network = network_class(21, padding="caffe")

    assert network(torch.empty(1, 3, *size, device="meta")).logits.shape == (1, 21, *size)


@pytest.mark.parametrize(("padding", "sides"), [("caffe", [287, 144, 72, 36, 18]), ("same", [187, 93, 46, 23, 11])])
def test_trap_26_caffe_rounds_sizes_up_and_torchvision_down(
    padding: Literal["caffe", "same"], sides: list[int]
) -> None:
    with torch.device("meta"):
        encoder = FCN8s(21, padding=padding).encoder
        maps = encoder(torch.empty(1, 3, 375, 375))

    assert [features.shape[-1] for features in maps] == sides


def test_at_once_scales_the_skips() -> None:
    with torch.device("meta"):
        network = FCN8s(3, skip_scale="at_once")

    assert [fusion.scale for fusion in fusions_of(network)] == [0.01, 0.0001]


def test_fcn8s_starts_from_the_weights_of_fcn16s() -> None:
    with torch.device("meta"):
        fcn16s, fcn8s = FCN16s(3), FCN8s(3)

    ours, theirs = fcn8s.state_dict(), fcn16s.state_dict()

    assert theirs.keys() - ours.keys() == {"upscore.16.weight"}
    new = {"fusions.1.up.weight", "fusions.1.score.weight", "fusions.1.score.bias", "upscore.8.weight"}
    assert ours.keys() - theirs.keys() == new
    assert all(ours[name].shape == theirs[name].shape for name in ours.keys() & theirs.keys())


def test_trap_29_fc6_from_a_fully_connected_weight_equals_the_classifier(tmp_path: Path) -> None:
    torch.manual_seed(0)
    classifier = nn.Sequential(nn.Linear(512 * 7 * 7, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 512)).eval()
    path = tmp_path / "vgg16.safetensors"
    save_file({f"classifier.{name}": value for name, value in classifier.state_dict().items()}, path)
    network = FCN32s(3, head_width=512).eval()
    image = torch.randn(1, 3, 224, 224)

    network.load_head_from_classifier(path)

    with torch.inference_mode():
        pool5 = network.encoder(image)[-1]  # [1, 512, 7, 7]
        expected = classifier(pool5.flatten(1))
        ours = network.fc7(network.fc6(pool5).relu())[..., 3, 3]  # the one place where the 7x7 window is the whole map
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "has no classifier.0, from which to make the head of FCN"),
        (
            {"classifier.0.weight": torch.zeros(2, 3), "classifier.0.bias": torch.zeros(2)},
            r"classifier.0 in .*\[2, 3\]",
        ),
    ],
)
def test_a_file_without_a_fitting_classifier_is_refused(
    tmp_path: Path, weights: dict[str, Tensor], message: str
) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(weights, path)
    with torch.device("meta"):
        network = FCN32s(3)

    with pytest.raises(ValueError, match=message):
        network.load_head_from_classifier(path)
