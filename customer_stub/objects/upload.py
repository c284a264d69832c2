"""Takes the body of an upload into a file, and checks everything that its head promised."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import zlib
from typing import Protocol

import trio

from customer_stub.asgi import Receive
from customer_stub.objects.aws_chunked import MODES, AwsChunked
from customer_stub.objects.errors import S3Error, not_implemented
from customer_stub.objects.request import S3Request
from customer_stub.objects.settings import ObjectsSettings
from customer_stub.objects.sigv4 import UNSIGNED, Signed

_CHECKSUM = "x-amz-checksum-"
_ABOUT_CHECKSUMS = frozenset({f"{_CHECKSUM}algorithm", f"{_CHECKSUM}type", f"{_CHECKSUM}mode"})


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class Sink(Protocol):
    """Where content goes: a draft on disk, or a document in memory."""

    @property
    def size_bytes(self) -> int:
        """Written so far."""

    @property
    def md5(self) -> str:
        """MD5 of what was written, in hex."""

    @property
    def sha256(self) -> str:
        """SHA-256 of what was written, in hex."""

    def write(self, data: bytes) -> None:
        """Append; raises S3Error when full."""


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _checksum(name: str) -> _Digest:
    match name.removeprefix(_CHECKSUM):
        case "crc32":
            return _Crc32()
        case "sha1":
            return hashlib.sha1(usedforsecurity=False)
        case "sha256":
            return hashlib.sha256()
    raise not_implemented("This checksum algorithm")


class Upload:
    """One body on its way in.

    Args:
        request: its head.
        receive: where the body comes from.
        signed: the verified signature.
        settings: limits.

    Raises:
        S3Error: the head has no length, one too large, or a digest that is none.
    """

    def __init__(
        self, request: S3Request, receive: Receive, signed: Signed, settings: ObjectsSettings
    ) -> None:
        self._receive, self._settings, self._payload = receive, settings, signed.payload
        self._chunks = AwsChunked(signed.payload, signed) if signed.payload in MODES else None
        self._size = _declared_bytes(request, settings, chunked=self._chunks is not None)
        self._md5 = _content_md5(request)
        self._sha256 = _content_sha256(signed.payload)
        self._given = request.amz(_CHECKSUM)
        self._names = self._given.keys() - _ABOUT_CHECKSUMS
        if trailer := request.header("x-amz-trailer"):
            self._names = {*self._names, *trailer.lower().replace(" ", "").split(",")}
        self._digests = {name: _checksum(name) for name in self._names}

    async def into(self, draft: Sink) -> None:
        """Write the content somewhere and check it.

        Raises:
            S3Error: it differs from what the head said in length, digest or signature, or it
                stopped coming.
        """
        more = True
        while more:
            data, more = await self._next()
            for piece in (data,) if self._chunks is None else self._chunks.feed(data):
                if draft.size_bytes + len(piece) > self._size:
                    raise _wrong_length()
                draft.write(piece)
                for digest in self._digests.values():
                    digest.update(piece)
            await trio.lowlevel.checkpoint()
        self._check(draft)

    async def _next(self) -> tuple[bytes, bool]:
        with trio.move_on_after(self._settings.idle_s):
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise S3Error("IncompleteBody", "The client went away")
            return message.get("body", b""), message.get("more_body", False)
        raise S3Error("RequestTimeout", "The body did not arrive in time")

    def _check(self, draft: Sink) -> None:
        if self._chunks is not None:
            self._chunks.finish()
        if draft.size_bytes != self._size:
            raise _wrong_length()
        if self._md5 is not None and not hmac.compare_digest(self._md5, draft.md5):
            raise S3Error("BadDigest", "The Content-MD5 you specified did not match the content")
        if self._sha256 is not None and not hmac.compare_digest(self._sha256, draft.sha256):
            message = "The provided 'x-amz-content-sha256' header does not match the content"
            raise S3Error("XAmzContentSHA256Mismatch", message)
        given = self._given | (self._chunks.trailers if self._chunks else {})
        for name, digest in self._digests.items():
            expected = base64.b64encode(digest.digest()).decode()
            if not hmac.compare_digest(expected, given.get(name, "")):
                raise S3Error("XAmzContentChecksumMismatch", "A checksum did not match the content")


def _wrong_length() -> S3Error:
    return S3Error("IncompleteBody", "The content is not as long as its head says")


def _declared_bytes(request: S3Request, settings: ObjectsSettings, *, chunked: bool) -> int:
    name = "x-amz-decoded-content-length" if chunked else "content-length"
    text = request.header(name)
    if text is None:
        raise S3Error("MissingContentLength", "You must provide the length of the content")
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise S3Error("InvalidArgument", f"{name} is not a whole number")
    if int(text) > settings.max_object_bytes:
        message = f"Your proposed upload exceeds the maximum of {settings.max_object_bytes} bytes"
        raise S3Error("EntityTooLarge", message)
    return int(text)


def _content_md5(request: S3Request) -> str | None:
    text = request.header("content-md5")
    if text is None:
        return None
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != hashlib.md5(usedforsecurity=False).digest_size:
        raise S3Error("InvalidDigest", "The Content-MD5 you specified is not valid")
    return value.hex()


def _content_sha256(payload: str) -> str | None:
    if payload in MODES or payload == UNSIGNED:
        return None
    if not re.fullmatch(r"[0-9a-f]{64}", payload):
        raise S3Error("InvalidArgument", "x-amz-content-sha256 must be a digest or a known mode")
    return payload
