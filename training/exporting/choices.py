"""Say what can be chosen of a graph, for those who have not installed ONNX, too."""

from __future__ import annotations

from typing import Literal

Output = Literal["logits", "mask"]

OPSETS = range(11, 21)
"""Before 11, no operation upsamples as torch does; after 20, torch's tracing exporter knows none."""

DEFAULT_OPSET = 17
"""New enough for every network here, old enough for the runtimes of the last four years."""
