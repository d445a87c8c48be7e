import pytest
import torch

from service.precision import precision_for
from service.settings import BadSetting


@pytest.mark.parametrize(
    ("setting", "device", "precision"),
    [
        ("float32", "cpu", "float32"),
        ("bfloat16", "cpu", "bfloat16"),
        ("float16", "cuda:1", "float16"),
        ("cuda=bfloat16,cpu=float32", "cuda:0", "bfloat16"),
        ("cuda=bfloat16,cpu=float32", "cpu", "float32"),
        ("cuda=bfloat16", "cpu", "float32"),
        ("cuda=float16,cuda:1=bfloat16", "cuda:0", "float16"),
        ("cuda=float16,cuda:1=bfloat16", "cuda:1", "bfloat16"),
        (" cpu = bfloat16 , cuda = float16 ", "cpu", "bfloat16"),
    ],
)
def test_a_device_takes_its_own_precision_else_that_of_its_kind_else_float32(
    setting: str, device: str, precision: str
) -> None:
    assert precision_for(setting, torch.device(device)) == precision


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("int8", "'int8' is no precision"),
        ("", "'' is no precision"),
        ("bfloat16,float32", "'bfloat16,float32' is no precision"),
        ("cuda=bf16,cpu=float32", "'bf16' is no precision"),
        ("cpu=", "'' is no precision"),
        ("cuda=bfloat16,", "'' is no device"),
        ("gpu=bfloat16", "'gpu' is no device"),
        ("bfloat16,cpu=float32", "'bfloat16' is no device"),
        ("cpu=float32,cpu=bfloat16", "cpu is named twice"),
    ],
)
def test_what_makes_no_sense_is_refused_on_any_device(setting: str, told: str) -> None:
    with pytest.raises(BadSetting) as caught:
        precision_for(setting, torch.device("cpu"))

    assert str(caught.value).startswith(f"bad setting precision={setting}: {told}")
    assert "allowed are float32, bfloat16, float16, or by device, such as cuda=bfloat16,cpu=float32" in str(
        caught.value
    )
