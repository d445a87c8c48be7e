"""Hold networks of segmentation-models-pytorch that were imported against themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model_zoo.architectures import build
from model_zoo.spec import SizeRule
from tests.training.importing.smp_folders import NETWORKS, change_config, imported, logits_of, smp_folder
from training.importing.smp import read_smp
from training.importing.smp_config import CONFIGS
from training.importing.smp_encoders import ENCODERS
from training.importing.smp_names import smp_name

VARIED = [
    ("Unet", "resnet18", {}),
    ("Unet", "resnet34", {"decoder_channels": (256, 128, 64, 32, 16)}),
    ("Unet", "vgg16", {}),
    ("Unet", "vgg16_bn", {"encoder_depth": 3, "decoder_channels": (32, 16, 8)}),
    ("Unet", "mobilenet_v2", {"encoder_depth": 4, "decoder_channels": (32, 16, 16, 8)}),
    ("Unet", "tu-resnet18", {}),
    ("Unet", "tu-tf_efficientnet_lite0", {}),
    ("Unet", "tu-tf_efficientnet_lite1", {"encoder_depth": 3, "decoder_channels": (32, 16, 8)}),
    ("Unet", "tu-tf_efficientnet_lite2", {}),
    ("DeepLabV3Plus", "resnet18", {}),
    ("DeepLabV3Plus", "resnet18", {"encoder_output_stride": 8, "decoder_channels": 256}),
    ("DeepLabV3Plus", "mobilenet_v2", {"decoder_atrous_rates": (1, 3, 11)}),
    ("DeepLabV3Plus", "resnet50", {}),
    ("DeepLabV3Plus", "tu-resnet18", {"encoder_output_stride": 8}),
    ("DeepLabV3Plus", "tu-tf_efficientnet_lite0", {"encoder_output_stride": 8}),
    ("FPN", "resnet18", {}),
    ("FPN", "mobilenet_v2", {"decoder_merge_policy": "cat"}),
    ("FPN", "tu-tf_efficientnet_lite0", {"decoder_pyramid_channels": 256, "decoder_segmentation_channels": 128}),
]
PAIRS = [
    *(("Unet", encoder) for encoder in ENCODERS),
    *(("FPN", encoder) for encoder in ENCODERS),
    *(("DeepLabV3Plus", name) for name, encoder in ENCODERS.items() if encoder.can_be_dilated),
]


@pytest.mark.no_cover
@pytest.mark.parametrize(("kind", "encoder", "options"), VARIED)
def test_an_imported_network_gives_the_logits_of_its_origin(
    tmp_path: Path, kind: str, encoder: str, options: dict[str, object]
) -> None:
    theirs = smp_folder(tmp_path / "theirs", kind, encoder, **options)
    images = torch.randn(1, 3, 96, 160)

    ours = imported(tmp_path / "theirs")

    expected = logits_of(theirs, images)
    assert expected.std() > 0.05
    torch.testing.assert_close(logits_of(ours, images), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_square_image_gives_the_logits_of_its_origin(tmp_path: Path, kind: str) -> None:
    theirs = smp_folder(tmp_path / "theirs", kind, "mobilenet_v2")
    images = torch.randn(2, 3, 64, 64)

    ours = imported(tmp_path / "theirs")

    torch.testing.assert_close(logits_of(ours, images), logits_of(theirs, images), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", NETWORKS)
def test_sizes_that_their_networks_refuse_or_pad_get_a_mask_too(tmp_path: Path, kind: str) -> None:
    smp_folder(tmp_path / "theirs", kind, "mobilenet_v2")

    ours = imported(tmp_path / "theirs")

    assert logits_of(ours, torch.randn(1, 3, 75, 93)).shape == (1, 3, 75, 93)


@pytest.mark.no_cover
@pytest.mark.parametrize(("kind", "encoder"), PAIRS)
def test_every_weight_of_every_encoder_has_its_name_and_shape(kind: str, encoder: str) -> None:
    config = CONFIGS[kind].model_validate({"_model_class": kind, "encoder_name": encoder, "classes": 7})
    with torch.device("meta"):
        theirs = NETWORKS[kind](encoder, encoder_weights=None, classes=7).state_dict()
        ours = build(config.architecture, 7, config.arguments()).state_dict()

    named = {smp_name(name, config.architecture, config.encoder): tensor.shape for name, tensor in ours.items()}

    assert named == {name: tensor.shape for name, tensor in theirs.items()}


@pytest.mark.parametrize("activation", [None, "sigmoid"])
def test_a_network_of_one_class_becomes_one_of_two_whose_softmax_is_the_sigmoid(
    tmp_path: Path, activation: str | None
) -> None:
    theirs = smp_folder(tmp_path / "theirs", classes=1)
    change_config(tmp_path / "theirs", activation=activation)
    images = torch.randn(1, 3, 96, 160)

    ours = imported(tmp_path / "theirs")

    scores, logits = logits_of(theirs, images), logits_of(ours, images)
    assert torch.equal(logits[:, :1], torch.zeros_like(scores))
    torch.testing.assert_close(logits[:, 1:], scores, atol=1e-4, rtol=0)
    torch.testing.assert_close(logits.softmax(dim=1)[:, 1:], scores.sigmoid())
    assert torch.equal(logits.argmax(dim=1) == 1, scores[:, 0].sigmoid() > 0.5)


@pytest.mark.filterwarnings("ignore:Implicit dimension choice:UserWarning")  # torch's of their softmax
@pytest.mark.parametrize("activation", ["softmax2d", "logsoftmax", "identity"])
def test_an_activation_that_leaves_the_mask_as_it_is_is_left_out(tmp_path: Path, activation: str) -> None:
    theirs = smp_folder(tmp_path / "theirs", activation=activation)
    images = torch.randn(1, 3, 64, 64)

    ours = imported(tmp_path / "theirs")

    assert torch.equal(logits_of(ours, images).argmax(dim=1), logits_of(theirs, images).argmax(dim=1))


@pytest.mark.parametrize(
    ("options", "notes"),
    [
        ({}, ""),
        ({"classes": 1}, " (one class, with a background put before it)"),
        ({"aux_params": {"classes": 4}}, " (without its classification head)"),
        (
            {"classes": 1, "aux_params": {"classes": 4}},
            " (one class, with a background put before it, without its classification head)",
        ),
    ],
)
def test_what_was_changed_is_told(tmp_path: Path, options: dict[str, object], notes: str) -> None:
    smp_folder(tmp_path, "Unet", "resnet18", **options)

    assert read_smp(tmp_path).origin == f"segmentation-models-pytorch's Unet on resnet18{notes}"


def test_a_classification_head_is_left_behind(tmp_path: Path) -> None:
    theirs = smp_folder(tmp_path / "theirs", aux_params={"classes": 4})
    images = torch.randn(1, 3, 64, 64)

    ours = imported(tmp_path / "theirs")

    torch.testing.assert_close(logits_of(ours, images), logits_of(theirs, images), atol=1e-4, rtol=0)


def test_an_old_folder_with_a_pickle_of_tensors_is_read(tmp_path: Path) -> None:
    theirs = smp_folder(tmp_path)
    weights = {name: tensor for name, tensor in theirs.state_dict().items() if "num_batches_tracked" not in name}
    torch.save(weights, tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    images = torch.randn(1, 3, 64, 64)

    ours = imported(tmp_path)

    torch.testing.assert_close(logits_of(ours, images), logits_of(theirs, images), atol=1e-4, rtol=0)


def test_weights_of_half_precision_are_read_as_float32(tmp_path: Path) -> None:
    theirs = smp_folder(tmp_path).half().float()
    halves = {name: tensor.half() for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    save_file(halves, tmp_path / "model.safetensors")
    images = torch.randn(1, 3, 64, 64)

    ours = imported(tmp_path)

    torch.testing.assert_close(logits_of(ours, images), logits_of(theirs, images), atol=1e-4, rtol=0)


def test_a_config_that_says_little_means_the_defaults_of_that_package(tmp_path: Path) -> None:
    theirs = smp_folder(tmp_path, encoder="resnet34", decoder_channels=(256, 128, 64, 32, 16), classes=1)
    (tmp_path / "config.json").write_text(
        '{"_model_class": "Unet", "encoder_weights": "imagenet", "decoder_use_batchnorm": true}'
    )
    images = torch.randn(1, 3, 64, 64)

    ours = imported(tmp_path)

    torch.testing.assert_close(logits_of(ours, images)[:, 1:], logits_of(theirs, images), atol=1e-4, rtol=0)


@pytest.mark.parametrize("norm", [True, "batchnorm", {"type": "batchnorm"}])
def test_batch_norm_has_three_names(tmp_path: Path, norm: object) -> None:
    smp_folder(tmp_path, decoder_use_norm=norm)

    assert read_smp(tmp_path).architecture == "unet_encoder"


def test_a_tag_of_timms_weights_is_no_part_of_the_encoders_name(tmp_path: Path) -> None:
    smp_folder(tmp_path, encoder="tu-resnet18.a1_in1k")

    assert read_smp(tmp_path).arguments["encoder"] == "resnet18"


@pytest.mark.parametrize(
    ("encoder", "mean", "std"),
    [
        ("mobilenet_v2", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("tu-tf_efficientnet_lite0", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ],
)
def test_images_are_shown_as_the_encoders_imagenet_weights_were_trained(
    tmp_path: Path, encoder: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    smp_folder(tmp_path, encoder=encoder)

    found = read_smp(tmp_path)

    assert (found.input.mean, found.input.std) == (mean, std)
    assert found.size == SizeRule()
