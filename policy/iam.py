"""Appendix E: what each service account may do in the customer's buckets.

Seven of the eight rows name one IAM role, `adminflyterole`, with five different rights, so the
service account decides and not the role. A presigned URL carries its signer's rights.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from policy.authorizer import Decision
from policy.roles import DATA, Plane

Kind = Literal["none", "read-only", "read/write", "generates-only"]
Bucket = Literal["metadata", "fast-registration"]
BUCKETS: tuple[Bucket, ...] = ("metadata", "fast-registration")
TASK_PODS = "clusterresource-template"  # of each workspace's namespace

LIST = ("s3:ListBucket", "s3:GetBucketLocation")
READ = ("s3:GetObject", *LIST)
WRITE = (
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
)
ACTIONS = (*READ, *WRITE)
SIGNABLE = ("s3:GetObject", "s3:PutObject")  # a URL is for one object and one of these

GRANTED: dict[Kind, tuple[str, ...]] = {
    "none": (),
    "read-only": READ,
    "read/write": ACTIONS,
    "generates-only": SIGNABLE,  # and only in URLs, never in requests of its own
}


@dataclass(frozen=True, slots=True)
class Account:
    """One row of Appendix E.

    Args:
        appendix: the row: `E1` to `E8`.
        name: the service account.
        plane: where it runs.
        role: the IAM role's name, without account id and remarks.
        grants: what it may do in each bucket.
        words: the row's cells, verbatim.
    """

    appendix: str
    name: str
    plane: Plane
    role: str
    grants: Mapping[str, Kind]
    words: Mapping[str, str]


@cache
def iam_accounts() -> dict[str, Account]:
    """Return the service accounts by name, in the white paper's order."""
    data = tomllib.loads((DATA / "iam.toml").read_text(encoding="utf-8"))
    return {row["name"]: _account(row) for row in data["accounts"]}


def grants(service_account: str) -> Mapping[str, Kind]:
    """Return what an account may do in each bucket; nothing for one that is not in Appendix E."""
    account = iam_accounts().get(service_account)
    return account.grants if account else dict.fromkeys(BUCKETS, "none")


def decide(
    service_account: str, action: str, bucket: str, key: str = "", *, presigned: bool = False
) -> Decision:
    """Return whether a request with this account's signature may do this.

    Args:
        service_account: its name.
        action: as IAM names it, e.g. `s3:GetObject`.
        bucket: what it is for, `metadata` or `fast-registration`; nobody may use any other.
        key: the object's; rights hold for whole buckets.
        presigned: signed in the query (a URL that anybody may hold), not in a header.
    """
    account = iam_accounts().get(service_account)
    if account is None:
        return Decision(False, f"{service_account} is not in Appendix E")
    kind = account.grants.get(bucket, "none")
    what = f"{service_account} {action} {bucket}/{key}: {kind}"
    if action not in GRANTED[kind]:
        return Decision(False, what)
    if kind == "generates-only" and not presigned:
        return Decision(False, f"{what}, and this is a request of its own")
    if presigned and action not in SIGNABLE:
        return Decision(False, f"{what}, but a URL is for one object")
    return Decision(True, what, account.role, account.appendix)


def _account(row: Mapping[str, Any]) -> Account:
    return Account(
        appendix=row["id"],
        name=row["name"],
        plane=row["plane"],
        role=row["role"],
        grants={"metadata": row["metadata"], "fast-registration": row["fast_registration"]},
        words=row["words"],
    )
