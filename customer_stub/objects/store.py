"""What can be done with objects, once the request is known to be allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from customer_stub.asgi import Answer, FilePart
from customer_stub.objects.answers import http_date
from customer_stub.objects.conditions import byte_range, not_modified
from customer_stub.objects.disk import Bucket, Draft, Entry, Reserve
from customer_stub.objects.errors import S3Error
from customer_stub.objects.request import S3Request
from customer_stub.objects.settings import ObjectsSettings
from customer_stub.objects.upload import Upload
from customer_stub.rows import DirectRows
from tunnel.settings import SettingError

REPORT = "report.html"
# A code bundle that the executor has staged for pods, which can't read the other bucket:
# {org}/{project}/{domain}/bundles/{MD5}/{file name}
_BUNDLE = re.compile(r"[^/]+/[^/]+/[^/]+/bundles/[0-9a-f]{32}/[^/]+")
DEFAULT_TYPE = "binary/octet-stream"  # S3's
_STORED = (
    "content-type",
    "content-encoding",
    "content-disposition",
    "content-language",
    "cache-control",
    "expires",
)
_META, _META_BYTES = "x-amz-meta-", 2048  # S3's limit of all user metadata
_RESPONSE = "response-"  # a signed GET may choose headers of its answer


class ObjectStore:
    """Two buckets on disk, and the account of what went in and out of them.

    Args:
        root: directory for objects, made if absent.
        settings: buckets and limits.
        rows: counts content by row of the white paper.
        clock: wall clock, nanoseconds since the epoch.

    Raises:
        SettingError: the directory can't be used.
    """

    def __init__(
        self,
        root: Path,
        settings: ObjectsSettings,
        *,
        rows: DirectRows,
        clock: Callable[[], int],
    ) -> None:
        self._settings, self._rows, self._clock = settings, rows, clock
        reserve = Reserve(settings.max_stored_bytes)
        names = (settings.metadata_bucket, settings.fast_registration_bucket)
        try:
            self._buckets = {name: Bucket(root / name, settings, reserve) for name in names}
        except OSError as error:
            raise SettingError(
                f"setting 'data_root': cannot use '{root}': {error.strerror}"
            ) from None
        except S3Error:
            raise SettingError(
                f"setting 'objects.max_stored_bytes' is {settings.max_stored_bytes}; "
                f"'{root}' holds more already"
            ) from None

    def bucket(self, name: str) -> Bucket:
        """Return a bucket.

        Raises:
            S3Error: there is none of that name.
        """
        try:
            return self._buckets[name]
        except KeyError:
            raise S3Error("NoSuchBucket", "The specified bucket does not exist") from None

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many objects and bytes each bucket holds."""
        return {
            name: {"objects": len(bucket), "bytes": bucket.size_bytes}
            for name, bucket in self._buckets.items()
        }

    def read(self, request: S3Request, *, head: bool) -> Answer:
        """Answer GET and HEAD of an object.

        Raises:
            S3Error: no such object, condition or range.
        """
        bucket = self.bucket(request.bucket)
        entry = bucket.get(request.key)
        if entry is None:
            raise S3Error("NoSuchKey", "The specified key does not exist.")
        if not_modified(request, entry):
            return Answer(304, _validators(entry))
        headers = {
            **_validators(entry),
            "accept-ranges": "bytes",
            **entry.headers,
            **_chosen_headers(request),
        }
        part = byte_range(request, entry)
        start, end = part or (0, entry.size_bytes)
        if part:
            headers["content-range"] = f"bytes {start}-{end - 1}/{entry.size_bytes}"
        if head:
            return Answer(206 if part else 200, {**headers, "content-length": str(end - start)})
        row = self.row(request)
        file = FilePart(
            bucket.open(entry), start, end - start, lambda size: self._rows.add(row, "down", size)
        )
        return Answer(206 if part else 200, headers, file=file)

    async def write(self, request: S3Request, upload: Upload, *, once: bool) -> Answer:
        """Answer PUT of an object.

        Args:
            request: names it.
            upload: its content.
            once: refuse to replace an object that has other content.

        Raises:
            S3Error: the content is not what was promised, or the name is taken.
        """
        bucket = self.bucket(request.bucket)
        headers = stored_headers(request)
        with bucket.draft() as draft:
            await self.receive(request, upload, draft)
            entry = self.commit(request, draft, headers, etag=draft.md5, once=once)
        return Answer(200, {"etag": f'"{entry.etag}"'})

    async def receive(self, request: S3Request, upload: Upload, draft: Draft) -> None:
        """Take content in and count it, also that of an upload which fails."""
        try:
            await upload.into(draft)
        finally:
            self._rows.add(self.row(request), "up", draft.size_bytes)

    def commit(
        self, request: S3Request, draft: Draft, headers: dict[str, str], *, etag: str, once: bool
    ) -> Entry:
        """Make a draft an object, or find that it is there already.

        Raises:
            S3Error: 412, If-None-Match or `once` forbids to replace what is there.
        """
        bucket = self.bucket(request.bucket)
        old = bucket.get(request.key)
        if old is not None and request.header("if-none-match") is not None:
            raise S3Error("PreconditionFailed", "An object of that name exists")
        if old is not None and once:
            if old.sha256 != draft.sha256:
                message = "An object of that name exists and has other content"
                raise S3Error("PreconditionFailed", message)
            return old
        now_s = self._clock() // 1_000_000_000
        entry = Entry(request.key, draft.size_bytes, draft.sha256, etag, now_s, headers, "")
        return bucket.commit(entry, draft)

    def delete(self, request: S3Request) -> Answer:
        """Answer DELETE: the object is gone, whether it was there or not."""
        self.bucket(request.bucket).delete(request.key)
        return Answer(204)

    def row(self, request: S3Request) -> str:
        """Return the row of the white paper that an object belongs to, by bucket and key."""
        if request.bucket == self._settings.fast_registration_bucket or _BUNDLE.fullmatch(
            request.key
        ):
            return "A5"
        return "A6" if request.key.rpartition("/")[2] == REPORT else "A4"


def stored_headers(request: S3Request) -> dict[str, str]:
    """Return the headers of an upload that are kept with the object.

    Raises:
        S3Error: the user metadata is too large.
    """
    kept = {name: value for name in _STORED if (value := request.header(name))}
    coding = kept.pop("content-encoding", "").replace(" ", "").split(",")
    if left := ",".join(part for part in coding if part not in ("", "aws-chunked")):
        kept["content-encoding"] = left
    meta = request.amz(_META)
    if sum(len(f"{name}{value}".encode("utf-8", "replace")) for name, value in meta.items()) > (
        _META_BYTES
    ):
        raise S3Error("InvalidArgument", f"User metadata is limited to {_META_BYTES} bytes")
    printable = all(value.isprintable() for value in (*kept.values(), *meta.values()))
    if not printable:
        raise S3Error("InvalidArgument", "Headers kept with an object are printable UTF-8")
    return {"content-type": DEFAULT_TYPE, **kept, **meta}


def _validators(entry: Entry) -> dict[str, str]:
    return {"etag": f'"{entry.etag}"', "last-modified": http_date(entry.modified_s)}


def _chosen_headers(request: S3Request) -> dict[str, str]:
    chosen = {}
    for name, value in request.query:
        header = name.removeprefix(_RESPONSE)
        if header != name and header in _STORED and value.isprintable():
            chosen[header] = value
    return chosen
