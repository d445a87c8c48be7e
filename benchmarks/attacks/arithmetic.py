"""Write the start of an arithmetic-coded JPEG scan, after which the decoder goes on by itself.

The coder is that of ITU-T T.81, annex D. Once it expects what comes, each further decision takes next to no bits, and a
decoder that has no more bytes reads zeros (D.2.6): so a scan of a hundred bytes fills an image of any size.
"""

from __future__ import annotations

from collections.abc import Iterator

_STATES = (
    (0x5A1D, 1, 1), (0x2586, 14, 2), (0x1114, 16, 3), (0x080B, 18, 4), (0x03D8, 20, 5), (0x01DA, 23, 6),
    (0x00E5, 25, 7), (0x006F, 28, 8), (0x0036, 30, 9), (0x001A, 33, 10), (0x000D, 35, 11), (0x0006, 9, 12),
    (0x0003, 10, 13), (0x0001, 12, 13),
)  # fmt: skip
"""Table D.3 as far as it is needed: width of the less probable part, next state when it comes, and when it does not."""

_BLOCKS = 16
_FIXED = -1
_LOW_MAGNITUDES, _HIGH_MAGNITUDES = 189, 217


def constant_blocks() -> bytes:
    """Give a scan of which every block has a zero first coefficient and 63 of the largest magnitude, 16385."""
    coder = _Coder()
    for _ in range(_BLOCKS):
        coder.write(-2, 0)
        for context, decision in _decisions():
            coder.write(context, decision)
    return coder.content().replace(b"\xff", b"\xff\0")


def _decisions() -> Iterator[tuple[int, int]]:
    """Give what is decided of the coefficients of a block, each with its context (F.1.4.4)."""
    for place in range(63):
        own, magnitudes = 3 * place, _LOW_MAGNITUDES if place < 5 else _HIGH_MAGNITUDES
        yield from ((own, 0), (own + 1, 1), (_FIXED, 0), (own + 2, 1), (own + 2, 1))
        yield from ((magnitudes + index, 1) for index in range(13))
        yield magnitudes + 13, 0
        yield from [(magnitudes + 27, 0)] * 14


class _Coder:
    """Hold the code as one long number, and what is expected in each context."""

    def __init__(self) -> None:
        self._code = 0
        self._num_bits = 16
        self._width = 0x10000
        self._expected: dict[int, tuple[int, int]] = {}

    def write(self, context: int, decision: int) -> None:
        state, likely = self._expected.get(context, (0, 0))
        less, after_less, after_more = _STATES[state]
        self._width -= less
        is_less = decision != likely
        if not is_less and self._width >= 0x8000:
            return
        if is_less == (self._width >= less):
            self._code += self._width
            self._width = less
        if context != _FIXED:
            self._expected[context] = (after_less, likely ^ (state == 0)) if is_less else (after_more, likely)
        while self._width < 0x8000:
            self._width <<= 1
            self._code <<= 1
            self._num_bits += 1

    def content(self) -> bytes:
        """Give the code to its last bit: what follows is then read as what is expected, for ever."""
        padding = -self._num_bits % 8
        return (self._code << padding).to_bytes((self._num_bits + padding) // 8, "big")
