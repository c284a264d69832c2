"""The head of one request to the object store, its parts decoded once."""

from __future__ import annotations

import re

from customer_stub.asgi import Scope
from customer_stub.objects.errors import S3Error
from customer_stub.objects.uri import unquoted

MAX_QUERY_FIELDS = 64
MAX_KEY_BYTES = 1024  # S3's limit

_CONTROL = re.compile("[\x00-\x1f\x7f\ufffe\uffff\udc80-\udcff]")
_SPACES = re.compile(r" +")


class S3Request:
    """Method, path, query and headers; path-style: `/{bucket}/{key}`.

    Attributes:
        path: decoded, for the signature.
        bucket, key: empty where the path names none.
        query: decoded pairs in the order sent.
        header_names: in lower case.

    Raises:
        S3Error: the query or the key is not acceptable.
    """

    def __init__(self, scope: Scope) -> None:
        self.method: str = scope["method"]
        self.path = unquoted(scope["raw_path"])
        self.bucket, _, self.key = self.path.removeprefix("/").partition("/")
        self.query = _pairs(scope["query_string"])
        self._headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            text = value.decode("utf-8", "surrogateescape")
            self._headers.setdefault(name.decode("latin-1").lower(), []).append(text)
        self.header_names = self._headers.keys()

    def check_key(self) -> None:
        """Raise S3Error for a key that is too long or can't be written in XML."""
        if len(self.key.encode("utf-8", "surrogateescape")) > MAX_KEY_BYTES:
            raise S3Error("KeyTooLongError", "Your key is too long")
        if _CONTROL.search(self.key):
            raise S3Error("InvalidURI", "A key is UTF-8 without control characters here")

    def header(self, name: str) -> str | None:
        """Return a header's first value, without outer spaces."""
        values = self._headers.get(name)
        return values[0].strip() if values else None

    def canonical(self, name: str) -> str:
        """Return a header as it is signed: trimmed, inner spaces as one, several by comma."""
        values = self._headers.get(name, ())
        return ",".join(_SPACES.sub(" ", value.strip()) for value in values)

    def amz(self, prefix: str) -> dict[str, str]:
        """Return headers by the start of their names; a URL may carry them in its query too."""
        hoisted = {name.lower(): value for name, value in self.query}
        headers = {name: self.canonical(name) for name in self._headers}
        both = hoisted | headers
        return {name: value for name, value in both.items() if name.startswith(prefix)}

    def parameter(self, name: str) -> str | None:
        """Return a parameter of the query.

        Raises:
            S3Error: it is there twice, so that signer and reader might differ.
        """
        values = [value for key, value in self.query if key == name]
        if len(values) > 1:
            raise S3Error("InvalidArgument", "A query parameter is there twice")
        return values[0] if values else None

    def number(self, name: str, default: int, *, most: int) -> int:
        """Return a parameter that is a whole number from 0 to `most`.

        Raises:
            S3Error: it is not.
        """
        text = self.parameter(name)
        if text is None:
            return default
        if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) > most:
            raise S3Error("InvalidArgument", f"{name} must be a whole number up to {most}")
        return int(text)


def _pairs(raw: bytes) -> tuple[tuple[str, str], ...]:
    parts = [part for part in raw.split(b"&") if part]
    if len(parts) > MAX_QUERY_FIELDS:
        raise S3Error("InvalidArgument", f"More than {MAX_QUERY_FIELDS} query parameters")
    split = (part.replace(b"+", b" ").partition(b"=") for part in parts)
    return tuple((unquoted(name), unquoted(value)) for name, _, value in split)
