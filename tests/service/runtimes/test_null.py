from pathlib import Path

import pytest
import torch

from model_zoo.checkpoint import Checkpoint, load
from model_zoo.preprocess import NetworkInput, network_input
from model_zoo.segmentation import PLAIN, Wanted
from service.runtimes.null import build_null
from service.runtimes.runtime import Runtime
from service.settings import Settings
from tests.service.conftest import SPEC
from tests.service.fakes import network_image, noisy_image


@pytest.fixture
def checkpoint(checkpoints: Path) -> Checkpoint:
    return load(checkpoints / "tiny.safetensors")


def build(checkpoint: Checkpoint, **values: object) -> Runtime:
    return build_null(checkpoint, torch.device("cpu"), Settings.model_validate(values))


def test_every_image_of_a_batch_gets_a_mask_of_its_own(checkpoint: Checkpoint) -> None:
    masks = [found.mask for found in build(checkpoint)([network_image(red) for red in (1, 7, 3)], [PLAIN] * 3)]

    assert [set(mask.flatten().tolist()) for mask in masks] == [{1}, {7 % SPEC.num_classes}, {3}]
    assert [(mask.dtype, tuple(mask.shape)) for mask in masks] == [(torch.uint8, (32, 32))] * 3


def test_the_class_of_a_pixel_is_its_red_modulo_the_number_of_classes(checkpoint: Checkpoint) -> None:
    pixels = torch.arange(3 * 16 * 16, dtype=torch.int64).remainder(256).byte().view(3, 16, 16)

    (found,) = build(checkpoint)([NetworkInput(pixels, (16, 16), (16, 16))], [PLAIN])

    assert torch.equal(found.mask, pixels[0] % SPEC.num_classes)


def test_the_mask_has_the_size_of_the_image_and_nothing_of_the_padding(checkpoint: Checkpoint) -> None:
    pixels = torch.full((3, 16, 32), 4, dtype=torch.uint8)
    pixels[:, :10, :20] = 2

    (found,) = build(checkpoint)([NetworkInput(pixels, (10, 20), (51, 99))], [PLAIN])

    assert found.mask.shape == (51, 99)
    assert set(found.mask.flatten().tolist()) == {2}


def test_it_is_sure_of_all_it_says_but_only_when_asked(checkpoint: Checkpoint) -> None:
    image = network_input(noisy_image(), SPEC)

    everything = Wanted(sums=True, confidence=True, probabilities=True)
    (asked,) = build(checkpoint)([image], [everything])
    (unasked,) = build(checkpoint)([image], [PLAIN])

    assert asked.probability_sums.tolist() == asked.mask.flatten().bincount(minlength=SPEC.num_classes).tolist()
    assert asked.confidence is not None
    assert asked.probabilities is not None
    assert set(asked.confidence.flatten().tolist()) == {255}
    assert torch.equal(asked.probabilities.argmax(0), asked.mask)
    assert unasked.probability_sums.tolist() == [0] * SPEC.num_classes
    assert (unasked.confidence, unasked.probabilities) == (None, None)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_image_of_the_failing_colour_fails_its_whole_batch(checkpoint: Checkpoint, place: int) -> None:
    batch = [network_image(1), network_image(2)]
    batch.insert(place, network_image(255))
    runtime = build(checkpoint, null_fail_color="FFffff")

    with pytest.raises(RuntimeError, match="colour"):
        runtime(batch, [PLAIN] * len(batch))


def test_other_colours_do_not_fail(checkpoint: Checkpoint) -> None:
    runtime = build(checkpoint, null_fail_color="ff0000")

    assert len(runtime([network_image(255), network_image(0)], [PLAIN] * 2)) == 2


def test_a_model_that_must_not_load_does_not(checkpoint: Checkpoint) -> None:
    with pytest.raises(RuntimeError, match="null_fail_load"):
        build(checkpoint, null_fail_load=True)


def test_it_says_that_it_computes_in_nothing_and_holds_nothing(checkpoint: Checkpoint) -> None:
    runtime = build(checkpoint)

    assert (runtime.precision, runtime.precision_note, runtime.weights_bytes) == ("none", None, 0)
