"""ListObjectsV2."""

from __future__ import annotations

import base64
import binascii
import time
from urllib.parse import quote

from customer_stub.asgi import Answer
from customer_stub.objects.answers import Xml, xml
from customer_stub.objects.disk import Bucket, Entry
from customer_stub.objects.errors import S3Error, not_implemented
from customer_stub.objects.request import S3Request

MAX_KEYS = 1000  # S3's limit of one page
_LAST = "\U0010ffff"


def list_objects(request: S3Request, bucket: Bucket) -> Answer:
    """Return one page of keys, those with a common prefix up to the delimiter as one.

    Raises:
        S3Error: a parameter is wrong, or this is version 1 of the call.
    """
    if request.parameter("list-type") != "2":
        raise not_implemented("ListObjects version 1 (use list-type=2)")
    encoding = request.parameter("encoding-type")
    if encoding not in (None, "url"):
        raise S3Error("InvalidArgument", "encoding-type must be url")
    limit = request.number("max-keys", MAX_KEYS, most=2**31)
    prefix, delimiter = request.parameter("prefix") or "", request.parameter("delimiter") or ""
    token = request.parameter("continuation-token")
    after = _decode(token) if token is not None else request.parameter("start-after") or ""
    found, more = _page(bucket, prefix, delimiter, after, min(limit, MAX_KEYS))

    def name(text: str) -> str:
        return quote(text, safe="/") if encoding else text

    entries = [entry for entry in found if isinstance(entry, Entry)]
    prefixes = [group for group in found if isinstance(group, str)]
    children: list[tuple[str, Xml]] = [
        ("Name", request.bucket),
        ("Prefix", name(prefix)),
        ("KeyCount", len(found)),
        ("MaxKeys", limit),
        ("IsTruncated", "true" if more else "false"),
    ]
    if delimiter:
        children.append(("Delimiter", name(delimiter)))
    if encoding:
        children.append(("EncodingType", encoding))
    if token is not None:
        children.append(("ContinuationToken", token))
    if more and found:
        children.append(("NextContinuationToken", _encode(found[-1])))
    children += [("Contents", _contents(entry, name(entry.key))) for entry in entries]
    children += [("CommonPrefixes", [("Prefix", name(group))]) for group in prefixes]
    return xml("ListBucketResult", children)


def _page(
    bucket: Bucket, prefix: str, delimiter: str, after: str, limit: int
) -> tuple[list[Entry | str], bool]:
    """Return objects and groups after `after`, and whether there are more than `limit`."""
    found: list[Entry | str] = []
    start = max(prefix, after)
    while True:
        key = next(bucket.keys(start), None)
        if key is None or not key.startswith(prefix):
            return found, False
        start = key + "\0"
        if key <= after:
            continue
        group = _group(key, prefix, delimiter)
        if group is not None:
            start = max(start, group + _LAST)
            if group <= after:
                continue
        if len(found) == limit:
            return found, limit > 0
        if group is None:
            entry = bucket.get(key)
            assert entry is not None
            found.append(entry)
        else:
            found.append(group)


def _group(key: str, prefix: str, delimiter: str) -> str | None:
    end = key.find(delimiter, len(prefix)) if delimiter else -1
    return key[: end + len(delimiter)] if end >= 0 else None


def _contents(entry: Entry, name: str) -> Xml:
    return [
        ("Key", name),
        ("LastModified", time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(entry.modified_s))),
        ("ETag", f'"{entry.etag}"'),
        ("Size", entry.size_bytes),
        ("StorageClass", "STANDARD"),
    ]


def _encode(last: Entry | str) -> str:
    text = last if isinstance(last, str) else last.key
    return base64.urlsafe_b64encode(text.encode()).decode()


def _decode(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise S3Error("InvalidArgument", "The continuation token is not valid") from None
