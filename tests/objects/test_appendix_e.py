"""Appendix E: the data against the white paper's text, and every right tried on the store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from object_stage import FAST, META, Stage, code

from customer_stub.objects.iam import SERVICE_ACCOUNTS

TEXT = (Path(__file__).parents[1] / "whitepaper" / "appendix.txt").read_text(encoding="utf-8")
ROW = re.compile(
    r"\| (?P<plane>Control Plane|Compute Plane) \| (?P<name>[a-z-]+)(?: \(per-namespace\))? \|\n"
    r"(?P<purpose>[^|]+) \| (?P<namespace>[^|]+) \| (?P<role>[^|]+) \|\n"
    r"(?P<bound>[^|]+) \| (?P<access>[^|]+) \|\n"
)


def rows() -> dict[str, dict[str, str]]:
    """The rows of the table as the text has them."""
    table = TEXT[TEXT.index("E: AWS IAM roles") :]
    return {row["name"]: row.groupdict() for row in ROW.finditer(table)}


def rights(access: str) -> dict[str, set[str]]:
    """What the words of the last column grant in each bucket to an account's own requests."""
    if access.startswith(("No direct S3 access", "Generates presigned URLs")):
        return {META: set(), FAST: set()}
    granted = {"read", "write", "list"} if access.startswith("R/W to") else {"read", "list"}
    assert access.startswith(("R/W to", "Read-only access to"))
    return {
        META: granted if "metadata bucket" in access else set(),
        FAST: granted if "fast-registration bucket" in access else set(),
    }


def test_the_data_is_the_white_papers() -> None:
    assert list(rows()) == list(SERVICE_ACCOUNTS)
    assert len(SERVICE_ACCOUNTS) == 8
    for name, row in rows().items():
        account = SERVICE_ACCOUNTS[name]
        assert account.plane == row["plane"]
        assert account.namespace == row["namespace"]
        assert account.bound_to == row["bound"]
        assert account.s3_access == row["access"]
        assert account.role == re.sub(r".*role/| \(.*", "", row["role"])


def test_one_role_has_five_rights() -> None:
    """Why the service account decides and not the role."""
    admins = [a for a in SERVICE_ACCOUNTS.values() if a.role == "adminflyterole"]
    assert len(admins) == 7
    assert len({(a.metadata, a.fast_registration, a.signs) for a in admins}) == 5


VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "DELETE": "write", "POST": "write"}


async def attempt(stage: Stage, name: str, bucket: str, verb: str, how: str) -> Any:
    """One verb on one object that is there (or, to be written, is the same content)."""
    path = f"/{bucket}/key"
    ask = stage.header if how == "header" else stage.presigned
    if verb == "LIST":
        return await ask("GET", f"/{bucket}?list-type=2", by=name)
    if verb == "POST":
        return await ask("POST", f"{path}?uploads=", by=name)
    headers = {"content-length": "4"} if verb == "PUT" else {}
    return await ask(verb, path, by=name, body=b"same" if verb == "PUT" else b"", headers=headers)


@pytest.mark.parametrize("how", ["header", "query"])
@pytest.mark.parametrize("bucket", [META, FAST])
@pytest.mark.parametrize("name", list(SERVICE_ACCOUNTS))
async def test_every_right_is_tried(stage: Stage, name: str, bucket: str, how: str) -> None:
    access = rows()[name]["access"]
    for verb in (*VERBS, "LIST"):
        await stage.header("PUT", f"/{bucket}/key", body=b"same")
        granted = VERBS.get(verb, "list") in rights(access)[bucket]
        if how == "query":
            signs = access.startswith("Generates presigned URLs") or granted
            granted = signs and verb in ("GET", "HEAD", "PUT")
        answer = await attempt(stage, name, bucket, verb, how)
        assert (answer.status_code < 300) is granted, (name, bucket, verb, how, answer.text)
        if not granted:
            assert answer.status_code == 403
            assert verb == "HEAD" or code(answer) == "AccessDenied"


async def test_a_bucket_that_is_not_there_is_denied_like_any_other(stage: Stage) -> None:
    answer = await stage.header("GET", "/no-such-bucket/key")
    assert (answer.status_code, code(answer)) == (403, "AccessDenied")
