"""Name the normalisations that an architecture may be built with, and build the one that torch leaves open."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

Norm = Literal["none", "batch", "group"]
"""``batch`` wants batches of more than a few images; ``group`` looks at one image alone, so that one is enough."""

CHANNELS_PER_GROUP = 16


def group_norm(channels: int) -> nn.GroupNorm:
    """Build group norm with about 16 channels a group (Wu and He 2018, https://arxiv.org/abs/1803.08494)."""
    return nn.GroupNorm(math.gcd(channels, max(1, channels // CHANNELS_PER_GROUP)), channels)
