"""Know clients by their keys, of which only hashes are kept, and bound how often each of them may ask.

A key is 32 random bytes, so one pass of SHA-256 is as good as a slow hash: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from service.errors import RateLimited, Unauthorized
from service.settings import BadSetting

_KEY_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,50}")
_HASH = re.compile(r"[0-9a-f]{64}")
_LINE = "NAME SHA256 [REQUESTS_A_SECOND]"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Hold who a key belongs to, its hash, and how many requests a second it is good for, if there is a bound."""

    name: str
    sha256: bytes
    rate: float | None = None


def make_key() -> tuple[str, str]:
    """Give a new key, and its hash as a line of the file has it."""
    key = secrets.token_urlsafe(_KEY_BYTES)
    return key, _hash(key).hex()


def read_key_file(path: Path) -> list[ApiKey]:
    """Read a file of keys, a line each; what follows a ``#`` is left out.

    Raises:
        BadSetting: It cannot be read, others than its owner may write to it, or a line is none.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text()
    except (OSError, UnicodeError) as error:
        raise BadSetting(f"bad setting api_keys_file={path}: it cannot be read") from error
    if mode & _OTHERS_WRITE:
        found = f"its mode is {stat.S_IMODE(mode):04o}, at most 0644 is allowed"
        raise BadSetting(f"bad setting api_keys_file={path}: {found}, or whoever writes to it lets himself in")
    return parse_keys(text.splitlines(), source=f"api_keys_file={path}")


def parse_keys(lines: Iterable[str], *, source: str) -> list[ApiKey]:
    """Read the lines of keys.

    Raises:
        BadSetting: One is no such line, a name comes twice, or there is no key at all.
    """
    keys: dict[str, ApiKey] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        key = _parse(words)
        if key is None:
            raise BadSetting(f"bad setting {source}: line {number} is not {_LINE}")
        if key.name in keys:
            raise BadSetting(f"bad setting {source}: line {number} names {key.name} again")
        keys[key.name] = key
    if not keys:
        raise BadSetting(f"bad setting {source}: it holds no key; segserve key NAME makes one")
    return list(keys.values())


class KeyRing:
    """Hold the keys that open the service; ``rate`` bounds those that have no bound of their own, 0 does not."""

    def __init__(
        self, keys: Iterable[ApiKey], *, rate: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keys = tuple(keys)
        bounds = {key.name: key.rate or rate for key in self._keys}
        self._buckets = {name: _Bucket(bound, clock) for name, bound in bounds.items() if bound}

    def admit(self, given: str | None) -> str:
        """Give the name of the key that a client sent.

        Every key is compared, each in constant time, so that the time tells nothing of how near a guess was.

        Raises:
            Unauthorized: It sent none, or none of these.
            RateLimited: It asks more often than it may.
        """
        if given is None:
            raise Unauthorized("send a key as Authorization: Bearer KEY, or as X-API-Key: KEY")
        digest = _hash(given)
        names = [key.name for key in self._keys if hmac.compare_digest(key.sha256, digest)]
        if not names:
            raise Unauthorized("this key opens nothing here")
        bucket = self._buckets.get(names[0])
        if bucket is not None:
            bucket.take(names[0])
        return names[0]


class _Bucket:
    """Hold what a key may still ask: ``rate`` requests come in a second, and at most those of a second stay."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._most = max(1.0, rate)
        self._left = self._most
        self._clock = clock
        self._then = clock()

    def take(self, name: str) -> None:
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._then) * self._rate)
        self._then = now
        if self._left < 1:
            error = RateLimited(f"key {name} may ask {self._rate:g} times a second")
            error.retry_after = math.ceil((1 - self._left) / self._rate)
            raise error
        self._left -= 1


def _parse(words: list[str]) -> ApiKey | None:
    name, sha256, *rest = (*words, "")
    rates = [word for word in rest if word]
    if not _NAME.fullmatch(name) or not _HASH.fullmatch(sha256) or len(rates) > 1:
        return None
    try:
        rate = float(rates[0]) if rates else None
    except ValueError:
        return None
    return None if rate is not None and not 0 < rate < math.inf else ApiKey(name, bytes.fromhex(sha256), rate)


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
