"""Multipart uploads: parts are drafts until one request makes them an object."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from dataclasses import dataclass, field

import trio

from customer_stub.asgi import BLOCK_BYTES, Answer
from customer_stub.objects.answers import xml
from customer_stub.objects.disk import Draft
from customer_stub.objects.errors import S3Error
from customer_stub.objects.request import S3Request
from customer_stub.objects.settings import ObjectsSettings
from customer_stub.objects.store import ObjectStore, stored_headers
from customer_stub.objects.upload import Upload

MAX_PARTS = 10_000  # S3's
_PART = re.compile(r"<Part>(.*?)</Part>", re.DOTALL)
_NUMBER = re.compile(r"<PartNumber>\s*([0-9]{1,5})\s*</PartNumber>")
_ETAG = re.compile(r"<ETag>\s*(?:\"|&quot;|&#34;)?([0-9a-f]{32})(?:\"|&quot;|&#34;)?\s*</ETag>")


@dataclass(slots=True)
class _Pending:
    """An upload under way; its parts by number."""

    bucket: str
    key: str
    owner: str
    headers: dict[str, str]
    parts: dict[int, Draft] = field(default_factory=dict)
    closing: bool = False

    def discard(self) -> None:
        for part in self.parts.values():
            part.discard()
        self.parts.clear()


class Multipart:
    """Uploads under way. They live in memory and end with the process.

    Args:
        store: where objects go.
        settings: limits.
    """

    def __init__(self, store: ObjectStore, settings: ObjectsSettings) -> None:
        self._store, self._settings = store, settings
        self._uploads: dict[str, _Pending] = {}

    def begin(self, request: S3Request, owner: str) -> Answer:
        """Answer CreateMultipartUpload.

        Args:
            request: names the object.
            owner: the service account, which alone may go on.

        Raises:
            S3Error: too many are under way.
        """
        self._store.bucket(request.bucket)
        if len(self._uploads) >= self._settings.max_uploads:
            raise S3Error("SlowDown", "Too many multipart uploads are under way")
        upload_id = uuid.uuid4().hex
        self._uploads[upload_id] = _Pending(
            request.bucket, request.key, owner, stored_headers(request)
        )
        children = [("Bucket", request.bucket), ("Key", request.key), ("UploadId", upload_id)]
        return xml("InitiateMultipartUploadResult", [(name, text) for name, text in children])

    async def part(self, request: S3Request, upload: Upload, owner: str) -> Answer:
        """Answer UploadPart.

        Raises:
            S3Error: no such upload, a bad number, or content that was not promised.
        """
        pending = self._find(request, owner)
        number = request.number("partNumber", 0, most=MAX_PARTS)
        if not number:
            raise S3Error("InvalidArgument", f"partNumber must be 1 to {MAX_PARTS}")
        with self._store.bucket(request.bucket).draft() as draft:
            await self._store.receive(request, upload, draft)
            self._find(request, owner)  # it may have ended meanwhile
            draft.kept = True
        if (old := pending.parts.get(number)) is not None:
            old.discard()
        pending.parts[number] = draft
        return Answer(200, {"etag": f'"{draft.md5}"'})

    async def complete(
        self, request: S3Request, document: str, owner: str, *, once: bool
    ) -> Answer:
        """Answer CompleteMultipartUpload; `once` as in `ObjectStore.write`.

        Raises:
            S3Error: the list of parts does not fit what was uploaded.
        """
        pending = self._find(request, owner)
        parts = self._listed(pending, document)
        pending.closing = True
        try:
            digest = hashlib.md5(usedforsecurity=False)
            with self._store.bucket(request.bucket).draft() as whole:
                for part in parts:
                    digest.update(bytes.fromhex(part.md5))
                    await _append(part, whole)
                etag = f"{digest.hexdigest()}-{len(parts)}"
                entry = self._store.commit(request, whole, pending.headers, etag=etag, once=once)
        finally:
            pending.closing = False
        self._end(request)
        return xml(
            "CompleteMultipartUploadResult",
            [("Bucket", request.bucket), ("Key", request.key), ("ETag", f'"{entry.etag}"')],
        )

    def abort(self, request: S3Request, owner: str) -> Answer:
        """Answer AbortMultipartUpload.

        Raises:
            S3Error: no such upload.
        """
        self._find(request, owner)
        self._end(request)
        return Answer(204)

    def _find(self, request: S3Request, owner: str) -> _Pending:
        pending = self._uploads.get(request.parameter("uploadId") or "")
        if (
            pending is None
            or pending.closing
            or (pending.bucket, pending.key, pending.owner) != (request.bucket, request.key, owner)
        ):
            raise S3Error("NoSuchUpload", "The specified multipart upload does not exist.")
        return pending

    def _end(self, request: S3Request) -> None:
        self._uploads.pop(request.parameter("uploadId") or "").discard()

    def _listed(self, pending: _Pending, document: str) -> list[Draft]:
        listed = _parse(document)
        numbers = [number for number, _ in listed]
        if numbers != sorted(set(numbers)):
            raise S3Error("InvalidPartOrder", "The list of parts was not in ascending order.")
        parts = []
        for number, etag in listed:
            part = pending.parts.get(number)
            if part is None or part.md5 != etag:
                raise S3Error("InvalidPart", "One or more of the parts could not be found.")
            parts.append(part)
        if any(part.size_bytes < self._settings.min_part_bytes for part in parts[:-1]):
            message = f"All parts but the last have at least {self._settings.min_part_bytes} bytes"
            raise S3Error("EntityTooSmall", message)
        return parts


def _parse(document: str) -> list[tuple[int, str]]:
    """Read the list of parts. The document is small and flat: no XML parser meets the network."""
    parts = []
    for inner in _PART.findall(document):
        number, etag = _NUMBER.search(inner), _ETAG.search(inner)
        if number is None or etag is None:
            raise S3Error("MalformedXML", "A part needs PartNumber and ETag")
        parts.append((int(number[1]), etag[1]))
    if not 0 < len(parts) <= MAX_PARTS:
        raise S3Error("MalformedXML", f"A list of 1 to {MAX_PARTS} parts is needed")
    return parts


async def _append(part: Draft, whole: Draft) -> None:
    descriptor = os.open(part.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while data := os.read(descriptor, BLOCK_BYTES):
            whole.write(data)
            await trio.lowlevel.checkpoint()
    finally:
        os.close(descriptor)
