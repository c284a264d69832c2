"""The one tree of tunnel errors. Each class carries its wire code: a raise becomes RESET or GOAWAY.

Messages are built from numbers and our own names, never from bytes that a peer sent.
"""

from __future__ import annotations

import enum


class Code(enum.IntEnum):
    """Why a stream or a tunnel ended, as sent in RESET, GOAWAY and AUTH refusals (u16)."""

    NO_ERROR = 0
    PROTOCOL = 1
    FRAME_TOO_LARGE = 2
    UNKNOWN_STREAM = 3
    FLOW_CONTROL = 4
    VERSION = 5
    AUTH_REFUSED = 6
    AUTH_EXPIRED = 7
    REPLACED = 8
    DRAINING = 9
    TIMEOUT = 10
    CANCELLED = 11
    REFUSED = 12
    INTERNAL = 13
    TUNNEL_LOST = 14
    DATA_LOSS = 15
    NOT_READY = 16
    REVOKED = 17

    @classmethod
    def from_wire(cls, number: int) -> Code:
        """Return the code for a received number; an unknown one reads as INTERNAL (RFC 9113, 7)."""
        try:
            return cls(number)
        except ValueError:
            return cls.INTERNAL


class TunnelError(Exception):
    """Base of everything the tunnel raises; `code` is what goes on the wire."""

    code: Code = Code.INTERNAL

    def __init__(self, message: str = "", *, code: Code | None = None) -> None:
        if code is not None:
            self.code = code
        super().__init__(message or self.code.name)


class LocalError(TunnelError):
    """Our own side asked for something the protocol does not allow: a bug here, not there."""


class RemoteError(TunnelError):
    """The peer broke the protocol; the tunnel ends with GOAWAY and `code`."""

    code = Code.PROTOCOL


class FrameTooLarge(RemoteError):
    """A frame over the negotiated limit."""

    code = Code.FRAME_TOO_LARGE

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        self.size_bytes, self.limit_bytes = size_bytes, limit_bytes
        super().__init__(f"frame of {size_bytes} bytes, limit {limit_bytes}")


class UnknownStream(RemoteError):
    """A frame for a stream id that was never opened."""

    code = Code.UNKNOWN_STREAM

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id
        super().__init__(f"stream {stream_id} was never opened")


class CreditOverrun(RemoteError):
    """More DATA than the granted credit; only that stream is reset."""

    code = Code.FLOW_CONTROL

    def __init__(self, stream_id: int, excess_bytes: int) -> None:
        self.stream_id, self.excess_bytes = stream_id, excess_bytes
        super().__init__(f"stream {stream_id} exceeded its credit by {excess_bytes} bytes")


class AuthRefused(RemoteError):
    """The token is not accepted: AUTH_REFUSED, AUTH_EXPIRED, NOT_READY or REVOKED."""

    code = Code.AUTH_REFUSED


class StreamReset(TunnelError):
    """The stream ended early: reset by either side, or the tunnel was lost."""

    code = Code.CANCELLED


class TransportClosed(TunnelError):
    """The transport below ended, cleanly or not; retryable."""

    code = Code.TUNNEL_LOST


class HandshakeFailed(TunnelError):
    """The WebSocket opening handshake failed; `status` is the HTTP status, 0 if there was none."""

    code = Code.REFUSED

    def __init__(self, message: str, *, status: int = 0) -> None:
        self.status = status
        super().__init__(message)
