import platform
import socket
from pathlib import Path

import pytest

from training.environment import environment, hide_homes

SUPERUSER = "/root"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("voc:val:/home/eve/data/voc", "voc:val:~/data/voc"),
        ("--out '/Users/eve/runs/a b' /home/bob", "--out '~/runs/a b' ~"),
        (f"{SUPERUSER}/x {SUPERUSER}ed /data/home", f"~/x {SUPERUSER}ed /data/home"),
        (f"{Path.home() / 'x'}", "~/x"),
    ],
)
def test_homes_are_hidden(text: str, hidden: str) -> None:
    assert hide_homes(text) == hidden


def test_versions_and_hardware_are_told_but_not_whose_they_are() -> None:
    told = environment()

    assert told["Python"] == platform.python_version()
    assert all(told.values())
    assert socket.gethostname() not in told.values()


def test_bytes_that_are_no_text_are_told_and_can_be_written() -> None:
    assert hide_homes("stra\udcdfe.pth") == "stra\\udcdfe.pth"
