from pathlib import Path

import pytest
import torch
from torch import Tensor

from model_zoo.architectures import build
from training.datasets import open_dataset
from training.evaluation.inference import Inference, infer
from training.recipe import read_recipe


def logits_of_a_slice(root: Path, how: Inference) -> Tensor:
    """Give the logits of a real slice, by the paper's U-Net, sixteen times narrower and with random weights."""
    dataset = open_dataset(f"isbi2012:val:{root}/isbi2012")
    recipe = read_recipe("unet-paper", {"arguments": {"base_channels": 4}})
    spec = recipe.spec(dataset.labels)
    torch.manual_seed(0)
    network = build(spec.architecture, spec.num_classes, spec.arguments).eval()
    return infer(network, dataset[0].image, spec, how)


@pytest.mark.data
def test_row_15_tiles_of_a_real_slice_join_without_a_seam(data_root: Path) -> None:
    whole = logits_of_a_slice(data_root, Inference())

    tiled = logits_of_a_slice(data_root, Inference(tile=256, margin=96))

    assert whole.std() > 0.1
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)


@pytest.mark.data
def test_row_15_a_margin_that_is_no_multiple_of_16_moves_the_poolings_and_leaves_seams(data_root: Path) -> None:
    whole = logits_of_a_slice(data_root, Inference())

    tiled = logits_of_a_slice(data_root, Inference(tile=256, margin=92))

    assert (tiled - whole).abs().max() > 1e-3
