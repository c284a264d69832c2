"""Heads of the HTTP exchanges that streams carry, and the scope that routes them.

One exchange is one stream: OPEN carries a request head, HEAD a response head. Only allow-listed
headers cross.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar, cast

from tunnel.errors import RemoteError
from tunnel.frames import MAX_HEAD_BYTES
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
MAX_NAME_CHARS = 128
SHARED_HEADS = 256  # kept, so that equal ones of many streams are one: names, never payload
NONE = "-"
PROOF_HEADER = "planesplit-proof"  # by which the control plane hands its proof to the relay
PROOF_VERSION = 2  # of the protocol: the first one whose request heads carry a proof

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}|-")
_PATH = re.compile(r"/[A-Za-z0-9_.]{1,200}/[A-Za-z0-9_]{1,100}")
_PROOF = re.compile(r"[A-Za-z0-9_.-]{0,2048}")
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
    @lru_cache(SHARED_HEADS)
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
    """Method, `/{service}/{method}` path, scope, the caller's subject and allow-listed headers.

    Args:
        proof: token by which the issuer says who asks, or what; not carried by version 1.

    Raises:
        ValueError: a part that the peer would refuse, which would cost the whole tunnel.
    """

    method: str
    path: str
    scope: Scope
    viewer: str
    headers: Headers = ()
    proof: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.method not in _METHODS or not _PATH.fullmatch(self.path):
            raise ValueError("request head: method or path")
        if not _SEGMENT.fullmatch(self.viewer):
            raise ValueError("request head: viewer")
        if not _PROOF.fullmatch(self.proof):
            raise ValueError("request head: proof")
        _check_headers(self.headers, REQUEST_HEADERS)

    def encode(self, version: int = PROOF_VERSION) -> bytes:
        """Serialise for OPEN, in a version of the protocol."""
        scope = self.scope
        fields = {
            "m": self.method,
            "p": self.path,
            "s": [scope.org, scope.project, scope.domain, scope.cluster],
            "v": self.viewer,
            "h": self.headers,
        }
        if self.proof and version >= PROOF_VERSION:
            fields["i"] = self.proof
        return _dump(fields)

    @classmethod
    def decode(cls, data: Buffer) -> RequestHead:
        """Parse what OPEN carried.

        Raises:
            RemoteError: anything but the exact shape.
        """
        fields = _load(data, {"m", "p", "s", "v", "h"}, {"i"})
        try:
            scope = Scope(*_names(fields["s"]))
            proof = fields.get("i", "")
            return cls(fields["m"], fields["p"], scope, fields["v"], _pairs(fields["h"]), proof)
        except (TypeError, ValueError):
            raise RemoteError("request head: a part is not well-formed") from None

    def get(self, name: str, default: str = "") -> str:
        """Return a header's value by lower-case name."""
        return dict(self.headers).get(name, default)


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """HTTP status and allow-listed headers of an answer.

    Raises:
        ValueError: a part that the peer would refuse, which would cost the whole tunnel.
    """

    status: int
    headers: Headers = ()

    def __post_init__(self) -> None:
        if type(self.status) is not int or not 200 <= self.status <= 599:
            raise ValueError("response head: status")
        _check_headers(self.headers, RESPONSE_HEADERS)

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
        try:
            return shared(cls(fields["c"], _pairs(fields["h"])))
        except (TypeError, ValueError):
            raise RemoteError("response head: a part is not well-formed") from None

    def get(self, name: str, default: str = "") -> str:
        """Return a header's value by lower-case name."""
        return dict(self.headers).get(name, default)


_Head = TypeVar("_Head", RequestHead, ResponseHead)
_shared: dict[RequestHead | ResponseHead, RequestHead | ResponseHead] = {}


def shared(head: _Head) -> _Head:
    """Return an equal head that is kept already, so that those of many streams are one."""
    if len(_shared) >= SHARED_HEADS:
        _shared.clear()
    return cast(_Head, _shared.setdefault(head, head))


def allowed(headers: Headers, names: frozenset[str]) -> Headers:
    """Keep the headers that may cross, in lower case; drop those with unprintable values."""
    lowered = ((name.lower(), value) for name, value in headers)
    return tuple((n, v) for n, v in lowered if n in names and _HEADER_VALUE.fullmatch(v))


def _dump(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _load(
    data: Buffer, keys: set[str], optional: frozenset[str] | set[str] = frozenset()
) -> dict[str, Any]:
    if len(data) > MAX_HEAD_BYTES:
        raise RemoteError(f"head of {len(data)} bytes, limit {MAX_HEAD_BYTES}")
    try:
        fields = json.loads(bytes(data))
    except (ValueError, RecursionError):
        raise RemoteError("head is not JSON") from None
    if not isinstance(fields, dict) or set(fields) - optional != keys:
        raise RemoteError("head has other fields than it should")
    return fields


def _names(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _pairs(value: object) -> Headers:
    return tuple(_pair(item) for item in _names(value))


def _pair(item: object) -> tuple[str, str]:
    match item:
        case [str(name), str(text)]:
            return name, text
    raise TypeError


def _check_headers(headers: Headers, names: frozenset[str]) -> None:
    if len(headers) > len(names):
        raise ValueError("head: too many headers")
    for name, value in headers:
        if name not in names or not _HEADER_VALUE.fullmatch(value):
            raise ValueError("head: a header that may not cross")
