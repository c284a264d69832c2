"""Conditions and ranges of a read (RFC 9110, sections 13 and 14)."""

from __future__ import annotations

import re

from customer_stub.objects.disk import Entry
from customer_stub.objects.errors import S3Error
from customer_stub.objects.request import S3Request

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def not_modified(request: S3Request, entry: Entry) -> bool:
    """Tell whether the reader has this content already.

    Raises:
        S3Error: 412, If-Match names other content.
    """
    if (wanted := request.header("if-match")) is not None and not _names(wanted, entry):
        raise S3Error("PreconditionFailed", "The content is not the one that If-Match names")
    had = request.header("if-none-match")
    return had is not None and _names(had, entry)


def byte_range(request: S3Request, entry: Entry) -> tuple[int, int] | None:
    """Return start and end (exclusive) of the one range asked for, None for the whole.

    As S3 does, several ranges and malformed ones are answered with the whole.

    Raises:
        S3Error: 416, nothing of the range is there.
    """
    match = _RANGE.fullmatch(request.header("range") or "")
    if match is None or match[0] == "bytes=-":
        return None
    if_range = request.header("if-range")
    if if_range is not None and not _names(if_range, entry):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, entry.size_bytes - int(last)), entry.size_bytes
    else:
        start, end = int(first), entry.size_bytes
        if last:
            if int(last) < start:
                return None
            end = min(int(last) + 1, entry.size_bytes)
    if start >= end:
        raise S3Error("InvalidRange", "The requested range is not satisfiable")
    return start, end


def _names(header: str, entry: Entry) -> bool:
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}
    return "*" in tags or entry.etag in tags
