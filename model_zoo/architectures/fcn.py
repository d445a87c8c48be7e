"""Build FCN-32s, FCN-16s and FCN-8s on VGG-16 or any other encoder.

Long, Shelhamer, Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation",
https://arxiv.org/abs/1411.4038; the constants are those of the authors' released networks.

Class scores pass through no ReLU, batch norm or dropout: after a score layer that starts at zero these would stop its
gradient for ever. ``score_activation`` and ``score_init="zero_twice"`` break this; they are there to measure what it
costs, and no network should be trained with them.

Letters: B batch, C classes, F features, H and W height and width.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from model_zoo.architectures.layers import Rate, he_initialised, mirror_pad
from model_zoo.backbones import EncoderName, build_encoder
from model_zoo.norms import Norm
from model_zoo.pretrained import read_weights
from model_zoo.spec import Prediction

FCNEncoder = Literal[
    "vgg16", "narrow_vgg", "mobilenet_v2", "mobilenet_v3_large",
    "resnet18", "resnet34", "resnet50", "resnet101",
    "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2",
]  # fmt: skip
"""The encoders but for VGG-16 with norms, which is ``vgg16`` with the ``norm`` told."""

Padding = Literal["same", "caffe"]
Stride = Literal[32, 16, 8]

ScoreInit = Literal["zero", "he", "zero_twice"]
ScoreActivation = Literal["none", "norm_relu", "norm_relu_all"]

VGG: Mapping[Norm, EncoderName] = {"none": "vgg16", "batch": "vgg16_bn", "group": "vgg16_gn"}

CAFFE_PAD = 100
CAFFE_CROPS: Mapping[Stride, int] = {32: 19, 16: 27, 8: 31}
"""The pixels to cut off the upsampled scores on the left and above, when the image was padded by 100."""
CAFFE_SKIP_CROPS = (5, 9)
"""The same for the skips of pool4 and pool3."""

AT_ONCE_SCALES = (0.01, 0.0001)
"""What brings pool4 and pool3 to the size of the scores, where all three streams are trained at once."""


class FCN(nn.Module):
    """Score coarse features with a convolutional classifier, and add the scores of finer ones on the way up.

    ``padding="caffe"`` pads by 100 pixels and crops, as the authors did; ``"same"`` keeps sizes and is far cheaper.
    ``decoder="wide"`` carries as many features on the way up as the maps have that are added, 512 and 256 on VGG-16, in
    place of class scores. ``norm`` is that of ``vgg16``; other encoders have their own.

    ``score_init`` says what starts at zero: the weights of all score layers, of none, or of fc7 and all score layers.
    ``score_activation`` puts batch norm and ReLU behind what is added from finer maps, or behind all scores.
    """

    stride: Stride = 32

    def __init__(  # noqa: PLR0913  # each is a word of the checkpoint's spec
        self,
        num_classes: int,
        *,
        encoder: FCNEncoder = "vgg16",
        padding: Padding = "same",
        decoder: Literal["score", "wide"] = "score",
        head_width: Literal[4096, 1024, 512, 256, 128] = 4096,
        head_kernel: Literal[7, 1] = 7,
        norm: Norm = "none",
        drop_rate: Rate = 0.5,
        skip_scale: Literal["none", "at_once"] = "none",
        score_init: ScoreInit = "zero",
        score_activation: ScoreActivation = "none",
        learn_upsampling: bool = True,
    ) -> None:
        super().__init__()
        if decoder == "wide" and not learn_upsampling:
            raise ValueError("decoder='wide' mixes channels while upsampling, so learn_upsampling must be true")
        _check_encoder(encoder, norm=norm, padding=padding, head_kernel=head_kernel)
        self.padding = padding
        self.encoder = build_encoder(VGG[norm] if encoder == "vgg16" else encoder)
        if padding == "caffe":
            _pad_as_caffe(self.encoder.features)
        *_, pool3, pool4, pool5 = self.encoder.channels
        self.fc6 = _convolution(pool5, head_width, head_kernel, padding=head_kernel // 2 if padding == "same" else 0)
        self.fc7 = _convolution(head_width, head_width, 1)
        if score_init == "zero_twice":
            nn.init.zeros_(self.fc7.weight)
        self.drop = nn.Dropout(drop_rate)
        score = _score(head_width, num_classes, start=score_init)
        self.score = _activated(score, num_classes) if score_activation == "norm_relu_all" else score

        self.fusions = nn.ModuleList()
        channels = num_classes
        for i, skip_channels in enumerate((pool4, pool3)[: {32: 0, 16: 1, 8: 2}[self.stride]]):
            is_wide = decoder == "wide"
            out_channels = skip_channels if is_wide else num_classes
            up = Upsampling(channels, out_channels, 2, padding=padding, is_wide=is_wide)
            skip = nn.Identity() if is_wide else _score(skip_channels, num_classes, start=score_init)
            fusion = Fusion(
                up,
                skip if score_activation == "none" else _activated(skip, out_channels),
                scale=AT_ONCE_SCALES[i] if skip_scale == "at_once" else 1.0,
                crop=CAFFE_SKIP_CROPS[i] if padding == "caffe" else 0,
            )
            self.fusions.append(fusion)
            channels = out_channels
        last = Upsampling(channels, num_classes, self.stride, padding=padding, is_wide=decoder == "wide")
        self.upscore = nn.ModuleDict(
            {str(self.stride): last}
        )  # named by its stride: it alone differs between the three
        if not learn_upsampling:
            for module in self.modules():
                if isinstance(module, Upsampling):
                    module.requires_grad_(requires_grad=False)

    def forward(self, images: Tensor) -> Prediction:
        """Map images ``[B, 3, H, W]`` to logits ``[B, C, H, W]``."""
        height, width = images.shape[-2:]
        logits = self.upscore[str(self.stride)](self.coarse_scores(images))
        crop = CAFFE_CROPS[self.stride] if self.padding == "caffe" else 0
        return Prediction(logits[..., crop : crop + height, crop : crop + width].contiguous())

    def coarse_scores(self, images: Tensor) -> Tensor:
        """Map images ``[B, 3, H, W]`` to class scores, or features of a wide decoder, at the network's stride.

        With ``padding="same"`` they cover the image and what fills it up to a multiple of 32.
        """
        height, width = images.shape[-2:]
        if self.padding == "same":
            images = mirror_pad(images, height=(0, -height % 32), width=(0, -width % 32))
        _, _, pool3, pool4, pool5 = self.encoder(images)
        x = self.drop(torch.relu_(self.fc6(pool5)))
        x = self.drop(torch.relu_(self.fc7(x)))
        scores: Tensor = self.score(x)  # [B, C, H/32, W/32]
        for fusion, pool in zip(self.fusions, (pool4, pool3), strict=False):
            scores = fusion(scores, pool)
        return scores

    def load_head_from_classifier(self, path: Path | str) -> None:
        """Make fc6 and fc7 from the first two fully connected layers of torchvision's VGG-16.

        Raises:
            ValueError: The file cannot be read, lacks these layers, or they are not of this network's shape.
        """
        weights = read_weights(path)
        for layer, name in ((self.fc6, "classifier.0"), (self.fc7, "classifier.3")):
            weight, bias = weights.get(f"{name}.weight"), weights.get(f"{name}.bias")
            if weight is None or bias is None:
                raise ValueError(f"{path} has no {name}, from which to make the head of FCN")
            if weight.shape != (layer.out_channels, layer.weight[0].numel()):
                raise ValueError(f"{name} in {path} is {list(weight.shape)}, the head needs {list(layer.weight.shape)}")
            layer.load_state_dict({"weight": weight.view_as(layer.weight), "bias": bias})


class FCN32s(FCN):
    """Upsample the scores of pool5 by 32."""

    stride: Stride = 32


class FCN16s(FCN):
    """Add the scores of pool4, then upsample by 16."""

    stride: Stride = 16


class FCN8s(FCN):
    """Add the scores of pool4 and pool3, then upsample by 8."""

    stride: Stride = 8


class Fusion(nn.Module):
    """Double the resolution of coarse scores and add those of a finer map."""

    def __init__(self, up: Upsampling, score: nn.Module, *, scale: float, crop: int) -> None:
        super().__init__()
        self.up = up
        self.score = score
        self.scale = scale
        self.crop = crop

    def forward(self, coarse: Tensor, pool: Tensor) -> Tensor:
        """Map scores ``[B, C, H, W]`` and features ``[B, F, >=2H, >=2W]`` to finer scores."""
        up = self.up(coarse)
        bottom, right = self.crop + up.shape[-2], self.crop + up.shape[-1]
        fine = self.score(pool if self.scale == 1 else pool * self.scale)
        fused: Tensor = up + fine[..., self.crop : bottom, self.crop : right]
        return fused


class Upsampling(nn.ConvTranspose2d):
    """Upsample by an even factor; it starts as bilinear interpolation, which weight decay should not undo.

    Class scores are upsampled each for itself; a wide decoder starts with a random mix of its channels.
    """

    def __init__(self, in_channels: int, out_channels: int, factor: int, *, padding: Padding, is_wide: bool) -> None:
        super().__init__(
            in_channels,
            out_channels,
            2 * factor,
            stride=factor,
            padding=factor // 2 if padding == "same" else 0,
            bias=is_wide,
        )
        nn.init.zeros_(self.weight if self.bias is None else self.bias)
        if self.weight.is_meta:  # there are no numbers, and to reckon with them would import torch's compiler
            return
        mix = torch.randn(in_channels, out_channels) * in_channels**-0.5 if is_wide else torch.eye(in_channels)
        with torch.no_grad():
            self.weight.copy_(mix[:, :, None, None] * bilinear_kernel(factor))


def bilinear_kernel(factor: int) -> Tensor:
    """Give the kernel ``[2 * factor, 2 * factor]`` of a transposed convolution that upsamples by an even factor."""
    distance = (torch.arange(2 * factor) + 0.5 - factor).abs() / factor
    return torch.outer(1 - distance, 1 - distance)


def _check_encoder(encoder: FCNEncoder, *, norm: Norm, padding: Padding, head_kernel: int) -> None:
    if norm != "none" and encoder != "vgg16":
        raise ValueError(f"norm={norm!r} is made for encoder='vgg16', {encoder} has its own")
    if padding == "caffe" and encoder != "vgg16":
        raise ValueError(f"padding='caffe' is made for VGG-16, not for {encoder}")
    if padding == "caffe" and head_kernel != 7:
        raise ValueError("padding='caffe' is made for head_kernel=7")


def _pad_as_caffe(features: nn.Sequential) -> None:
    """Pad by 100 pixels before the first layer, and round the sizes after pooling up, as Caffe does."""
    for layer in features:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True
    first = features[0]
    assert isinstance(first, nn.Conv2d)  # VGG begins so
    first.padding = (CAFFE_PAD, CAFFE_PAD)


def _convolution(in_channels: int, out_channels: int, kernel: int, *, padding: int = 0) -> nn.Conv2d:
    return he_initialised(nn.Conv2d(in_channels, out_channels, kernel, padding=padding))


def _score(in_channels: int, num_classes: int, *, start: ScoreInit) -> nn.Conv2d:
    score = _convolution(in_channels, num_classes, 1)
    if start != "he":
        nn.init.zeros_(score.weight)
    return score


def _activated(layer: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
