"""Hold the graph of every architecture and encoder against the network that it was made of, at three sizes."""

from collections.abc import Mapping
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from benchmarks.onnx_parity import random_network
from model_zoo.architectures import ARCHITECTURES
from model_zoo.backbones import EncoderName
from model_zoo.onnx_graph import MAX_BYTES
from model_zoo.spec import Argument, InputRule, ModelSpec, Prediction
from tests.training.exporting.specs import spec_of
from training.errors import InvalidExport
from training.exporting.choices import DEFAULT_OPSET, OPSETS
from training.exporting.graph import make_graph
from training.exporting.parity import SIZES, Parity, compare

SMALL_FCN: Mapping[str, Argument] = {
    "encoder": "narrow_vgg", "head_width": 128, "head_kernel": 1, "score_init": "he",
}  # fmt: skip
SMALL: Mapping[str, Mapping[str, Argument]] = {
    "fcn32s": SMALL_FCN,
    "fcn16s": SMALL_FCN,
    "fcn8s": SMALL_FCN,
    "fcn_resnet": {"encoder": "resnet18", "output_stride": 16},
    "unet": {"base_channels": 4},
    "unet_encoder": {"base_channels": 4},
    "deeplabv3": {"encoder": "resnet18", "output_stride": 16},
    "deeplabv3plus": {"decoder_channels": 32},
    "fpn": {"pyramid_channels": 64, "segmentation_channels": 64},
}
"""Arguments that keep the suite quick; an architecture that is not here is exported as it is."""

CAFFE: Mapping[str, Argument] = {"padding": "caffe", "head_width": 128, "score_init": "he"}
VARIANTS = [
    pytest.param("fcn8s", CAFFE, marks=pytest.mark.soak),  # made for VGG-16 at its full width
    ("fcn8s", {**SMALL_FCN, "decoder": "wide"}),
    ("fcn8s", {**SMALL_FCN, "skip_scale": "at_once", "score_activation": "norm_relu_all"}),
    ("unet", {"base_channels": 4, "padding": "valid", "norm": "none"}),
    ("unet", {"base_channels": 4, "norm": "group"}),
    ("deeplabv3plus", {"output_stride": 8, "decoder_channels": 32}),
    ("deeplabv3plus", {"encoder": "mobilenet_v3_large", "decoder_channels": 32, "align_corners": True}),
    ("fpn", {**SMALL["fpn"], "merge": "cat", "align_corners": True}),
]

ALIKE = {"vgg16", "vgg16_bn", "resnet34", "resnet101", "efficientnet_lite1", "efficientnet_lite2"}
ENCODERS = [pytest.param(name, marks=pytest.mark.soak) if name in ALIKE else name for name in get_args(EncoderName)]
"""The encoders; those that have no kind of layer that the others here have not are left to the long tests."""


def parity_of(spec: ModelSpec, *, opset: int = DEFAULT_OPSET) -> list[Parity]:
    network = random_network(spec)
    return compare(make_graph(network, spec, opset=opset).SerializeToString(), network, spec)


def assert_close(found: list[Parity]) -> None:
    assert [(one.batch, one.height, one.width) for one in found] == list(SIZES)
    assert min(one.largest_logit for one in found) > 0
    assert all(one.is_close for one in found)
    assert min(one.equal_pixels for one in found) > 0.999


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("opset", [OPSETS[0], pytest.param(OPSETS[-1], marks=pytest.mark.soak)])
def test_trap_33_the_graph_of_an_architecture_gives_its_logits_at_any_size(name: str, opset: int) -> None:
    assert_close(parity_of(spec_of(name, SMALL.get(name, {})), opset=opset))


@pytest.mark.parametrize(("name", "arguments"), VARIANTS)
def test_the_graph_of_a_variant_gives_its_logits_at_any_size(name: str, arguments: Mapping[str, Argument]) -> None:
    assert_close(parity_of(spec_of(name, arguments)))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_the_graph_of_an_encoder_gives_its_logits_at_any_size(encoder: str) -> None:
    assert_close(parity_of(spec_of("unet_encoder", {"encoder": encoder, "base_channels": 4})))


@pytest.mark.parametrize(
    ("rule", "in_channels"),
    [
        (InputRule(color_order="grey", mean=(0.4,), std=(0.3,)), 1),
        (InputRule(color_order="bgr", mean=(0.1, 0.4, 0.7), std=(0.2, 0.5, 1.0)), 3),
    ],
    ids=["grey", "bgr"],
)
def test_the_graph_normalises_as_the_spec_says(rule: InputRule, in_channels: int) -> None:
    assert_close(parity_of(spec_of("unet", {"base_channels": 4, "in_channels": in_channels}, rule)))


class Odd(nn.Module):
    """Answer wide images otherwise than narrow ones, of which a trace sees only one."""

    def forward(self, images: Tensor) -> Prediction:
        """Map ``[B, 3, H, W]`` to ``[B, 3, H, W]``."""
        return Prediction(images if images.shape[-1] < 200 else -images)


class Unbounded(nn.Module):
    """Answer with infinity, as a network does whose weights are too large."""

    def forward(self, images: Tensor) -> Prediction:
        """Map ``[B, 3, H, W]`` to ``[B, 3, H, W]``."""
        return Prediction(images * float("inf"))


class Unspeakable(nn.Module):
    """Do what ONNX has no operation for."""

    def forward(self, images: Tensor) -> Prediction:
        """Map ``[B, 3, H, W]`` to ``[B, 3, H, W]``."""
        return Prediction(torch.special.bessel_j0(images))


class Huge(nn.Module):
    """Have more weights than a file holds, none of which takes memory."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(MAX_BYTES // 4 + 1, device="meta"))


def test_a_graph_that_differs_at_one_size_is_refused() -> None:
    spec = spec_of("unet", {})
    model = make_graph(Odd(), spec, opset=DEFAULT_OPSET).SerializeToString()

    with pytest.raises(InvalidExport, match=r"images of 203x270 px: the graph's logits are \S+ from torch's, at most"):
        compare(model, Odd(), spec)


def test_a_network_whose_logits_are_not_finite_is_refused() -> None:
    spec = spec_of("unet", {})
    model = make_graph(Unbounded(), spec, opset=DEFAULT_OPSET).SerializeToString()

    with pytest.raises(InvalidExport, match=r"images of 33x47 px: the network's own logits are not finite"):
        compare(model, Unbounded(), spec)


def test_what_onnx_has_no_words_for_is_refused_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidExport, match=r"torch cannot express the network in opset 17: .*bessel_j0") as refusal:
        make_graph(Unspeakable(), spec_of("unet", {}), opset=DEFAULT_OPSET)

    assert capfd.readouterr() == ("", "")
    assert "\n" not in str(refusal.value)


def test_weights_of_two_gigabytes_are_refused() -> None:
    with pytest.raises(InvalidExport, match=f"the weights are {MAX_BYTES + 4} bytes, .* holds {MAX_BYTES}"):
        make_graph(Huge(), spec_of("unet", {}), opset=DEFAULT_OPSET)


def test_what_onnx_runtime_cannot_read_is_refused() -> None:
    with pytest.raises(InvalidExport, match=r"ONNX Runtime .* cannot run the graph: "):
        compare(b"no model", Odd(), spec_of("unet", {}))
