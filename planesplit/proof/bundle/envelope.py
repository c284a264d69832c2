"""The file around the evidence: one canonical JSON object, signed with Ed25519 (RFC 8032).

There is exactly one way to write a bundle, so that any other byte anywhere is noticed: what is not
written that way is refused before the signature is looked at. The key is made for the bundle and
its public half lies inside: that shows that nothing was changed since, not who signed it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SCHEMA = "planesplit.bundle/1"
MAX_BYTES = 16 * 1024 * 1024  # a full report with all controls has about 0.3 MB
MAX_DIGITS = 20  # of a number: 64 bits
MAX_DEPTH = 32  # of values in values; a report has 7
_FIELDS = {"body", "public_key", "schema", "signature"}


class TooLarge(ValueError):
    """The file cannot be a bundle: it is larger than any."""


class Forged(ValueError):
    """The file is no bundle, or not as it was signed; says which, never quotes it."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """An opened bundle whose signature holds.

    Args:
        body: what was signed.
        key: SHA-256 of the public key, hexadecimal: its fingerprint.
        size_bytes: of the file.
    """

    body: dict[str, Any]
    key: str
    size_bytes: int


def seal(body: dict[str, Any], key: Ed25519PrivateKey | None = None) -> bytes:
    """Return a bundle's bytes.

    Args:
        body: plain values.
        key: signs it; one of its own by default.
    """
    key = key or Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw().hex()
    signed = {"schema": SCHEMA, "body": body, "public_key": public}
    return canonical({**signed, "signature": key.sign(canonical(signed)).hex()})


def unseal(data: bytes) -> Envelope:
    """Open a bundle.

    Raises:
        Forged: it is no bundle, or it was changed.
    """
    table = _parsed(data)
    if not isinstance(table, dict) or table.keys() != _FIELDS or table["schema"] != SCHEMA:
        raise Forged(f"it is no {SCHEMA}")
    if not _is_canonical(table, data):
        raise Forged("it is not written the way bundles are")
    signature, public = _raw(table.pop("signature"), 64), _raw(table["public_key"], 32)
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, canonical(table))
    except (InvalidSignature, ValueError):
        raise Forged("the signature does not hold: it was changed after it was signed") from None
    if not isinstance(table["body"], dict):
        raise Forged("its body is no object")
    return Envelope(table["body"], hashlib.sha256(public).hexdigest(), len(data))


def read(path: Path) -> bytes:
    """Read a bundle's file.

    Raises:
        TooLarge: it has more than `MAX_BYTES`.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise TooLarge(f"'{path}' has more than {MAX_BYTES} bytes, which no bundle has")
    return data


def canonical(table: Any) -> bytes:
    """Return the one way to write plain values as JSON."""
    text = json.dumps(table, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data, parse_int=_integer, parse_constant=_constant)
    except (ValueError, RecursionError):
        raise Forged("it is no JSON") from None


def _is_canonical(table: Any, data: bytes) -> bool:
    if b"\n" + b" " * MAX_DEPTH in data:  # each level stands a space further right
        return False
    try:
        return canonical(table) == data
    except (ValueError, RecursionError):  # an infinite number, or deeper than can be written
        return False


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError
    return int(text)


def _constant(text: str) -> NoReturn:
    raise ValueError(text)


def _raw(text: Any, length: int) -> bytes:
    """Return bytes from hexadecimal in its one form: lower case, nothing else."""
    try:
        raw = bytes.fromhex(text)
    except (TypeError, ValueError):
        raw = b""
    if len(raw) != length or raw.hex() != text:
        raise Forged("its key or signature is of another form")
    return raw
