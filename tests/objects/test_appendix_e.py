"""Appendix E: the data against the white paper's text, and every right tried on the store."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
from object_stage import FAST, META, Stage, code

import customer_stub.objects.app as app_module
import customer_stub.objects.iam as iam_module
from customer_stub.objects.errors import denied
from policy.authorizer import Decision
from policy.iam import decide, iam_accounts

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


def test_one_role_has_five_rights() -> None:
    """Why the service account decides and not the role."""
    admins = [a for a in iam_accounts().values() if a.role == "adminflyterole"]
    assert len(admins) == 7
    assert len({tuple(a.grants.values()) for a in admins}) == 5


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


async def differences(stage: Stage, name: str) -> list[str]:
    """Try every verb in both buckets in both ways; return what isn't as the words say."""
    found = []
    for bucket, how, verb in itertools.product((META, FAST), ("header", "query"), (*VERBS, "LIST")):
        await stage.header("PUT", f"/{bucket}/key", body=b"same")
        access = rows()[name]["access"]
        granted = VERBS.get(verb, "list") in rights(access)[bucket]
        if how == "query":
            signs = access.startswith("Generates presigned URLs") or granted
            granted = signs and verb in ("GET", "HEAD", "PUT")
        answer = await attempt(stage, name, bucket, verb, how)
        expected = "" if granted or verb == "HEAD" else "AccessDenied"
        if (answer.status_code < 300) is not granted or code(answer) != expected:
            found.append(f"{name} {verb} {bucket} {how}: {answer.status_code} {code(answer)}")
    return found


@pytest.mark.parametrize("name", list(rows()))
async def test_every_right_is_tried(stage: Stage, name: str) -> None:
    """Account x bucket x verb x way of signing: 0 differences from the white paper."""
    assert await differences(stage, name) == []


def only(request: Any, account: str, kind: Any, *, presigned: bool) -> None:
    """All that is left of authorisation is the part that says who signed."""
    if account == "clustersync-system":
        raise denied()


MUTANTS = {
    "nobody asks": (app_module, "authorise", lambda *_, presigned: None),
    "the name alone counts": (app_module, "authorise", only),
    "everything is granted": (iam_module, "decide", lambda *_, presigned: Decision(True, "")),
    "everybody is the executor": (
        iam_module,
        "decide",
        lambda _, *rest, presigned: decide("executor", *rest, presigned=presigned),
    ),
    "one bucket's rights in both": (
        iam_module,
        "decide",
        lambda who, what, _, key, presigned: decide(
            who, what, "metadata", key, presigned=presigned
        ),
    ),
    "a URL counts as a request of its own": (
        iam_module,
        "decide",
        lambda *asked, presigned: decide(*asked, presigned=False),
    ),
    "a request of one's own counts as a URL": (
        iam_module,
        "decide",
        lambda *asked, presigned: decide(*asked, presigned=True),
    ),
    "a URL is for uploads in parts too": (iam_module, "_of_one_object", lambda request: True),
    "deleting is reading": (
        iam_module,
        "_OBJECT_ACTIONS",
        {**iam_module._OBJECT_ACTIONS, "DELETE": "s3:GetObject"},
    ),
    "uploading in parts is reading": (
        iam_module,
        "_OBJECT_ACTIONS",
        {**iam_module._OBJECT_ACTIONS, "POST": "s3:GetObject"},
    ),
    "reading is listing": (
        iam_module,
        "_OBJECT_ACTIONS",
        {**iam_module._OBJECT_ACTIONS, "HEAD": "s3:ListBucket"},
    ),
    "listing is creating": (
        iam_module,
        "_BUCKET_ACTIONS",
        {**iam_module._BUCKET_ACTIONS, "GET": "s3:CreateBucket"},
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_every_check_of_the_store_is_needed(
    stage: Stage, mutant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*MUTANTS[mutant])
    assert [line for name in rows() for line in await differences(stage, name)], "nobody noticed"


async def test_a_refusal_names_action_and_bucket_and_no_key(stage: Stage) -> None:
    answer = await stage.header("PUT", f"/{META}/secret-name", by="proxy-system", body=b"x")
    assert answer.status_code == 403
    assert (
        "User: arn:aws:sts::000000000000:assumed-role/adminflyterole/proxy-system is not authorized"
        " to perform: s3:PutObject" in answer.text
    )
    assert "secret-name" not in answer.text


async def test_a_bucket_that_is_not_there_is_denied_like_any_other(stage: Stage) -> None:
    answer = await stage.header("GET", "/no-such-bucket/key")
    assert (answer.status_code, code(answer)) == (403, "AccessDenied")
