"""Refuse folders of segmentation-models-pytorch that are no network of the zoo, each in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.training.importing.smp_folders import smp_folder
from training.errors import InvalidImport
from training.importing.smp import read_smp
from training.importing.texts import MAX_BYTES

HUGE = 10**9
UNET, DEEPLAB, FPN = ({"_model_class": kind, "encoder_name": "resnet18"} for kind in ("Unet", "DeepLabV3Plus", "FPN"))


def refusal(folder: Path) -> str:
    """Give the line with which a folder is refused, without the folder's own name."""
    with pytest.raises(InvalidImport, match=r"\A[^\n]+\Z") as refused:
        read_smp(folder)
    return str(refused.value).replace(str(folder), "FOLDER")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"_model_class": "UnetPlusPlus"},
            "_model_class = 'UnetPlusPlus': the zoo has no such network, only Unet, DeepL",
        ),
        ({"encoder_name": "resnet18"}, "field '_model_class' is missing"),
        ({"_model_class": ["Unet"]}, "_model_class = ['Unet']: Input should be a valid string"),
        ([UNET], "Input should be an object"),
        (
            {**UNET, "encoder_name": "mit_b0"},
            "encoder_name = 'mit_b0': the zoo has no such encoder, only resnet18, res",
        ),
        (
            {**UNET, "encoder_name": "timm-tf_efficientnet_lite0"},
            "encoder_name = 'timm-tf_efficientnet_lite0': the zoo",
        ),
        ({**UNET, "in_channels": 1}, "in_channels = 1: Input should be 3"),
        ({**UNET, "encoder_depth": 2}, "encoder_depth = 2: Input should be greater than or equal to 3"),
        (
            {**UNET, "encoder_depth": 4},
            "decoder_channels = (256, 128, 64, 32, 16): an encoder_depth of 4 needs 4 widths",
        ),
        ({**UNET, "decoder_channels": [8, 4]}, "decoder_channels = [8, 4]: an encoder_depth of 5 needs 5 widths"),
        ({**UNET, "decoder_attention_type": "scse"}, "decoder_attention_type = 'scse': Input should be null"),
        (
            {**UNET, "decoder_interpolation": "bilinear"},
            "decoder_interpolation = 'bilinear': Input should be 'nearest'",
        ),
        ({**UNET, "decoder_use_norm": "instancenorm"}, "decoder_use_norm = 'instancenorm': only batchnorm would fit"),
        ({**UNET, "decoder_use_norm": False}, "decoder_use_norm = False: only batchnorm would fit"),
        (
            {**UNET, "decoder_use_norm": {"type": "batchnorm", "eps": 1}},
            "decoder_use_norm = {'type': 'batchnorm', 'eps'",
        ),
        ({**UNET, "decoder_use_batchnorm": "inplace"}, "decoder_use_batchnorm = 'inplace': only batchnorm would fit"),
        ({**UNET, "decoder_colour": "red"}, "unknown field 'decoder_colour'"),
        (
            {**UNET, "activation": "tanh"},
            "activation = 'tanh': a mask has one class a pixel, so that only None, identi",
        ),
        (
            {**UNET, "classes": 3, "activation": "sigmoid"},
            "activation = 'sigmoid': a mask has one class a pixel, so th",
        ),
        (
            {**UNET, "classes": 1, "activation": "softmax2d"},
            "activation = 'softmax2d': a mask has one class a pixel, s",
        ),
        ({**UNET, "classes": 0}, "classes = 0: Input should be greater than or equal to 1"),
        ({**UNET, "classes": True}, "classes = True: Input should be a valid integer"),
        ({**UNET, "classes": HUGE}, "classes = 1000000000: Input should be less than or equal to 255"),
        ({**UNET, "encoder_depth": HUGE}, "encoder_depth = 1000000000: Input should be less than or equal to 5"),
        (
            {**UNET, "decoder_channels": [HUGE] * 5},
            "decoder_channels.0 = 1000000000: Input should be less than or equal",
        ),
        ({**UNET, "decoder_channels": [8] * HUGE.bit_length()}, "decoder_channels = [8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8"),
        ({**DEEPLAB, "decoder_channels": HUGE}, "decoder_channels = 1000000000: Input should be less than or equal to"),
        ({**DEEPLAB, "decoder_channels": 513}, "deeplabv3plus has decoder_channels=513: Input should be less than or"),
        ({**DEEPLAB, "decoder_atrous_rates": [6, 12]}, "field 'decoder_atrous_rates.2' is missing"),
        (
            {**DEEPLAB, "decoder_atrous_rates": [6, 12, HUGE]},
            "decoder_atrous_rates.2 = 1000000000: Input should be less",
        ),
        ({**DEEPLAB, "decoder_aspp_separable": False}, "decoder_aspp_separable = False: Input should be True"),
        ({**DEEPLAB, "decoder_aspp_dropout": 1.0}, "decoder_aspp_dropout = 1.0: Input should be less than 1"),
        ({**DEEPLAB, "encoder_output_stride": 32}, "encoder_output_stride = 32: Input should be 8 or 16"),
        (
            {**DEEPLAB, "encoder_name": "vgg16"},
            "encoder_name = 'vgg16': its strides cannot become dilation, only those of res",
        ),
        ({**DEEPLAB, "upsampling": 1}, "upsampling = 1: Input should be 4"),
        ({**FPN, "encoder_depth": 4}, "encoder_depth = 4: Input should be 5"),
        ({**FPN, "decoder_merge_policy": "max"}, "decoder_merge_policy = 'max': Input should be 'add' or 'cat'"),
        ({**FPN, "decoder_pyramid_channels": HUGE}, "decoder_pyramid_channels = 1000000000: Input should be less than"),
        ({**FPN, "decoder_segmentation_channels": 80}, "fpn has segmentation_channels=80: Input should be a multiple"),
        ({**FPN, "decoder_interpolation": "bicubic"}, "decoder_interpolation = 'bicubic': Input should be 'nearest'"),
    ],
)
def test_a_config_of_another_network_is_refused_before_any_weight_is_looked_at(
    tmp_path: Path, config: object, message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))

    assert refusal(tmp_path).startswith(f"FOLDER/config.json: {message}")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"_model_class": NaN_}', b'{"classes": 1' + b"0" * 5000 + b"}"],
)
def test_a_config_that_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)

    assert refusal(tmp_path).startswith("FOLDER/config.json: ")


def test_a_config_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(100 * MAX_BYTES)

    assert refusal(tmp_path) == f"FOLDER/config.json: is longer than {MAX_BYTES} bytes"


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    smp_folder(tmp_path)
    (tmp_path / "config.json").unlink()

    assert refusal(tmp_path).startswith("FOLDER/config.json: there is no such file; save_pretrained writes one")


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(UNET))

    assert refusal(tmp_path) == "FOLDER: has neither model.safetensors nor pytorch_model.bin"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Give the weights of a U-Net on ResNet-18 with the default widths and one class."""
    folder = tmp_path_factory.mktemp("unet")
    smp_folder(folder, encoder="resnet18", decoder_channels=(256, 128, 64, 32, 16), classes=1)
    return load_file(folder / "model.safetensors")


def folder_of(tmp_path: Path, weights: dict[str, Tensor]) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(UNET))
    save_file(weights, tmp_path / "model.safetensors")
    return tmp_path


def test_missing_tensors_are_named_and_counted(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("decoder.blocks.2.")}

    assert refusal(folder_of(tmp_path, kept)) == (
        "FOLDER/model.safetensors: Unet on resnet18 misses decoder.blocks.2.conv1.0.weight, "
        "decoder.blocks.2.conv1.1.weight, decoder.blocks.2.conv1.1.bias, ... (10 in all)"
    )


def test_tensors_in_excess_are_named(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    more = {**weights, "classification_head.3.weight": torch.zeros(2, 512)}

    assert refusal(folder_of(tmp_path, more)) == (
        "FOLDER/model.safetensors: Unet on resnet18 has in excess classification_head.3.weight"
    )


def test_misshapen_tensors_are_named_with_both_shapes(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    odd = {**weights, "segmentation_head.0.weight": torch.zeros(2, 16, 3, 3)}

    assert refusal(folder_of(tmp_path, odd)) == (
        "FOLDER/model.safetensors: Unet on resnet18 has other shapes: "
        "segmentation_head.0.weight [2, 16, 3, 3] in place of [1, 16, 3, 3]"
    )


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    odd = {**weights, "segmentation_head.0.bias": torch.tensor([torch.nan])}

    assert refusal(folder_of(tmp_path, odd)) == (
        "FOLDER/model.safetensors: segmentation_head.0.bias holds 1 of 1 values that are NaN or infinite"
    )


def test_a_damaged_file_of_weights_is_refused(tmp_path: Path, weights: dict[str, Tensor]) -> None:
    path = folder_of(tmp_path, weights) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])

    assert refusal(tmp_path).startswith("FOLDER/model.safetensors: ")


class Code:
    """Write a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(UNET))
    torch.save({"encoder.conv1.weight": Code(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")

    assert refusal(tmp_path).startswith("FOLDER/pytorch_model.bin: ")
    assert not (tmp_path / "ran").exists()
