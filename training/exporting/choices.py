"""Say what can be chosen of a graph, for those who have not installed ONNX, too."""

from __future__ import annotations

from typing import Literal

Output = Literal["logits", "mask"]

OPSETS = range(12, 21)
"""Before 12, ONNX cannot clip the whole numbers that borders are mirrored by; torch's tracing exporter ends at 20."""

DEFAULT_OPSET = 17
"""New enough for every network here, old enough for the runtimes of the last four years."""
