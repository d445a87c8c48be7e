import pytest

from service import errors
from service.errors import ModelFailed, QueueFull, ServiceError

ALL = ServiceError.__subclasses__()


@pytest.mark.parametrize("error", ALL)
def test_every_error_has_a_client_or_server_status_and_a_title(error: type[ServiceError]) -> None:
    assert 400 <= error.status < 600
    assert error.title != ServiceError.title


@pytest.mark.parametrize("error", [error for error in ALL if error.status == 503 and error is not ModelFailed])
def test_whoever_is_sent_away_for_now_is_told_when_to_come_back(error: type[ServiceError]) -> None:
    assert error.retry_after is not None


def test_an_error_without_a_message_tells_its_title() -> None:
    assert QueueFull().detail == "The service is busy"


def test_slugs_are_distinct_names() -> None:
    slugs = [error("x").slug for error in ALL]

    assert errors.UnreadableImage("x").slug == "unreadable-image"
    assert len(set(slugs)) == len(slugs)
