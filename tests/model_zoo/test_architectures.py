"""Hold every architecture to the same promises: one suite, and the table of sizes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from model_zoo.architectures import ARCHITECTURES, allowed_arguments, build
from model_zoo.backbones import Encoder
from model_zoo.spec import Argument, Prediction

NUM_CLASSES = 5
SMALL_FCN: Mapping[str, Argument] = {"head_kernel": 1, "head_width": 512, "score_init": "he", "drop_rate": 0.0}
SMALL: Mapping[str, Mapping[str, Argument]] = {
    "fcn32s": SMALL_FCN,
    "fcn16s": SMALL_FCN,
    "fcn8s": SMALL_FCN,
    "fcn_resnet": {"encoder": "resnet18"},
    "unet": {"base_channels": 4},
    "deeplabv3": {"encoder": "resnet18"},
}
"""Arguments that keep the suite quick; an architecture that is not here is tested as it is."""

every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)


@cache
def small_network(name: str, device: str = "cpu") -> nn.Module:
    torch.manual_seed(0)
    with torch.device(device):
        return build(name, NUM_CLASSES, SMALL.get(name, {})).eval()


def logits_of(network: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        prediction = network(images)
    assert isinstance(prediction, Prediction)
    assert not prediction.auxiliary
    return prediction.logits


def accepts(adapter: TypeAdapter[object], value: Argument) -> bool:
    try:
        adapter.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


@pytest.mark.no_cover
@every_architecture
@settings(max_examples=12, deadline=None)
@given(height=st.integers(32, 97), width=st.integers(32, 97))
@example(height=32, width=32)
@example(height=33, width=33)
@example(height=97, width=97)
@example(height=61, width=37)
def test_trap_26_logits_have_exactly_the_size_of_any_image(name: str, height: int, width: int) -> None:
    logits = logits_of(small_network(name), torch.zeros(1, 3, height, width))

    assert logits.shape == (1, NUM_CLASSES, height, width)


@pytest.mark.no_cover
@every_architecture
@pytest.mark.parametrize("size", [(375, 500), (700, 700), (32, 700)])
def test_trap_26_sizes_that_others_refuse(name: str, size: tuple[int, int]) -> None:
    logits = logits_of(small_network(name, "meta"), torch.empty(2, 3, *size, device="meta"))

    assert logits.shape == (2, NUM_CLASSES, *size)


@every_architecture
def test_logits_are_finite_and_can_be_negative(name: str) -> None:
    torch.manual_seed(1)

    logits = logits_of(small_network(name), torch.randn(1, 3, 33, 61))

    assert logits.shape == (1, NUM_CLASSES, 33, 61)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
    assert logits.min() < 0


@every_architecture
def test_evaluation_is_deterministic_and_images_of_a_batch_do_not_mix(name: str) -> None:
    torch.manual_seed(2)
    images = torch.randn(2, 3, 40, 56)
    network = small_network(name)

    together, again = logits_of(network, images), logits_of(network, images)
    alone = torch.cat([logits_of(network, images[:1]), logits_of(network, images[1:])])

    assert torch.equal(together, again)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@every_architecture
def test_channels_last_gives_the_same_logits(name: str) -> None:
    torch.manual_seed(3)
    images = torch.randn(1, 3, 48, 64)
    network = small_network(name)

    rows = logits_of(network, images)
    columns = logits_of(network, images.contiguous(memory_format=torch.channels_last))

    torch.testing.assert_close(rows, columns, rtol=1e-4, atol=1e-4)


@every_architecture
def test_bfloat16_autocast_stays_near_float32(name: str) -> None:
    torch.manual_seed(4)
    images = torch.randn(1, 3, 48, 64)
    network = small_network(name)

    exact = logits_of(network, images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = logits_of(network, images)

    assert (rough.float() - exact).abs().mean() < 0.05 * exact.abs().mean() + 1e-3


@every_architecture
def test_every_parameter_learns(name: str) -> None:
    torch.manual_seed(5)
    network = build(name, NUM_CLASSES, SMALL.get(name, {})).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    images, target = torch.randn(2, 3, 64, 64), torch.randint(NUM_CLASSES, (2, 64, 64))

    for _ in range(2):
        optimizer.zero_grad()
        prediction = network(images)
        scored = (prediction.logits, *prediction.auxiliary.values())
        loss = torch.stack([F.cross_entropy(logits, target) for logits in scored]).sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()

    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    dead = [name for name, gradient in gradients.items() if gradient is None or not gradient.any()]
    wild = [name for name, gradient in gradients.items() if gradient is not None and not gradient.isfinite().all()]
    assert (dead, wild) == ([], [])


@every_architecture
def test_trap_31_a_batch_of_one_can_be_trained_on(name: str) -> None:
    network = build(name, NUM_CLASSES, SMALL.get(name, {})).train()

    logits = network(torch.randn(1, 3, 64, 64)).logits

    assert logits.isfinite().all()


@pytest.mark.parametrize("name", ["fcn8s", "unet"])
@pytest.mark.parametrize(
    ("norm", "kind"), [("none", nn.Identity), ("batch", nn.BatchNorm2d), ("group", nn.GroupNorm)], ids=str
)
def test_row_10_the_norm_is_a_word_of_the_spec(name: str, norm: str, kind: type[nn.Module]) -> None:
    with torch.device("meta"):
        network = build(name, NUM_CLASSES, {"norm": norm})

    norms = {type(module) for module in network.modules()} & {nn.BatchNorm2d, nn.GroupNorm}

    assert norms == {kind} - {nn.Identity}


@pytest.mark.parametrize("name", ["fcn8s", "unet"])
def test_row_10_with_group_norm_a_batch_of_one_trains_as_any_other(name: str) -> None:
    torch.manual_seed(6)
    network = build(name, NUM_CLASSES, {**SMALL[name], "norm": "group"}).train()
    images = torch.randn(2, 3, 64, 64)

    together = network(images).logits
    alone = torch.cat([network(images[:1]).logits, network(images[1:]).logits])

    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@every_architecture
def test_trap_56_weights_are_contiguous_and_none_is_tied(name: str) -> None:
    weights = small_network(name).state_dict()

    assert all(weight.is_contiguous() for weight in weights.values())
    assert len({weight.data_ptr() for weight in weights.values()}) == len(weights)


@every_architecture
def test_building_on_meta_allocates_nothing_and_draws_no_random_numbers(name: str) -> None:
    before = torch.get_rng_state()

    with torch.device("meta"):
        network = build(name, 21, {})

    assert all(tensor.is_meta for tensor in network.state_dict().values())
    assert torch.equal(before, torch.get_rng_state())


@every_architecture
def test_a_pretrained_trunk_is_called_encoder(name: str) -> None:
    network = small_network(name, "meta")

    found = [child for child, module in network.named_modules() if isinstance(module, Encoder)]

    assert found in ([], ["encoder"])


@pytest.mark.parametrize(
    ("name", "num_classes", "arguments", "message"),
    [
        ("resnet", 21, {}, "unknown architecture 'resnet', known are fcn32s, fcn16s"),
        ("unet", 0, {}, "unet has 0 classes, allowed are 1 to 255"),
        ("unet", 256, {}, "unet has 256 classes, allowed are 1 to 255"),
        ("unet", 2, {"width": 3}, "unet has no argument 'width', known are in_channels, base_channels"),
        ("unet", 2, {"base_channels": 10**9}, "unet has base_channels=1000000000: Input should be less than or equal"),
        ("unet", 2, {"base_channels": True}, "unet has base_channels=True: Input should be a valid integer"),
        ("unet", 2, {"base_channels": 8.0}, "unet has base_channels=8.0: Input should be a valid integer"),
        ("unet", 2, {"padding": "full"}, "unet has padding='full': Input should be 'same' or 'valid'"),
        ("unet", 2, {"drop_rate": 1.0}, "unet has drop_rate=1.0: Input should be less than 1"),
        ("unet", 2, {"drop_rate": float("nan")}, "unet has drop_rate=nan: "),
        ("unet_encoder", 2, {"freeze_encoder": 1}, "unet_encoder has freeze_encoder=1: Input should be a valid bool"),
        ("unet_encoder", 2, {"encoder": "os"}, "unet_encoder has encoder='os': Input should be 'vgg16', 'vgg16_bn'"),
        ("fcn8s", 2, {"padding": "caffe", "head_kernel": 1}, "padding='caffe' is made for head_kernel=7"),
    ],
)
def test_a_bad_word_in_a_checkpoint_is_refused_in_one_line(
    name: str, num_classes: int, arguments: dict[str, Argument], message: str
) -> None:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as refusal, torch.device("meta"):
        build(name, num_classes, arguments)

    assert str(refusal.value).startswith(message)


@every_architecture
@pytest.mark.parametrize("hostile", [10**9, -1, 1e9, "x" * 1000])
def test_no_argument_can_be_made_huge(name: str, hostile: Argument) -> None:
    adapters = allowed_arguments(name)

    accepted = [argument for argument, adapter in adapters.items() if accepts(adapter, hostile)]

    assert accepted == []


LITE0_UNUSED = 320 * 1280 + 2 * 1280
"""The last convolution of EfficientNet-Lite0, which the reference table counts and no decoder uses."""
LITE0_ZEROS = (96 * 128**2 * 7 + 144 * 64**2 * 11 + 240 * 32**2 * 7) / 1e9
"""Mult-adds with the zero weights that stand for padding, in the depthwise convolutions of stride 2 up to 1/16."""


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("name", "arguments", "millions", "giga_macs"),
    [
        ("fcn32s", {"padding": "caffe"}, 136.153, 190.19),
        ("fcn16s", {"padding": "caffe"}, 134.816, 190.28),
        ("fcn8s", {"padding": "caffe"}, 134.490, 190.37),
        ("fcn8s", {}, 134.490, 111.31),
        ("fcn8s", {"decoder": "wide"}, 137.993, 118.63),
        ("fcn8s", {"decoder": "wide", "norm": "batch", "head_kernel": 1}, 37.338, 92.86),
        ("fcn8s", {"decoder": "wide", "norm": "batch", "head_width": 1024}, 45.132, 94.86),
        ("fcn8s", {"decoder": "wide", "norm": "batch", "head_kernel": 1, "head_width": 512}, 18.905, 88.14),
        ("fcn_resnet", {"auxiliary": False}, 32.957, 138.37),
        ("fcn_resnet", {"encoder": "resnet101", "auxiliary": False}, 51.949, 215.95),
        ("unet", {}, 31.039, 193.01),
        ("unet", {"base_channels": 32}, 7.764, 48.45),
        ("unet", {"base_channels": 16}, 1.943, 12.21),
        ("unet", {"base_channels": 8}, 0.487, 3.10),
        ("unet_encoder", {}, 6.632, 14.14),
        ("unet_encoder", {"encoder": "efficientnet_lite0"}, 5.618 - LITE0_UNUSED / 1e6, 12.58 + LITE0_ZEROS),
        ("deeplabv3", {"auxiliary": False}, 39.639, 163.58),
        ("deeplabv3", {"encoder": "resnet101", "auxiliary": False}, 58.631, 241.16),
        (
            "deeplabv3",
            {"encoder": "mobilenet_v3_large", "output_stride": 16, "auxiliary": False},
            11.025,
            9.83,
        ),
        ("deeplabv3plus", {}, 4.276 - LITE0_UNUSED / 1e6, 5.74 + LITE0_ZEROS),
        ("deeplabv3plus", {"encoder": "mobilenet_v2"}, 4.384, 6.01),
        ("deeplabv3plus", {"encoder": "resnet50"}, 26.683, 36.65),
        ("lraspp", {}, 3.222, 1.97),
    ],
)
def test_parameters_and_mult_adds_are_those_of_the_reference_table(
    name: str, arguments: dict[str, Argument], millions: float, giga_macs: float
) -> None:
    with torch.device("meta"):
        network = build(name, 21, arguments).eval()

    with FlopCounterMode(display=False) as counter:
        logits_of(network, torch.empty(1, 3, 512, 512, device="meta"))

    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, abs=6e-4)
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga_macs, abs=6e-3)
