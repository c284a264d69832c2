"""boto3 as each service account of Appendix E: what it may do, and S3's refusal of the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError
from object_stage import FAST, META
from s3_peers import Peer, ours, status_of

pytestmark = pytest.mark.integration

READ, WRITE = {"get", "head", "list"}, {"put", "delete", "delete many", "parts"}
NOTHING: set[str] = set()
# By hand from the last column of Appendix E: metadata bucket, fast-registration bucket.
RIGHTS: dict[str, tuple[set[str], set[str]]] = {
    "flyteadmin": (NOTHING, NOTHING),
    "clustersync-system": (NOTHING, NOTHING),
    "executor": (READ | WRITE, READ | WRITE),
    "proxy-system": (READ, NOTHING),
    "operator-system": (READ | WRITE, NOTHING),
    "flytepropeller-system": (READ | WRITE, NOTHING),
    "flytepropeller-webhook-system": (NOTHING, NOTHING),
    "clusterresource-template": (READ | WRITE, NOTHING),
}
KEY = "key"
REFUSAL = re.compile(
    r"User: arn:aws:sts::\d{12}:assumed-role/\w+/[a-z-]+ is not authorized to perform: s3:\w+ on "
    r'resource: "arn:aws:s3:::[a-z-]+" because no identity-based policy allows the s3:\w+ action'
)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    with ours(tmp_path_factory.mktemp("objects")) as running:
        yield running


def delete_many(s3: Any, bucket: str) -> None:
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": KEY}]})


def parts(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    named = {"Bucket": bucket, "Key": "parts", "UploadId": upload}
    s3.upload_part(**named, PartNumber=1, Body=b"x")
    s3.abort_multipart_upload(**named)


CALLS: dict[str, Callable[[Any, str], Any]] = {
    "get": lambda s3, bucket: s3.get_object(Bucket=bucket, Key=KEY)["Body"].read(),
    "head": lambda s3, bucket: s3.head_object(Bucket=bucket, Key=KEY),
    "list": lambda s3, bucket: s3.list_objects_v2(Bucket=bucket),
    "put": lambda s3, bucket: s3.put_object(Bucket=bucket, Key=KEY, Body=b"same"),
    "delete": lambda s3, bucket: s3.delete_object(Bucket=bucket, Key=KEY),
    "delete many": delete_many,
    "parts": parts,
}


def refused(call: Callable[[], Any]) -> bool:
    """Whether a call is refused, in S3's words."""
    try:
        call()
    except ClientError as error:
        answer = error.response
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 403
        bodiless = answer["Error"]["Code"] == "403"  # of a HEAD
        assert bodiless or answer["Error"]["Code"] == "AccessDenied"
        assert bodiless or REFUSAL.fullmatch(answer["Error"]["Message"])
        return True
    return False


@pytest.mark.parametrize("account", RIGHTS)
def test_each_account_does_what_its_row_says(peer: Peer, account: str) -> None:
    owner, s3 = peer.client("executor"), peer.client(account)
    for bucket, granted in zip((META, FAST), RIGHTS[account], strict=True):
        for name, call in CALLS.items():
            owner.put_object(Bucket=bucket, Key=KEY, Body=b"same")
            was_refused = refused(partial(call, s3, bucket))
            assert was_refused is (name not in granted), (account, bucket, name)


@pytest.mark.parametrize("account", RIGHTS)
def test_urls_carry_the_rights_of_who_signed_them(peer: Peer, account: str) -> None:
    owner, s3 = peer.client("executor"), peer.client(account)
    for bucket, granted in zip((META, FAST), RIGHTS[account], strict=True):
        owner.put_object(Bucket=bucket, Key=KEY, Body=b"same")
        for verb, method, right in (("GET", "get_object", "get"), ("PUT", "put_object", "put")):
            url = s3.generate_presigned_url(method, {"Bucket": bucket, "Key": KEY})
            status = status_of(url, verb, b"same" if verb == "PUT" else None)
            good = account == "flyteadmin" or right in granted
            assert status == (200 if good else 403), (account, bucket, verb)


def test_nobody_makes_or_removes_a_bucket(peer: Peer) -> None:
    for account in RIGHTS:
        s3 = peer.client(account)
        assert refused(partial(s3.delete_bucket, Bucket=META))
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.create_bucket(Bucket="another")
