"""Run networks whose weights nobody has filled, where shapes are all that is asked for.

On ``meta`` memory torch reasons about shapes in Python: for a deep network, ten times the time of computing it.
"""

from typing import TypeVar

from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def blank(network: Network) -> Network:
    """Give a network that was built on ``meta`` memory CPU memory as it is found there; it is in eval mode."""
    return network.to_empty(device="cpu").eval()
