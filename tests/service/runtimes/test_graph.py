from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.onnx_parity import random_network
from model_zoo.architectures import ARCHITECTURES
from model_zoo.checkpoint import Checkpoint, load
from model_zoo.labels import voc_palette
from model_zoo.onnx_graph import CannotTrace
from model_zoo.predict import predict
from model_zoo.preprocess import NetworkInput, network_input, normalise
from model_zoo.segmentation import PLAIN, Wanted
from model_zoo.spec import Argument, ModelSpec, Prediction, SizeRule
from service.runtimes import RUNTIMES
from service.runtimes.graph import RunGraph, build_graph
from service.settings import BadSetting, PrecisionName, Settings
from tests.model_zoo.test_architectures import SMALL
from tests.service.conftest import SPEC
from tests.service.fakes import noisy_image

CPU = torch.device("cpu")


@pytest.fixture(params=["openvino", "onnxruntime"])
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    pytest.importorskip(found)
    return found


@pytest.fixture
def checkpoint(checkpoints: Path) -> Checkpoint:
    return load(checkpoints / "tiny.safetensors")


def pictures(spec: ModelSpec, *sizes: tuple[int, int]) -> list[NetworkInput]:
    return [network_input(noisy_image(size, seed=seed), spec) for seed, size in enumerate(sizes)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_gives_the_masks_of_torch(name: str, architecture: str, checkpoint: Checkpoint) -> None:
    arguments: Mapping[str, Argument] = SMALL.get(architecture, {})
    spec = ModelSpec(
        architecture=architecture, arguments=arguments, classes=tuple("abcde"), palette=voc_palette(5),
        size=SizeRule(side=128),
    )  # fmt: skip
    network = random_network(spec)
    header = checkpoint.header.model_copy(update={"spec": spec})
    runtime = RUNTIMES[name](Checkpoint(network, header), CPU, Settings())
    images = pictures(spec, (150, 100), (150, 100))

    found = runtime(images, [PLAIN, Wanted(sums=True, flip=True)])

    expected = predict(network, images, spec, wanted=[PLAIN, Wanted(sums=True, flip=True)])
    same = [(one.mask == other.mask).double().mean() for one, other in zip(found, expected, strict=True)]
    assert min(same) > 0.999
    torch.testing.assert_close(found[1].probability_sums, expected[1].probability_sums, rtol=0.01, atol=1)


def test_images_of_any_size_are_taken(name: str, checkpoint: Checkpoint) -> None:
    runtime = RUNTIMES[name](checkpoint, CPU, Settings())

    for image in pictures(SPEC, (64, 64), (30, 64), (64, 17), (500, 333)):
        (found,) = runtime([image], [PLAIN])
        (expected,) = predict(checkpoint.network, [image], SPEC)

        assert (found.mask == expected.mask).double().mean() > 0.999


def test_a_mask_stays_when_the_next_batch_has_come(name: str, checkpoint: Checkpoint) -> None:
    runtime = RUNTIMES[name](checkpoint, CPU, Settings())
    first, second = pictures(SPEC, (64, 64), (64, 64))
    wanted = Wanted(probabilities=True)

    (before,) = runtime([first], [wanted])
    assert before.probabilities is not None
    kept = before.probabilities.clone()
    runtime([second], [wanted])

    assert torch.equal(before.probabilities, kept)


def test_another_precision_is_told_not_to_be_had(name: str, checkpoint: Checkpoint) -> None:
    runtime = RUNTIMES[name](checkpoint, CPU, Settings(precision="float16"))

    assert runtime.precision == "float32"
    assert runtime.precision_note == f"float16 was asked for, but {name} computes in float32 here"
    assert runtime.weights_bytes == sum(tensor.nbytes for tensor in checkpoint.network.state_dict().values())


@pytest.mark.parametrize(("error", "precision"), [(1e-3, "bfloat16"), (10.0, "float32"), (float("nan"), "float32")])
def test_fewer_bits_are_taken_where_masks_stay(error: float, precision: str, checkpoint: Checkpoint) -> None:
    generator = np.random.default_rng(0)

    def compiled(_graph: bytes, _num_threads: int, wanted: PrecisionName) -> RunGraph:
        def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
            with torch.inference_mode():
                found: Prediction = checkpoint.network(normalise(torch.from_numpy(images), SPEC.input))
            scores: NDArray[np.float32] = found.scores.numpy()
            if wanted == "float32":
                return scores
            noise = generator.standard_normal(scores.shape) * scores.astype(np.float64).std()
            noisy: NDArray[np.float32] = (scores + error * noise).astype(np.float32)
            return noisy

        return run

    runtime = build_graph("noisy", compiled, checkpoint, CPU, Settings(precision="bfloat16"))

    assert runtime.precision == precision
    assert (runtime.precision_note is None) == (precision == "bfloat16")


def test_a_gpu_is_refused(name: str, checkpoint: Checkpoint) -> None:
    with pytest.raises(BadSetting, match=f"runtime={name}: it runs on CPUs alone, not on cuda:0"):
        RUNTIMES[name](checkpoint, torch.device("cuda:0"), Settings())


class Odd(nn.Module):
    """Answer tall images otherwise than wide ones, of which a trace sees only one."""

    def forward(self, images: Tensor) -> Prediction:
        return Prediction(images if images.shape[-1] > images.shape[-2] else -images)


def test_a_graph_that_differs_from_its_network_is_refused(name: str, checkpoint: Checkpoint) -> None:
    with pytest.raises(CannotTrace, match=r"differs from torch by 2\.0e\+00 of the largest score \(\w+, 160x32 pixels"):
        RUNTIMES[name](Checkpoint(Odd(), checkpoint.header), CPU, Settings())


def test_a_graph_of_another_size_is_refused(checkpoint: Checkpoint) -> None:
    def shrunk(_: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.zeros((1, 5, 1, 1), np.float32)

    def compiled(_graph: bytes, _num_threads: int, _precision: PrecisionName) -> RunGraph:
        return shrunk

    with pytest.raises(CannotTrace, match=r"gives \(1, 5, 1, 1\) scores .* torch \(1, 5, 64, 96\)"):
        build_graph("shrinking", compiled, checkpoint, CPU, Settings())
