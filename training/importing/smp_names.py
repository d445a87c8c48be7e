"""Translate the names of this zoo's weights into those of segmentation-models-pytorch."""

from __future__ import annotations

import re
from collections.abc import Mapping

from training.importing.smp_encoders import SmpEncoder

_FEATURES = "encoder.features."

_PARTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "unet_encoder": (
        (r"center\.", r"decoder.center."),
        (r"merges\.(\d)\.0\.", r"decoder.blocks.\1.conv1."),
        (r"merges\.(\d)\.1\.", r"decoder.blocks.\1.conv2."),
        (r"score\.", r"segmentation_head.0."),
    ),
    "deeplabv3plus": (
        (r"pyramid\.scales\.0\.", r"decoder.aspp.0.convs.0."),
        (r"pyramid\.scales\.(\d)\.([01])\.", r"decoder.aspp.0.convs.\1.0.\2."),
        (r"pyramid\.scales\.(\d)\.2\.", r"decoder.aspp.0.convs.\1.1."),
        (r"pyramid\.whole\.0\.", r"decoder.aspp.0.convs.4.1."),
        (r"pyramid\.whole\.1\.", r"decoder.aspp.0.convs.4.2."),
        (r"pyramid\.project\.", r"decoder.aspp.0.project."),
        (r"refine\.([01])\.", r"decoder.aspp.1.\1."),
        (r"refine\.2\.", r"decoder.aspp.2."),
        (r"skip\.", r"decoder.block1."),
        (r"fuse\.([01])\.", r"decoder.block2.0.\1."),
        (r"fuse\.2\.", r"decoder.block2.1."),
        (r"score\.", r"segmentation_head.0."),
    ),
    "fpn": (
        (r"laterals\.0\.", r"decoder.p5."),
        (r"laterals\.1\.", r"decoder.p4.skip_conv."),
        (r"laterals\.2\.", r"decoder.p3.skip_conv."),
        (r"laterals\.3\.", r"decoder.p2.skip_conv."),
        (r"levels\.(\d)\.(\d)\.", r"decoder.seg_blocks.\1.block.\2.block."),
        (r"score\.", r"segmentation_head.0."),
    ),
}
"""How the names of a layer's weights begin, of each architecture; the first that fits counts."""


def smp_name(name: str, architecture: str, encoder: SmpEncoder) -> str:
    """Translate the name of a weight of an architecture."""
    if name.startswith(_FEATURES):
        return f"encoder.{encoder.rename(name.removeprefix(_FEATURES))}"
    for ours, theirs in _PARTS[architecture]:
        renamed, count = re.subn(f"^{ours}", theirs, name)
        if count:
            return renamed
    raise AssertionError(f"{architecture} has {name}, which has no name in segmentation-models-pytorch")
