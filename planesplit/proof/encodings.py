"""What a secret looks like at rest: the encodings that data usually has, as byte patterns."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_plus

WHITESPACE = b" \t\r\n"
Pattern = tuple[str, bytes]  # name of the encoding, what is looked for

_STD_TO_URLSAFE = bytes.maketrans(b"+/", b"-_")
_CONTEXT = (0, 2, 3)  # characters of base64 that bytes before the secret have a part in, by shift
_TAIL = (0, 3, 2)  # and those that bytes after it have a part in


def _escaped(text: str, template: str) -> bytes:
    units = text.encode("utf-16-be")
    pairs = (units[at : at + 2].hex() for at in range(0, len(units), 2))
    return "".join(template.format(pair) for pair in pairs).encode()


def _json(text: str) -> bytes:
    return json.dumps(text)[1:-1].encode()


# Every encoding of a text as such.
ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "upper case": lambda text: text.upper().encode(),
    "utf-16": lambda text: text.encode("utf-16-le"),
    "utf-16 big endian": lambda text: text.encode("utf-16-be"),
    "reversed": lambda text: text.encode()[::-1],
    "hex": lambda text: text.encode().hex().encode(),
    "HEX": lambda text: text.encode().hex().upper().encode(),
    "url": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()).encode(),
    "url lower": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()).encode(),
    "url where needed": lambda text: quote(text).encode(),
    "url of a form": lambda text: quote_plus(text).encode(),
    "json": _json,
    "json \\u": lambda text: _escaped(text, "\\u{}"),
    "html": lambda text: html.escape(text).encode(),
}


USUAL = ("plain", "json", "utf-16", "reversed", "hex")  # of a value that is itself no text


def patterns(secret: str, names: Iterable[str] = tuple(ENCODINGS)) -> list[Pattern]:
    """Return what to look for, so that `secret` is found in every encoding named here.

    Args:
        secret: at least 4 characters; base64 of fewer depends on its neighbours alone.
        names: of the encodings beside base64.

    Returns:
        One pattern for each encoding, always in the same order; some may be the same bytes.
    """
    found = [(name, ENCODINGS[name](secret)) for name in names]
    for shift in range(3):
        pattern = aligned_base64(secret.encode(), shift)
        found += [("base64", pattern), ("base64 urlsafe", pattern.translate(_STD_TO_URLSAFE))]
    return found


def distinct(found: Iterable[Pattern]) -> list[Pattern]:
    """Return each pattern once, under the first of its names."""
    once: dict[bytes, str] = {}
    for name, pattern in found:
        once.setdefault(pattern, name)
    return [(name, pattern) for pattern, name in once.items()]


def aligned_base64(secret: bytes, shift: int) -> bytes:
    """Return the characters of base64 that depend on the secret alone.

    Args:
        shift: how many bytes more than a multiple of three come before it: 0, 1 or 2.
    """
    encoded = base64.b64encode(bytes(shift) + secret)
    end = len(encoded) - _TAIL[(shift + len(secret)) % 3]
    return encoded[_CONTEXT[shift] : end].rstrip(b"=")


def stripped(data: bytes) -> bytes:
    """Return data without white space: what was wrapped over lines is whole again."""
    return data.translate(None, WHITESPACE)


def stripped_patterns(secret: str) -> Iterator[Pattern]:
    """Yield what to look for where white space was taken out."""
    bare = "".join(secret.split())
    yield "plain", bare.encode()
    yield "hex", secret.encode().hex().encode()
    yield "HEX", secret.encode().hex().upper().encode()
    for shift in range(3):
        pattern = aligned_base64(secret.encode(), shift)
        yield "base64", pattern
        yield "base64 urlsafe", pattern.translate(_STD_TO_URLSAFE)
