"""Cases that once were findings, kept for ever: what was wrong stands beside each."""

from __future__ import annotations

from fuzz_seeds import SIGNATURES, socket_frame

PING_FRAME = socket_frame(0x82, b"\x0a" + bytes(7))

# Target -> cases.
FOUND: dict[str, tuple[bytes, ...]] = {
    "websocket frames": (
        # A Close with reserved bits, in pieces: what followed was read as frames of their own.
        b"\xe8\x91" + bytes(4) + PING_FRAME * 3,
    ),
    "signatures": (
        # A credential that is no UTF-8: UnicodeEncodeError, a 500 to the client.
        SIGNATURES[0].replace(b"aws4_request", b"aws4_req\xffuest"),
    ),
    "kubernetes protobuf": (
        # Bytes for a number: they went into an object as bytes, which JSON hasn't.
        b"k8s\0\x0a\x13\x0a\x02v1\x12\x0dDeleteOptions\x12\x03\x0a\x01u",
    ),
    "aws chunks": (
        # A line of exactly the limit: refused when its CRLF came in two pieces.
        b"0\r\na:b" + b" " * 1_021 + b"\r\n\r\n",
    ),
}
