"""Client secrets: kept as salted hashes, compared in constant time, tried at a bounded rate."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote_plus

_N, _R, _P = 4096, 8, 1  # 9 ms and 4 MiB; secrets are random, so the cost need not grow
_SALT_BYTES = 16
MAX_SECRET_CHARS = 256


class Credentials(NamedTuple):
    """What a client authenticated with; never printed."""

    client_id: str
    secret: str

    def __repr__(self) -> str:
        return "<Credentials>"


def hash_secret(secret: str) -> str:
    """Return a salted scrypt hash as text."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"scrypt${_N}${salt.hex()}${_scrypt(secret, salt, _N).hex()}"


def verify_secret(secret: str, stored: str) -> bool:
    """Whether a secret is the one whose hash was stored."""
    _, cost, salt, expected = stored.split("$")
    actual = _scrypt(secret, bytes.fromhex(salt), int(cost))
    return hmac.compare_digest(actual, bytes.fromhex(expected))


def _scrypt(secret: str, salt: bytes, cost: int) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, n=cost, r=_R, p=_P)


def basic(header: str) -> Credentials | None:
    """Read an `Authorization: Basic` header (RFC 6749, 2.3.1); None if it is malformed."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    client_id, colon, secret = text.partition(":")
    if not colon or len(secret) > MAX_SECRET_CHARS:
        return None
    return Credentials(unquote_plus(client_id), unquote_plus(secret))


class Buckets:
    """Token buckets, one per known client and one for all the unknown ones together.

    Args:
        rate: tokens per second.
        burst: tokens of a full bucket.
        clock: seconds, monotonic or wall.
    """

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> float:
        """Take a token; return 0, or the seconds until there will be one."""
        now = self._clock()
        level, then = self._levels.get(key, (float(self._burst), now))
        level = min(self._burst, level + max(0.0, now - then) * self._rate)
        if level < 1:
            self._levels[key] = (level, now)
            return (1 - level) / self._rate
        self._levels[key] = (level - 1, now)
        return 0.0
