"""Choose the output format from what a client asks for."""

from __future__ import annotations

from functools import lru_cache

from service.errors import InvalidRequest, NotAcceptable
from service.masks import ENCODERS
from service.masks.encoder import Encoder


def choose_encoder(output_format: str | None, accept: str | None) -> Encoder:
    """Give the encoder of a format's name or, where none is named, the one that an ``Accept`` header likes best.

    Raises:
        InvalidRequest: There is no format of that name.
        NotAcceptable: The header allows none of the media types that there are.
    """
    if output_format is not None:
        if output_format not in ENCODERS:
            raise InvalidRequest(f"unknown format {output_format[:50]!r}, allowed are {', '.join(ENCODERS)}")
        return ENCODERS[output_format]
    return _liked_best(accept or "*/*")


@lru_cache(maxsize=256)  # clients send the same over and over
def _liked_best(accept: str) -> Encoder:
    wanted = _qualities(accept)
    best = max(ENCODERS.values(), key=lambda encoder: _quality(encoder.media_type, wanted))
    if _quality(best.media_type, wanted) == 0:
        offered = ", ".join(dict.fromkeys(encoder.media_type for encoder in ENCODERS.values()))
        raise NotAcceptable(f"none of the accepted media types can be written, only {offered}")
    return best


def _qualities(accept: str) -> dict[str, float]:
    """Read ``Accept`` (RFC 9110, 12.5.1): media ranges and how much each is wanted, 0 to 1."""
    qualities = {}
    for part in accept.split(","):
        media_range, *parameters = (word.strip().lower() for word in part.split(";"))
        weights = [word[2:] for word in parameters if word.startswith("q=")]
        qualities[media_range] = _number(weights[0]) if weights else 1.0
    return qualities


def _quality(media_type: str, wanted: dict[str, float]) -> float:
    """Give the quality of the most exact range that holds the media type."""
    family = media_type.partition("/")[0] + "/*"
    return next((wanted[key] for key in (media_type, family, "*/*") if key in wanted), 0.0)


def _number(text: str) -> float:
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 0.0
