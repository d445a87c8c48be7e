"""Run a network over a batch and give masks: the one way that evaluation, self-test and service share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import prod

import torch
from torch import Tensor, nn

from model_zoo.preprocess import NetworkInput, mirrored, normalise
from model_zoo.segmentation import PLAIN, Segmentation, Wanted
from model_zoo.sparse_argmax import Step
from model_zoo.spec import ModelSpec, Prediction
from model_zoo.upsample import segmented

Forward = Callable[[Sequence[NetworkInput]], Prediction]
"""A way to run a network over images whose ``pixels`` all have one shape."""

_Job = tuple[Prediction, NetworkInput, Wanted]
"""The prediction of one image alone, the image, and what is wanted of it."""

_LARGE_MASK = 1 << 20
"""In pixels; of a larger one each operation is work for several threads."""


def predict(
    network: nn.Module, inputs: Sequence[NetworkInput], spec: ModelSpec, *, wanted: Sequence[Wanted] = ()
) -> list[Segmentation]:
    """Segment images whose ``pixels`` all have one shape, on the device that the network is on.

    Args:
        network: in eval mode; maps ``[B, C, h, w]`` float32 to a ``Prediction``.
        inputs: one or more images as ``network_input`` gives them.
        spec: the spec that the network was built from.
        wanted: what is wanted of each image, in their order; the masks alone if nothing is said.

    Returns:
        One segmentation an image, in their order, on the CPU.
    """

    def run(items: Sequence[NetworkInput]) -> Prediction:
        prediction: Prediction = network(network_batch(network, items, spec))
        return prediction

    return predict_with(run, inputs, wanted=wanted)


@torch.inference_mode()
def predict_with(
    forward: Forward, inputs: Sequence[NetworkInput], *, wanted: Sequence[Wanted] = ()
) -> list[Segmentation]:
    """Do what ``predict`` does with a network that runs in a way of its own."""
    wishes = wanted or [PLAIN] * len(inputs)
    prediction = forward(inputs)
    views = [replace(prediction, scores=scores[None]) for scores in prediction.scores]
    turned = [index for index, wish in enumerate(wishes) if wish.flip]
    if turned:
        others = forward([mirrored(inputs[index]) for index in turned]).logits
        for index, other in zip(turned, others, strict=True):
            width = inputs[index].content[1]
            both = [views[index].logits[0, ..., :width], other[..., :width].flip(-1)]
            views[index] = Prediction(mean_of_views(both)[None])
    jobs = list(zip(views, inputs, wishes, strict=True))
    if prediction.scores.device.type == "cpu" and all(wish.is_plain for wish in wishes):
        return _side_by_side(jobs)
    return [_segmentation(*job) for job in jobs]


@torch.inference_mode()
def forward(network: nn.Module, inputs: Sequence[NetworkInput], spec: ModelSpec) -> Tensor:
    """Give the logits ``[B, C, h, w]`` of images whose ``pixels`` all have one shape, on the network's device."""
    logits: Tensor = network(network_batch(network, inputs, spec)).logits
    return logits


def network_batch(network: nn.Module, inputs: Sequence[NetworkInput], spec: ModelSpec) -> Tensor:
    """Give the normalised float32 ``[B, C, h, w]`` of images whose ``pixels`` all have one shape, on that device."""
    device = next(network.parameters()).device
    images = torch.stack([item.pixels for item in inputs]).to(device)  # [B, C, h, w] uint8
    return normalise(images, spec.input).contiguous(memory_format=torch.channels_last)


def mean_of_views(views: Sequence[Tensor]) -> Tensor:
    """Give the log of the mean probability of several views, each logits ``[C, h, w]``; a single one as it is."""
    if len(views) == 1:
        return views[0]
    mean = torch.stack([logits.softmax(0) for logits in views]).mean(0)
    return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()


def _side_by_side(jobs: Sequence[_Job]) -> list[Segmentation]:
    """Find plain masks on a CPU, one in each of torch's threads.

    What is computed of each is so small that threads which share it wait for each other for most of the time.
    """
    num_threads = torch.get_num_threads()
    if num_threads == 1 or (len(jobs) == 1 and prod(jobs[0][1].size) > _LARGE_MASK):
        return [_segmentation(*job) for job in jobs]
    try:
        if len(jobs) == 1:
            torch.set_num_threads(1)
            return [_segmentation(*jobs[0])]
        with ThreadPoolExecutor(min(num_threads, len(jobs)), "mask", torch.set_num_threads, (1,)) as pool:
            return list(pool.map(_segmentation, *zip(*jobs, strict=True)))
    finally:
        torch.set_num_threads(num_threads)


@torch.inference_mode()
def _segmentation(prediction: Prediction, item: NetworkInput, wanted: Wanted) -> Segmentation:
    """Give what is wanted of one image, whose ``prediction`` is of it alone."""
    scores, steps = prediction.scores[0], []
    if prediction.size is None:
        scores = scores[:, : item.content[0], : item.content[1]]
    else:
        steps.append(Step(prediction.size, item.content, prediction.align_corners))
    if item.size != item.content:
        steps.append(Step(item.size, item.size))
    return segmented(scores, steps, wanted).cpu()
