"""The content coding `aws-chunked`: signed or unsigned chunks, with or without trailers.

Source: "Signature Calculations for the Authorization Header: Transferring Payload in Multiple
Chunks" in the S3 API reference. No I/O: bytes in, content out; at most one line is held.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator

from customer_stub.objects.errors import S3Error
from customer_stub.objects.sigv4 import ALGORITHM, Signed, sign

SIGNED_CHUNKS = f"STREAMING-{ALGORITHM}-PAYLOAD"
SIGNED_TRAILER = f"{SIGNED_CHUNKS}-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
MODES = (SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED_TRAILER)
MAX_LINE_BYTES = 1024
MAX_TRAILERS = 8

_SIZE = re.compile(rb"([0-9a-fA-F]{1,10})(?:;chunk-signature=([0-9a-f]{64}))?")
_TRAILER = re.compile(rb"([a-zA-Z0-9-]{1,64}):[ \t]*([\x21-\x7e]{0,256})[ \t]*")
_EMPTY = hashlib.sha256(b"").hexdigest()
_TRAILER_SIGNATURE = "x-amz-trailer-signature"


class AwsChunked:
    """Decodes one body.

    Attributes:
        trailers: what came after the last chunk, names in lower case.

    Args:
        mode: one of `MODES`.
        signed: the verified head, whose signature the first chunk's is chained to.
    """

    def __init__(self, mode: str, signed: Signed) -> None:
        self.trailers: dict[str, str] = {}
        self._mode, self._signed, self._previous = mode, signed, signed.signature
        self._pending = bytearray()
        self._left = 0  # of the chunk's content
        self._in_chunk = self._in_trailers = self._done = False
        self._chunk_signature = ""
        self._chunk_hash = hashlib.sha256()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes as they come and yield the content in them.

        Raises:
            S3Error: malformed, or a chunk's signature does not fit.
        """
        self._pending += data
        while self._pending and not self._done:
            if self._left:
                yield self._content()
            elif (line := self._line()) is not None:
                self._on_line(line)
            else:
                return
        if self._pending:
            raise _malformed()

    def finish(self) -> None:
        """Check that the body has ended where it may.

        Raises:
            S3Error: it has not, or the trailers' signature does not fit.
        """
        if not self._done:
            raise S3Error("IncompleteBody", "The body ended before its last chunk")
        if self._mode == SIGNED_TRAILER:
            given = self.trailers.pop(_TRAILER_SIGNATURE, "")
            text = "".join(f"{name}:{value}\n" for name, value in self.trailers.items())
            digest = hashlib.sha256(text.encode()).hexdigest()
            self._check(f"{ALGORITHM}-TRAILER", given, digest)

    def _content(self) -> bytes:
        piece = bytes(self._pending[: self._left])
        del self._pending[: self._left]
        self._left -= len(piece)
        if self._mode != UNSIGNED_TRAILER:
            self._chunk_hash.update(piece)
        return piece

    def _line(self) -> bytes | None:
        end = self._pending.find(b"\r\n")
        whole_bytes = end if end >= 0 else len(self._pending) - self._pending.endswith(b"\r")
        if whole_bytes > MAX_LINE_BYTES:
            raise _malformed()
        if end < 0:
            return None
        line = bytes(self._pending[:end])
        del self._pending[: end + 2]
        return line

    def _on_line(self, line: bytes) -> None:
        if self._in_trailers:
            self._on_trailer(line)
        elif self._in_chunk:
            if line:
                raise _malformed()
            self._end_chunk()
        else:
            self._begin_chunk(line)

    def _begin_chunk(self, line: bytes) -> None:
        match = _SIZE.fullmatch(line)
        if match is None or (match[2] is None) is not (self._mode == UNSIGNED_TRAILER):
            raise _malformed()
        self._left = int(match[1], 16)
        self._chunk_signature = (match[2] or b"").decode()
        self._in_chunk = True
        if not self._left:
            self._end_chunk()
            self._in_trailers = True

    def _end_chunk(self) -> None:
        self._in_chunk = False
        if self._mode != UNSIGNED_TRAILER:
            digest = f"{_EMPTY}\n{self._chunk_hash.hexdigest()}"
            self._check(f"{ALGORITHM}-PAYLOAD", self._chunk_signature, digest)
            self._chunk_hash = hashlib.sha256()

    def _on_trailer(self, line: bytes) -> None:
        if not line:
            self._done = True
            return
        match = _TRAILER.fullmatch(line)
        if match is None or len(self.trailers) >= MAX_TRAILERS or self._mode == SIGNED_CHUNKS:
            raise _malformed()
        name = match[1].decode().lower()
        if name in self.trailers:
            raise _malformed()
        self.trailers[name] = match[2].decode()

    def _check(self, algorithm: str, given: str, digests: str) -> None:
        head = self._signed
        text = "\n".join((algorithm, head.date, head.scope, self._previous, digests))
        expected = sign(head.key, text)
        if not hmac.compare_digest(expected, given):
            raise S3Error("SignatureDoesNotMatch", "The signature of a chunk does not match.")
        self._previous = expected


def _malformed() -> S3Error:
    return S3Error("InvalidRequest", "The body is not well-formed aws-chunked")
