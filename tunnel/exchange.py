"""Heads of the HTTP exchanges that streams carry, and the scope that routes them.

One exchange is one stream: OPEN carries a request head, HEAD a response head. Only allow-listed
headers cross.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tunnel.errors import RemoteError
from tunnel.payload import Buffer

REQUEST_HEADERS = frozenset(
    {
        "content-type",
        "content-encoding",
        "accept-encoding",
        "connect-protocol-version",
        "connect-timeout-ms",
        "connect-content-encoding",
        "connect-accept-encoding",
        "planesplit-since",
        "planesplit-lines",
        "planesplit-follow",
    }
)
RESPONSE_HEADERS = frozenset(
    {"content-type", "content-encoding", "connect-content-encoding", "connect-accept-encoding"}
)
MAX_HEAD_BYTES = 16_384  # what h11 allows for a whole HTTP head; ours is a subset of one
MAX_NAME_CHARS = 128
NONE = "-"

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}|-")
_PATH = re.compile(r"/[A-Za-z0-9_.]{1,200}/[A-Za-z0-9_]{1,100}")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]{0,512}")
_METHODS = frozenset({"GET", "POST"})

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """What an exchange may touch; `-` where a level is absent. Carried as a path prefix."""

    org: str
    project: str
    domain: str
    cluster: str

    def __post_init__(self) -> None:
        for part in (self.org, self.project, self.domain, self.cluster):
            if not _SEGMENT.fullmatch(part):
                raise ValueError("a scope's parts are names of letters, digits and . _ @ : -")

    @property
    def prefix(self) -> str:
        """The path prefix that routes to this scope."""
        return f"/r/{self.org}/{self.project}/{self.domain}/{self.cluster}"

    @classmethod
    def from_path(cls, path: str) -> tuple[Scope, str]:
        """Split `/r/{org}/{project}/{domain}/{cluster}/{service}/{method}`.

        Raises:
            ValueError: the path has another shape.
        """
        parts = path.split("/", 6)
        if len(parts) != 7 or parts[0] or parts[1] != "r":
            raise ValueError(
                "the path is not /r/{org}/{project}/{domain}/{cluster}/{service}/{method}"
            )
        rest = "/" + parts[6]
        if not _PATH.fullmatch(rest):
            raise ValueError("the path does not end in /{service}/{method}")
        return cls(*parts[2:6]), rest


@dataclass(frozen=True, slots=True)
class RequestHead:
    """Method, `/{service}/{method}` path, scope, the caller's subject and allow-listed headers."""

    method: str
    path: str
    scope: Scope
    viewer: str
    headers: Headers = ()

    def encode(self) -> bytes:
        """Serialise for OPEN."""
        scope = self.scope
        return _dump(
            {
                "m": self.method,
                "p": self.path,
                "s": [scope.org, scope.project, scope.domain, scope.cluster],
                "v": self.viewer,
                "h": self.headers,
            }
        )

    @classmethod
    def decode(cls, data: Buffer) -> RequestHead:
        """Parse what OPEN carried.

        Raises:
            RemoteError: anything but the exact shape.
        """
        fields = _load(data, {"m", "p", "s", "v", "h"})
        method, path, scope, viewer = fields["m"], fields["p"], fields["s"], fields["v"]
        if method not in _METHODS or not isinstance(path, str) or not _PATH.fullmatch(path):
            raise RemoteError("request head: method or path")
        if not isinstance(viewer, str) or not _SEGMENT.fullmatch(viewer):
            raise RemoteError("request head: viewer")
        if (
            not isinstance(scope, list)
            or len(scope) != 4
            or not all(isinstance(s, str) for s in scope)
        ):
            raise RemoteError("request head: scope")
        try:
            return cls(method, path, Scope(*scope), viewer, _headers(fields["h"], REQUEST_HEADERS))
        except ValueError:
            raise RemoteError("request head: scope") from None

    def get(self, name: str, default: str = "") -> str:
        """Return a header's value by lower-case name."""
        return dict(self.headers).get(name, default)


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """HTTP status and allow-listed headers of an answer."""

    status: int
    headers: Headers = ()

    def encode(self) -> bytes:
        """Serialise for HEAD."""
        return _dump({"c": self.status, "h": self.headers})

    @classmethod
    def decode(cls, data: Buffer) -> ResponseHead:
        """Parse what HEAD carried.

        Raises:
            RemoteError: anything but the exact shape.
        """
        fields = _load(data, {"c", "h"})
        status = fields["c"]
        if type(status) is not int or not 200 <= status <= 599:
            raise RemoteError("response head: status")
        return cls(status, _headers(fields["h"], RESPONSE_HEADERS))

    def get(self, name: str, default: str = "") -> str:
        """Return a header's value by lower-case name."""
        return dict(self.headers).get(name, default)


def allowed(headers: Headers, names: frozenset[str]) -> Headers:
    """Keep the headers that may cross, in lower case; drop those with unprintable values."""
    lowered = ((name.lower(), value) for name, value in headers)
    return tuple((n, v) for n, v in lowered if n in names and _HEADER_VALUE.fullmatch(v))


def _dump(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _load(data: Buffer, keys: set[str]) -> dict[str, Any]:
    if len(data) > MAX_HEAD_BYTES:
        raise RemoteError(f"head of {len(data)} bytes, limit {MAX_HEAD_BYTES}")
    try:
        fields = json.loads(bytes(data))
    except (ValueError, RecursionError):
        raise RemoteError("head is not JSON") from None
    if not isinstance(fields, dict) or set(fields) != keys:
        raise RemoteError("head has other fields than it should")
    return fields


def _headers(value: object, names: frozenset[str]) -> Headers:
    if not isinstance(value, list) or len(value) > len(names):
        raise RemoteError("head: headers")
    return tuple(_header(pair, names) for pair in value)


def _header(pair: object, names: frozenset[str]) -> tuple[str, str]:
    match pair:
        case [str(name), str(text)] if name in names and _HEADER_VALUE.fullmatch(text):
            return name, text
    raise RemoteError("head: a header that may not cross")
