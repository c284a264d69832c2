"""Addresses of objects in the customer's store. The control plane names objects, never reads them.

A run's prefix is `{org}/{project}/{domain}/{run}/{action}/{attempt}/` in the metadata bucket.
"""

from __future__ import annotations

import re

from control_stub.runs import ROOT_ACTION, RunKey
from control_stub.settings import ObjectSettings

_KEY = re.compile(r"[A-Za-z0-9._@:=+-]+(/[A-Za-z0-9._@:=+-]+)*")
MAX_URI_CHARS = 1024  # an S3 key's bound


def outputs_uri(objects: ObjectSettings, key: RunKey, attempt: int) -> str:
    """Return where an attempt leaves its outputs."""
    return _of_attempt(objects, key, attempt, "outputs.pb")


def report_uri(objects: ObjectSettings, key: RunKey, attempt: int) -> str:
    """Return where an attempt leaves its report."""
    return _of_attempt(objects, key, attempt, "report.html")


def _of_attempt(objects: ObjectSettings, key: RunKey, attempt: int, name: str) -> str:
    return f"s3://{objects.metadata_bucket}/{'/'.join(key)}/{ROOT_ACTION}/{attempt}/{name}"


def belongs(bucket: str, uri: str, place: tuple[str, ...]) -> bool:
    """Whether an address names an object of an org's project and domain in a bucket.

    Args:
        place: org, project and domain first; what follows is ignored.
    """
    start = f"s3://{bucket}/"
    path = uri.removeprefix(start)
    parts = path.split("/")
    return (
        uri.startswith(start)
        and len(uri) <= MAX_URI_CHARS
        and bool(_KEY.fullmatch(path))
        and not {".", ".."} & set(parts)
        and tuple(parts[:3]) == tuple(place[:3])
        and len(parts) > 3
    )
