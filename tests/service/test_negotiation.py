import pytest

from service.errors import InvalidRequest, NotAcceptable
from service.masks import ENCODERS
from service.negotiation import choose_encoder


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "png"),
        ("", "png"),
        ("*/*", "png"),
        ("image/*", "png"),
        ("image/png", "png"),
        ("application/json", "rle"),
        ("application/*", "rle"),
        ("Application/JSON; charset=utf-8", "rle"),
        ("image/png;q=0.1, application/json;q=0.9", "rle"),
        ("application/json, image/png", "png"),
        ("text/html, */*;q=0.1", "png"),
        ("image/png;q=0, */*", "rle"),
    ],
)
def test_accept_chooses_the_format(accept: str | None, chosen: str) -> None:
    assert choose_encoder(None, accept) is ENCODERS[chosen]


@pytest.mark.parametrize("accept", ["text/html", "image/webp", "image/png;q=0", "image/png;q=much", "nonsense", ",;,"])
def test_a_client_that_accepts_no_format_is_told_which_there_are(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="only image/png, application/json, image/jpeg"):
        choose_encoder(None, accept)


def test_a_format_goes_before_accept() -> None:
    assert choose_encoder("rle", "image/png") is ENCODERS["rle"]


@pytest.mark.parametrize("name", ["", "PNG", "gif", "x" * 1000])
def test_an_unknown_format_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"unknown format '.{0,50}', allowed are png, rle"):
        choose_encoder(name, None)
