import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import RateLimited, Unauthorized
from service.keys import ApiKey, KeyRing, make_key, parse_keys, read_key_file
from service.settings import BadSetting

HASH = "ab" * 32


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_made_key_opens_and_only_its_hash_is_in_the_file(tmp_path: Path) -> None:
    key, sha256 = make_key()
    path = tmp_path / "keys"
    path.write_text(f"# who may come in\n\nann {HASH}\nbob {sha256}  # the other\n")

    ring = KeyRing(read_key_file(path))

    assert ring.admit(key) == "bob"
    assert key not in path.read_text()
    assert len(key) >= 43


@given(st.text(max_size=100))
def test_any_other_key_is_refused(guess: str) -> None:
    ring = KeyRing([ApiKey("ann", hashlib.sha256(b"\0the key\0").digest())])

    with pytest.raises(Unauthorized, match="this key opens nothing here"):
        ring.admit(guess)


def test_no_key_is_told_how_to_send_one() -> None:
    with pytest.raises(Unauthorized, match="send a key as Authorization: Bearer KEY, or as X-API-Key: KEY"):
        KeyRing([]).admit(None)


def test_every_key_is_compared_in_constant_time_even_when_the_first_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    original = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return original(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keys = [ApiKey(name, hashlib.sha256(name.encode()).digest()) for name in ("a", "b", "c")]

    KeyRing(keys).admit("a")

    assert compared == [key.sha256 for key in keys]


def test_a_key_may_ask_as_often_as_its_line_says_and_is_told_when_to_come_again() -> None:
    clock = Clock()
    ring = KeyRing([ApiKey("ann", hashlib.sha256(b"k").digest(), rate=2.0)], clock=clock)
    ring.admit("k")
    ring.admit("k")

    with pytest.raises(RateLimited, match="key ann may ask 2 times a second") as refusal:
        ring.admit("k")

    assert refusal.value.retry_after == 1
    clock.now += 0.5
    assert ring.admit("k") == "ann"
    with pytest.raises(RateLimited):
        ring.admit("k")
    clock.now += 3600
    assert [ring.admit("k") for _ in range(2)] == ["ann"] * 2  # what was not asked is not saved up


def test_a_slow_key_is_told_of_the_whole_wait() -> None:
    ring = KeyRing([ApiKey("ann", hashlib.sha256(b"k").digest(), rate=0.1)], clock=Clock())
    ring.admit("k")

    with pytest.raises(RateLimited) as refusal:
        ring.admit("k")

    assert refusal.value.retry_after == 10


def test_keys_without_a_rate_have_that_of_the_settings() -> None:
    keys = [ApiKey("ann", hashlib.sha256(b"k").digest()), ApiKey("bob", hashlib.sha256(b"l").digest(), rate=5.0)]
    ring = KeyRing(keys, rate=1.0, clock=Clock())

    ring.admit("k")
    with pytest.raises(RateLimited):
        ring.admit("k")
    assert [ring.admit("l") for _ in range(5)] == ["bob"] * 5


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "it holds no key; segserve key NAME makes one"),
        (["ann"], "line 1 is not NAME SHA256"),
        (["# no", f"ann {HASH[1:]}"], "line 2 is not NAME SHA256"),
        ([f"ann {HASH.upper()}"], "line 1 is not NAME SHA256"),
        ([f"a/b {HASH}"], "line 1 is not NAME SHA256"),
        ([f"ann {HASH} often"], "line 1 is not NAME SHA256"),
        ([f"ann {HASH} 0"], "line 1 is not NAME SHA256"),
        ([f"ann {HASH} inf"], "line 1 is not NAME SHA256"),
        ([f"ann {HASH} 1 2"], "line 1 is not NAME SHA256"),
        ([f"ann {HASH}", f"ann {HASH}"], "line 2 names ann again"),
    ],
)
def test_a_line_that_is_none_is_named(lines: list[str], told: str) -> None:
    with pytest.raises(BadSetting, match=told):
        parse_keys(lines, source="api_keys")


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_file_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keys"
    path.write_text(f"ann {HASH}\n")
    path.chmod(mode)

    with pytest.raises(BadSetting, match=f"its mode is {mode:04o}, at most 0644 is allowed"):
        read_key_file(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="it cannot be read"):
        read_key_file(tmp_path / "none")
