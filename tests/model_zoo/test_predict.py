import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from model_zoo.predict import predict, predict_with
from model_zoo.preprocess import NetworkInput, network_input
from model_zoo.segmentation import PLAIN, Wanted
from model_zoo.spec import InputRule, ModelSpec, Prediction, SizeRule

SPEC = ModelSpec(
    architecture="echo",
    classes=("dark", "bright"),
    palette=((0, 0, 0), (255, 255, 255)),
    input=InputRule(mean=(0.5,) * 3, std=(0.5,) * 3),
    size=SizeRule(side=64, multiple=32),
)


class Brightness(nn.Module):
    """Score ``bright`` by the red channel: the mask shows where bright pixels went in."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, images: Tensor) -> Prediction:
        assert not torch.is_grad_enabled()
        bright = self.scale * images[:, :1]
        return Prediction(torch.cat([-bright, bright], dim=1))


def half_bright(width: int, height: int) -> Image.Image:
    """Make an image whose right half is bright."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, width // 2 :] = 255
    return Image.fromarray(pixels)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 300), st.integers(2, 300))
def test_a_mask_has_the_size_of_its_image_and_lies_where_the_image_lies(width: int, height: int) -> None:
    image = half_bright(width, height)

    mask = predict(Brightness(), [network_input(image, SPEC)], SPEC)[0].mask

    assert mask.dtype == torch.uint8
    assert mask.shape == (height, width)
    near_edge = max(1, width // 64 + 1)
    assert not mask[:, : max(0, width // 2 - near_edge)].any()
    assert mask[:, width // 2 + near_edge :].all()


def test_images_of_one_network_shape_and_different_sizes_share_a_batch() -> None:
    images = [half_bright(64, 40), half_bright(128, 100), half_bright(50, 33)]
    inputs = [network_input(image, SPEC) for image in images]
    assert len({item.pixels.shape for item in inputs}) == 1

    together = predict(Brightness(), inputs, SPEC)

    alone = [predict(Brightness(), [item], SPEC)[0] for item in inputs]
    assert all(torch.equal(a.mask, b.mask) for a, b in zip(together, alone, strict=True))
    assert [tuple(item.mask.shape) for item in together] == [(40, 64), (100, 128), (33, 50)]


class Leftmost(Brightness):
    """Score ``bright`` at the left edge of what it sees, whatever is there."""

    def forward(self, images: Tensor) -> Prediction:
        score = torch.zeros_like(images[:, :1])
        score[..., 0] = 4.0
        return Prediction(torch.cat([-score - 1, score + 1], dim=1))


@pytest.mark.parametrize("width", [64, 50])
def test_a_flipped_view_is_laid_back_upon_the_image_and_averaged(width: int) -> None:
    inputs = [network_input(half_bright(width, 40), SPEC)] * 2

    alone, both = predict(
        Leftmost(), inputs, SPEC, wanted=[Wanted(probabilities=True), Wanted(probabilities=True, flip=True)]
    )

    assert alone.probabilities is not None
    assert both.probabilities is not None
    mirrored = (alone.probabilities + alone.probabilities.flip(-1)) / 2
    torch.testing.assert_close(both.probabilities, mirrored, atol=1e-3, rtol=0)


def test_what_one_image_of_a_batch_wants_changes_no_other() -> None:
    inputs = [network_input(half_bright(64, 40), SPEC)] * 2

    plain, much = predict(Brightness(), inputs, SPEC, wanted=[PLAIN, Wanted(confidence=True, flip=True, sums=True)])

    assert (plain.confidence, plain.probabilities, plain.probability_sums.tolist()) == (None, None, [0, 0])
    assert torch.equal(plain.mask, predict(Brightness(), inputs[:1], SPEC)[0].mask)
    assert much.confidence is not None


def test_probabilities_are_summed_over_the_pixels_of_each_class() -> None:
    inputs = [network_input(half_bright(64, 64), SPEC)]

    found = predict(Brightness(), inputs, SPEC, wanted=[Wanted(sums=True)])[0]

    counts = torch.bincount(found.mask.flatten(), minlength=2)
    torch.testing.assert_close(found.probability_sums, counts.double())  # the network is sure of itself


def test_probabilities_that_nobody_asked_for_are_zero() -> None:
    found = predict(Brightness(), [network_input(half_bright(64, 64), SPEC)], SPEC)[0]

    assert found.probability_sums.tolist() == [0, 0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_masks_of_the_cpu() -> None:
    inputs = [network_input(half_bright(100, 80), SPEC)]

    on_gpu = predict(Brightness().cuda(), inputs, SPEC)[0].mask

    assert torch.equal(on_gpu, predict(Brightness(), inputs, SPEC)[0].mask)


@pytest.mark.parametrize("num_images", [1, 3])
def test_masks_found_side_by_side_are_those_found_by_one_thread(num_images: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn((num_images, 5, 9, 8), generator=generator)
    item = NetworkInput(torch.zeros((3, 36, 32), dtype=torch.uint8), (36, 32), (50, 40))
    before = torch.get_num_threads()
    masks = {}

    for num_threads in (1, 2):
        torch.set_num_threads(num_threads)
        try:
            found = predict_with(lambda _: Prediction(scores, size=(36, 32)), [item] * num_images)
            assert torch.get_num_threads() == num_threads
        finally:
            torch.set_num_threads(before)
        masks[num_threads] = torch.stack([one.mask for one in found])

    assert torch.equal(masks[1], masks[2])
