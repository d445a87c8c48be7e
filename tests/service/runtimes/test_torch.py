import logging
from pathlib import Path

import pytest
import torch

from model_zoo.checkpoint import Checkpoint, load
from model_zoo.preprocess import NetworkInput, network_input
from model_zoo.segmentation import PLAIN, Wanted
from service.memory import measured_peak
from service.runtimes.torch import TorchRuntime, build_torch
from service.settings import BadSetting, Settings
from tests.service.conftest import SPEC
from tests.service.fakes import noisy_image

CPU = torch.device("cpu")
SUMS = Wanted(sums=True)


@pytest.fixture
def checkpoint(checkpoints: Path) -> Checkpoint:
    return load(checkpoints / "tiny.safetensors")


def images(num_images: int) -> list[NetworkInput]:
    return [network_input(noisy_image(seed=seed), SPEC) for seed in range(num_images)]


def build(checkpoint: Checkpoint, precision: str, device: torch.device = CPU) -> TorchRuntime:
    runtime = build_torch(checkpoint, device, Settings(precision=precision))
    assert isinstance(runtime, TorchRuntime)
    return runtime


def test_float32_is_what_runs_unless_something_else_is_asked_for(checkpoint: Checkpoint) -> None:
    runtime = build_torch(checkpoint, CPU, Settings())

    assert (runtime.precision, runtime.precision_note) == ("float32", None)
    assert runtime.weights_bytes == sum(tensor.nbytes for tensor in checkpoint.network.state_dict().values())


def test_every_image_gets_the_mask_that_it_has_alone(checkpoint: Checkpoint) -> None:
    runtime = build(checkpoint, "float32")

    together = runtime(images(3), [SUMS] * 3)

    for image, found in zip(images(3), together, strict=True):
        (alone,) = runtime([image], [SUMS])
        assert torch.equal(found.mask, alone.mask)
        torch.testing.assert_close(found.probability_sums, alone.probability_sums)


def test_memory_grows_with_the_mask_not_with_the_logits_of_its_size(checkpoint: Checkpoint) -> None:
    runtime = build(checkpoint, "float32")

    def peak_bytes(height: int) -> int:
        image = network_input(noisy_image((1600, height)), SPEC)
        return measured_peak(CPU, lambda: runtime([image], [SUMS]))[1]

    grown = peak_bytes(2800) - peak_bytes(1800)

    assert grown < 2 * 1600 * 1000  # a byte a pixel, where logits take 4 for each of the 5 classes


def test_bfloat16_gives_the_masks_of_float32_for_half_the_weights(checkpoint: Checkpoint) -> None:
    expected = build(checkpoint, "float32")
    runtime = build(checkpoint, "bfloat16")

    pairs = list(zip(runtime(images(4), [PLAIN] * 4), expected(images(4), [PLAIN] * 4), strict=True))

    assert (runtime.precision, runtime.precision_note) == ("bfloat16", None)
    assert runtime.weights_bytes < 0.6 * expected.weights_bytes
    assert min((found.mask == wanted.mask).double().mean().item() for found, wanted in pairs) > 0.98


def test_a_precision_for_other_devices_is_not_used(checkpoint: Checkpoint) -> None:
    assert build(checkpoint, "cuda=bfloat16").precision == "float32"


def test_a_network_that_suffers_runs_in_float32_and_says_so(
    checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    with torch.no_grad():
        checkpoint.network.score.weight.mul_(1e6)  # type: ignore[union-attr, operator]  # float16 ends at 65504
    expected = build(checkpoint, "float32")(images(1), [PLAIN])

    with caplog.at_level(logging.WARNING):
        runtime = build(checkpoint, "float16")

    assert runtime.precision == "float32"
    assert runtime.precision_note == "float16 was asked for, but it gives numbers that are not finite"
    assert torch.equal(runtime(images(1), [PLAIN])[0].mask, expected[0].mask)
    (record,) = caplog.records
    assert vars(record)["model"] == "tiny"
    assert vars(record)["reason"] == runtime.precision_note


def test_an_unknown_precision_is_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(BadSetting, match="'int8' is no precision"):
        build(checkpoint, "int8")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_gpu_runs_in_half_the_bits(checkpoint: Checkpoint, precision: str) -> None:
    expected = build(checkpoint, "float32")(images(1), [PLAIN])[0].mask

    runtime = build(checkpoint, precision, torch.device("cuda"))

    assert (runtime.precision, runtime.precision_note) == (precision, None)
    assert (runtime(images(1), [PLAIN])[0].mask == expected).double().mean() > 0.98
