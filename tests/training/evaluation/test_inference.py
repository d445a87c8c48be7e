import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from model_zoo.architectures.fcn import FCN32s
from model_zoo.predict import forward, network_batch
from model_zoo.preprocess import network_input
from model_zoo.shift_and_stitch import shift_and_stitch
from model_zoo.spec import InputRule, ModelSpec, Prediction, SizeRule
from training.errors import InvalidOption
from training.evaluation.crf import Crf, refine
from training.evaluation.inference import Inference, infer

SPEC = ModelSpec(
    architecture="unet",
    classes=("a", "b"),
    palette=((0, 0, 0), (1, 1, 1)),
    size=SizeRule(policy="longest", side=64, multiple=32),
)


class FirstChannels(nn.Module):
    """Give the first two channels of each pixel for its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))
        self.sizes: list[tuple[int, int]] = []

    def forward(self, images: Tensor) -> Prediction:
        self.sizes.append((images.shape[2], images.shape[3]))
        return Prediction(images[:, :2] * self.factor)


class LeftFromRight(nn.Module):
    """Give how far to the right a pixel lies in the network's input."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Prediction:
        across = torch.arange(images.shape[3]).float() * self.factor
        logits = torch.stack([across, -across])[None, :, None]
        return Prediction(logits.expand(len(images), 2, *images.shape[2:]))


def photo(width: int = 50, height: int = 40) -> Image.Image:
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def test_by_default_the_logits_are_those_of_serving() -> None:
    network = FirstChannels()

    logits = infer(network, photo(), SPEC, Inference())

    assert torch.equal(logits, forward(network, [network_input(photo(), SPEC)], SPEC)[0, :, :40, :50])


@pytest.mark.parametrize("how", [Inference(flip=True), Inference(window=32), Inference(tile=32, margin=16)])
def test_what_does_not_depend_on_the_view_stays_the_same(how: Inference) -> None:
    plain = infer(FirstChannels(), photo(), SPEC, Inference())

    logits = infer(FirstChannels(), photo(), SPEC, how)

    torch.testing.assert_close(logits.softmax(0), plain.softmax(0), atol=1e-5, rtol=0)


def test_trap_38_the_logits_of_a_mirrored_image_are_mirrored_back_before_probabilities_are_averaged() -> None:
    network = LeftFromRight()

    probabilities = infer(network, photo(), SPEC, Inference(flip=True)).softmax(0)

    one = torch.stack([torch.arange(50.0), -torch.arange(50.0)]).softmax(0)
    expected = (one + one.flip(1)) / 2
    torch.testing.assert_close(probabilities, expected[:, None].expand(2, 40, 50), atol=1e-5, rtol=0)


def small_fcn32s() -> FCN32s:
    torch.manual_seed(0)
    return FCN32s(2, encoder="narrow_vgg", head_width=128, head_kernel=1, score_init="he").eval()


@pytest.mark.parametrize("step", [8, 32])
def test_row_14_shifts_are_stitched_to_scores_and_these_upsampled(step: int) -> None:
    network = small_fcn32s()

    logits = infer(network, photo(), SPEC, Inference(shift_step=step))

    with torch.inference_mode():
        images = network_batch(network, [network_input(photo(), SPEC)], SPEC)
        scores = shift_and_stitch(network.coarse_scores, images, stride=32, step=step)
        expected = F.interpolate(scores, (64, 64), mode="bilinear", align_corners=False)
    assert logits.shape == (2, 40, 50)
    torch.testing.assert_close(logits, expected[0, :, :40, :50], rtol=1e-4, atol=1e-5)


def test_row_14_one_shift_without_a_learnt_upsampling_is_fcn32s_itself_but_at_the_border() -> None:
    network, image = small_fcn32s(), photo(224, 224)
    spec = SPEC.model_copy(update={"size": SizeRule(policy="longest", side=224, multiple=32)})

    stitched, plain = (infer(network, image, spec, how) for how in (Inference(shift_step=32), Inference()))

    inside = (..., slice(32, -32), slice(32, -32))
    torch.testing.assert_close(stitched[inside], plain[inside], rtol=1e-3, atol=1e-4)


def test_row_14_only_fcn32s_is_shifted() -> None:
    with pytest.raises(InvalidOption, match="shift_step is made for fcn32s, not for FirstChannels"):
        infer(FirstChannels(), photo(), SPEC, Inference(shift_step=8))


def test_every_scale_is_seen_once_and_brought_back_to_one_size() -> None:
    network = FirstChannels()

    logits = infer(network, photo(), SPEC, Inference(scales=(0.5, 1.0, 2.0), flip=True))

    assert logits.shape == (2, 40, 50)
    assert network.sizes == [(32, 32)] * 2 + [(64, 64)] * 2 + [(96, 128)] * 2


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_row_20_what_the_views_give_is_refined_by_the_colours_of_the_image(order: str) -> None:
    spec = SPEC.model_copy(update={"input": InputRule(color_order=order)})
    plain = infer(FirstChannels(), photo(), spec, Inference(flip=True))
    crf = Crf(appearance_rgb=3)

    logits = infer(FirstChannels(), photo(), spec, Inference(flip=True, crf=crf))

    pixels = torch.from_numpy(np.array(photo())).permute(2, 0, 1)
    assert torch.equal(logits, refine(plain, pixels, crf))
    assert not torch.equal(logits, plain)


def test_an_image_is_refined_at_the_size_at_which_the_network_sees_it() -> None:
    logits = infer(FirstChannels(), photo(200, 150), SPEC, Inference(crf=Crf()))

    assert logits.shape == (2, 48, 64)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"scales": (1.0, 0.0)}, r"scale 0\.0 is not above 0"),
        ({"scales": (float("nan"),)}, "scale nan"),
        ({"window": 0}, "window 0 px is below 1"),
        ({"window": 9, "tile": 9}, "exclude each other"),
        ({"shift_step": 8, "tile": 9}, "exclude each other"),
        ({"shift_step": 3}, "shift_step 3 px does not divide 32 px"),
        ({"shift_step": 0}, "shift_step 0 px does not divide 32 px"),
        ({"overlap": 1.0}, r"overlap 1\.0"),
        ({"margin": -1}, "margin -1 px is below 0"),
    ],
)
def test_what_cannot_be_done_is_refused(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidOption, match=complaint):
        Inference(**values)  # type: ignore[arg-type]  # of every field's type in turn
