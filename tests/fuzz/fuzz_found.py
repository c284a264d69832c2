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
    "aws chunks": (
        # A line of exactly the limit: refused when its CRLF came in two pieces.
        b"0\r\na:b" + b" " * 1_021 + b"\r\n\r\n",
    ),
}
