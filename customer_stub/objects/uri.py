"""URI encoding as SigV4 defines it: everything but unreserved characters, in upper-case hex."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes


def quoted(text: str) -> str:
    """Encode a name or value of the query, slashes too."""
    return quote(text, safe="-_.~", errors="surrogateescape")


def quoted_path(text: str) -> str:
    """Encode a path, which keeps its slashes; S3 encodes it once and does not normalise it."""
    return quote(text, safe="/-_.~", errors="surrogateescape")


def unquoted(raw: bytes) -> str:
    """Decode a percent-encoded part; bytes that are no UTF-8 come back as lone surrogates."""
    return unquote_to_bytes(raw).decode("utf-8", "surrogateescape")
