"""Errors as a Connect client understands them (connectrpc.com/docs/protocol, November 2026).

A streaming call gets HTTP 200 and an end-stream envelope, anything else a JSON error with a status.
"""

from __future__ import annotations

import enum
import json

from relay.metrics import Reason
from tunnel.errors import Code
from tunnel.exchange import Headers

END_STREAM_FLAG = 0x02
EXPIRED_TEXT = "the token has expired"
STREAMING_TYPES = ("application/connect+proto", "application/connect+json")
_EMPTY = {"application/connect+proto": b"", "application/connect+json": b"{}"}


class ConnectCode(enum.StrEnum):
    """The protocol's error codes."""

    CANCELED = "canceled"
    INVALID_ARGUMENT = "invalid_argument"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    NOT_FOUND = "not_found"
    ALREADY_EXISTS = "already_exists"
    PERMISSION_DENIED = "permission_denied"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    FAILED_PRECONDITION = "failed_precondition"
    ABORTED = "aborted"
    UNIMPLEMENTED = "unimplemented"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    DATA_LOSS = "data_loss"
    UNAUTHENTICATED = "unauthenticated"


HTTP_STATUS = {
    ConnectCode.CANCELED: 499,
    ConnectCode.INVALID_ARGUMENT: 400,
    ConnectCode.DEADLINE_EXCEEDED: 504,
    ConnectCode.NOT_FOUND: 404,
    ConnectCode.ALREADY_EXISTS: 409,
    ConnectCode.PERMISSION_DENIED: 403,
    ConnectCode.RESOURCE_EXHAUSTED: 429,
    ConnectCode.FAILED_PRECONDITION: 400,
    ConnectCode.ABORTED: 409,
    ConnectCode.UNIMPLEMENTED: 501,
    ConnectCode.INTERNAL: 500,
    ConnectCode.UNAVAILABLE: 503,
    ConnectCode.DATA_LOSS: 500,
    ConnectCode.UNAUTHENTICATED: 401,
}


class ConnectError(Exception):
    """A refusal or failure that is told to the caller.

    Args:
        code: what the client's library sees; UNAVAILABLE only where a retry makes sense.
        reason: the counter that it raises.
        message: our own words, never a peer's.
    """

    def __init__(self, code: ConnectCode, reason: Reason, message: str) -> None:
        self.code, self.reason, self.message = code, reason, message
        super().__init__(f"{code}: {message}")

    @property
    def http_status(self) -> int:
        """Status of a unary answer."""
        return HTTP_STATUS[self.code]

    def as_json(self) -> bytes:
        """The error object of a unary answer."""
        return json.dumps({"code": self.code, "message": self.message}).encode()

    def as_end_stream(self) -> bytes:
        """The envelope that ends a streaming answer."""
        body = b'{"error":' + self.as_json() + b"}"
        return envelope(END_STREAM_FLAG, body)

    def headers(self) -> Headers:
        """Headers of a unary answer."""
        headers: Headers = (("content-type", "application/json"),)
        if self.code is ConnectCode.UNAUTHENTICATED:
            headers += (("www-authenticate", "Bearer"),)
        return headers


def envelope(flags: int, body: bytes) -> bytes:
    """Return a Connect envelope: flags u8, length u32, body."""
    return bytes([flags]) + len(body).to_bytes(4, "big") + body


def streaming_type(content_type: str) -> str:
    """Return the streaming content type that a header's value names, or "" for any other.

    The string is a constant: one of the caller's own would be kept as long as the call.
    """
    name = content_type.partition(";")[0].strip().lower()
    return next((known for known in STREAMING_TYPES if known == name), "")


def empty_message(content_type: str) -> bytes:
    """Return a message with no fields set for a streaming content type: keeps a client patient."""
    return envelope(0, _EMPTY[content_type])


# The other way round, for an answer whose body nobody looks into. Where several codes share a
# status, the one that a unary call of ours gives.
_BY_STATUS = {
    400: ConnectCode.INVALID_ARGUMENT,
    401: ConnectCode.UNAUTHENTICATED,
    403: ConnectCode.PERMISSION_DENIED,
    404: ConnectCode.NOT_FOUND,
    409: ConnectCode.ALREADY_EXISTS,
    429: ConnectCode.RESOURCE_EXHAUSTED,
    499: ConnectCode.CANCELED,
    501: ConnectCode.UNIMPLEMENTED,
    503: ConnectCode.UNAVAILABLE,
    504: ConnectCode.DEADLINE_EXCEEDED,
}


def from_status(status: int) -> ConnectCode:
    """Return the code that a Connect server means by an HTTP status."""
    return _BY_STATUS.get(status, ConnectCode.INTERNAL)


_RESETS: dict[Code, tuple[ConnectCode, str]] = {
    Code.TUNNEL_LOST: (ConnectCode.UNAVAILABLE, "the tunnel to the agent was lost"),
    Code.DRAINING: (ConnectCode.UNAVAILABLE, "the agent is shutting down"),
    Code.REPLACED: (ConnectCode.UNAVAILABLE, "the agent's tunnel was replaced"),
    Code.NOT_READY: (ConnectCode.UNAVAILABLE, "the agent is not ready"),
    Code.TIMEOUT: (ConnectCode.DEADLINE_EXCEEDED, "the agent ran out of time"),
    Code.CANCELLED: (ConnectCode.ABORTED, "the agent gave the exchange up"),
    Code.REFUSED: (ConnectCode.FAILED_PRECONDITION, "the agent refused the exchange"),
    Code.AUTH_EXPIRED: (ConnectCode.UNAUTHENTICATED, EXPIRED_TEXT),
    Code.REVOKED: (ConnectCode.PERMISSION_DENIED, "the right to this exchange was withdrawn"),
    Code.DATA_LOSS: (ConnectCode.DATA_LOSS, "the source has lost data"),
}
_REASONS = {Code.TUNNEL_LOST: Reason.TUNNEL_LOST, Code.AUTH_EXPIRED: Reason.EXPIRED}


def from_reset(code: Code) -> ConnectError:
    """Return what a viewer is told when the agent resets its stream."""
    kind, message = _RESETS.get(code, (ConnectCode.INTERNAL, "the agent failed"))
    return ConnectError(kind, _REASONS.get(code, Reason.AGENT_RESET), message)
