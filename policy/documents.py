"""Appendix E as AWS IAM policy documents, one for each service account.

The white paper gives seven accounts one role with five different rights, so a document belongs to
an account: attach each to a role of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policy.iam import BUCKETS, GRANTED, LIST, SIGNABLE, Account, Bucket, Kind

VERSION = "2012-10-17"
URL_MAX_MS = 3_600_000  # a presigned URL's longest life, the white paper's hour

Document = dict[str, Any]


def document(account: Account, buckets: Mapping[str, str]) -> Document:
    """Return what an account may do, as IAM words it.

    Args:
        account: of Appendix E.
        buckets: the name of the bucket for `metadata` and for `fast-registration`.
    """
    statements = [
        statement
        for kind in BUCKETS
        for statement in _statements(kind, account.grants[kind], buckets[kind])
    ]
    return {"Version": VERSION, "Statement": statements or [_nothing(buckets)]}


def _statements(bucket: Bucket, kind: Kind, name: str) -> list[Document]:
    label = "".join(word.title() for word in bucket.split("-"))
    objects, whole = f"arn:aws:s3:::{name}/*", f"arn:aws:s3:::{name}"
    if kind == "none":
        return []
    if kind == "generates-only":
        return [_allow(f"{label}ByUrlOnly", SIGNABLE, objects) | {"Condition": _BY_URL}]
    actions = tuple(action for action in GRANTED[kind] if action not in LIST)
    return [
        _allow(f"{label}Objects", actions, objects),
        _allow(f"{label}Listing", LIST, whole),
    ]


_BY_URL = {
    "StringEquals": {"s3:authType": "REST-QUERY-STRING"},
    "NumericLessThanEquals": {"s3:signatureAge": URL_MAX_MS},
}


def _allow(sid: str, actions: tuple[str, ...], resource: str) -> Document:
    return {"Sid": sid, "Effect": "Allow", "Action": list(actions), "Resource": [resource]}


def _nothing(buckets: Mapping[str, str]) -> Document:
    """IAM takes no document without a statement, so nothing is said as a refusal."""
    named = [f"arn:aws:s3:::{buckets[kind]}" for kind in BUCKETS]
    resources = [*named, *(f"{arn}/*" for arn in named)]
    return {"Sid": "NoAccess", "Effect": "Deny", "Action": ["s3:*"], "Resource": resources}
