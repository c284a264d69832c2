"""Signatures: what is altered is refused, with the code that S3 gives; also times and scopes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from object_stage import FAST, HOST, META, Stage, code, credentials

BODY = b"content of a bundle"
MD5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()
UPLOAD = {"content-md5": MD5, "content-type": "application/gzip", "content-length": str(len(BODY))}
PATH = f"/{FAST}/acme/p/d/0123/bundle.tgz"

Change = Callable[[httpx.Request], None]


def url(old: str, new: str) -> Change:
    def change(request: httpx.Request) -> None:
        assert old in str(request.url)
        request.url = httpx.URL(str(request.url).replace(old, new, 1))

    return change


def header(name: str, value: str) -> Change:
    def change(request: httpx.Request) -> None:
        request.headers[name] = value

    return change


def without(name: str) -> Change:
    def change(request: httpx.Request) -> None:
        del request.headers[name]

    return change


def method(name: str) -> Change:
    def change(request: httpx.Request) -> None:
        request.method = name

    return change


ALTERED: dict[str, Change] = {
    "method": method("GET"),
    "key": url("bundle.tgz", "bundle.tgy"),
    "bucket": url(FAST, META),
    "longer life": url("Expires=600", "Expires=601"),
    "date": url("X-Amz-Date=20", "X-Amz-Date=21"),
    "region": url("us-east-1", "us-east-2"),
    "service": url("%2Fs3%2F", "%2Fs4%2F"),
    "fewer signed headers": url("content-length%3B", ""),
    "a parameter more": url("X-Amz-Date", "response-content-type=text%2Fhtml&X-Amz-Date"),
    "signature": url("X-Amz-Signature=", "X-Amz-Signature=0"),
    "content-length": header("content-length", "18"),
    "content-md5": header("content-md5", base64.b64encode(b"0" * 16).decode()),
    "content-type": header("content-type", "text/html"),
    "no content-type": without("content-type"),
    "no content-md5": without("content-md5"),
    "host": header("host", "elsewhere.test"),
}


@pytest.mark.parametrize("what", list(ALTERED))
async def test_an_altered_url_is_refused(stage: Stage, what: str) -> None:
    answer = await stage.presigned(
        "PUT", PATH, body=BODY, headers=UPLOAD, expires_s=600, change=ALTERED[what]
    )
    assert answer.status_code in (400, 403)
    assert code(answer) in ("SignatureDoesNotMatch", "AuthorizationQueryParametersError")
    assert answer.status_code == 403 or what == "date"
    assert len(stage.store.bucket(FAST)) == 0
    good = await stage.presigned("PUT", PATH, body=BODY, headers=UPLOAD, expires_s=600)
    assert good.status_code == 200, good.text


async def test_an_altered_header_signature_is_refused(stage: Stage) -> None:
    async def send(change: Change | None = None) -> Any:
        headers = {"x-amz-meta-a": "1"}
        return await stage.header("PUT", PATH, body=BODY, headers=headers, change=change)

    for change in (
        header("x-amz-meta-a", "2"),
        url("bundle.tgz", "bundle.tgy"),
        url("bundle.tgz", "bundle.tgz?x-id=y"),
        method("POST"),
        header("x-amz-date", "20200101T000000Z"),
        header("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
    ):
        answer = await send(change)
        assert (answer.status_code, code(answer)) in (
            (403, "SignatureDoesNotMatch"),
            (400, "AuthorizationHeaderMalformed"),  # the date no longer fits its scope
        )
    added = await send(header("x-amz-acl", "public-read"))
    assert (added.status_code, code(added)) == (403, "AccessDenied")
    assert (await send()).status_code == 200


@pytest.mark.parametrize(
    ("offset_s", "expires_s", "expected"),
    [(590, 600, ""), (610, 600, "AccessDenied"), (-800, 600, ""), (-1000, 600, "AccessDenied")],
)
async def test_the_life_of_a_url(
    stage: Stage, offset_s: float, expires_s: int, expected: str
) -> None:
    stage.offset_s = offset_s
    answer = await stage.presigned("PUT", PATH, body=BODY, expires_s=expires_s)
    assert code(answer) == expected
    assert answer.status_code == (403 if expected else 200)


@pytest.mark.parametrize(
    ("expires_s", "expected"),
    [(3600, (200, "")), (3601, (403, "AccessDenied")), (604_801, (400, ""))],
)
async def test_a_url_lives_an_hour_at_most(
    stage: Stage, expires_s: int, expected: tuple[int, str]
) -> None:
    answer = await stage.presigned("PUT", PATH, body=BODY, expires_s=expires_s)
    assert answer.status_code == expected[0]
    assert code(answer) == (expected[1] or code(answer))


@pytest.mark.parametrize("offset_s", [901, -901])
async def test_a_header_signed_request_of_another_time_is_refused(
    stage: Stage, offset_s: float
) -> None:
    stage.offset_s = offset_s
    answer = await stage.header("PUT", PATH, body=BODY)
    assert (answer.status_code, code(answer)) == (403, "RequestTimeTooSkewed")


@pytest.mark.parametrize("how", ["header", "presigned"])
async def test_a_scope_that_was_honestly_signed_for_elsewhere(stage: Stage, how: str) -> None:
    answer = await getattr(stage, how)("PUT", PATH, body=BODY, region="eu-west-1")
    assert answer.status_code == 400
    assert code(answer).startswith("Authorization")


async def test_unknown_and_missing_signers(stage: Stage) -> None:
    changed = await stage.presigned("GET", PATH, change=url("AK-executor", "AK-nobody"))
    assert (changed.status_code, code(changed)) == (403, "InvalidAccessKeyId")
    nobody = await stage.http.get(PATH)
    assert (nobody.status_code, code(nobody)) == (403, "AccessDenied")
    old = await stage.http.get(f"{PATH}?AWSAccessKeyId=AK-executor&Signature=x&Expires=9")
    assert (old.status_code, code(old)) == (400, "InvalidRequest")
    both = await stage.presigned("GET", PATH, change=header("authorization", "AWS4-HMAC-SHA256 x"))
    assert code(both) == "InvalidArgument"
    twice = await stage.presigned(
        "GET", PATH, change=url("X-Amz-Date", "X-Amz-Expires=1&X-Amz-Date")
    )
    assert code(twice) == "InvalidArgument"


async def test_a_url_is_good_for_its_verb_only(stage: Stage) -> None:
    await stage.header("PUT", PATH, body=BODY)
    for signed, used in (("GET", "PUT"), ("GET", "DELETE"), ("PUT", "GET"), ("GET", "HEAD")):
        answer = await stage.presigned(signed, PATH, change=method(used))
        assert answer.status_code == 403
    assert (await stage.presigned("GET", PATH)).content == BODY


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"content-md5": MD5}, b"other content!!!!!!", (400, "BadDigest")),
        ({"content-md5": "no digest"}, BODY, (400, "InvalidDigest")),
        ({"content-length": "18"}, BODY, (400, "IncompleteBody")),
        ({"content-length": "20"}, BODY, (400, "IncompleteBody")),
        ({"content-length": "9999999999999"}, BODY, (400, "EntityTooLarge")),
        ({"content-length": "x"}, BODY, (400, "InvalidArgument")),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, BODY, (400, "XAmzContentChecksumMismatch")),
        ({"x-amz-checksum-crc64nvme": "AAAAAA=="}, BODY, (501, "NotImplemented")),
        ({"x-amz-acl": "public-read"}, BODY, (501, "NotImplemented")),
        ({"x-amz-copy-source": "/a/b"}, BODY, (501, "NotImplemented")),
    ],
)
async def test_content_that_was_not_promised(
    stage: Stage, headers: dict[str, str], body: bytes, expected: tuple[int, str]
) -> None:
    headers = {"content-length": str(len(body)), **headers}
    answer = await stage.presigned("PUT", PATH, body=body, headers=headers)
    assert (answer.status_code, code(answer)) == expected
    assert len(stage.store.bucket(FAST)) == 0
    assert not list((stage.store.bucket(FAST)._data).iterdir()), "a refused upload leaves nothing"


async def test_content_that_differs_from_its_signed_digest(stage: Stage) -> None:
    request = AWSRequest("PUT", HOST + PATH, data=BODY)
    S3SigV4Auth(credentials("executor"), "s3", "us-east-1").add_auth(request)
    request.data = BODY[::-1]
    answer = await stage.send(request)
    assert (answer.status_code, code(answer)) == (400, "XAmzContentSHA256Mismatch")


async def test_keys_of_every_alphabet(stage: Stage) -> None:
    for key in ("a b+c", "ü/学/🚀", "~-_.!*'()", "a//b", "%2F", "x=y&z"):
        path = f"/{META}/{quote(key, safe='/~')}"
        assert (await stage.header("PUT", path, body=key.encode())).status_code == 200
        assert (await stage.presigned("GET", path)).content == key.encode()
        assert stage.store.bucket(META).get(key) is not None


@pytest.mark.parametrize("key", ["a%00b", "a%0Ab", "%FF", "k" * 1025])
async def test_keys_that_are_refused(stage: Stage, key: str) -> None:
    answer = await stage.header("PUT", f"/{META}/{key}", body=b"")
    assert answer.status_code == 400


async def test_nothing_of_a_request_reaches_the_journal(stage: Stage) -> None:
    canary = f"canary{id(stage):x}"
    await stage.header("PUT", f"/{META}/{canary}", body=canary.encode() * 9)
    await stage.presigned(
        "GET", f"/{META}/{canary}", change=url("Signature=", f"Signature={canary}")
    )
    await stage.presigned("GET", f"/{META}/no-{canary}", headers={"x-amz-meta-a": canary})
    await stage.http.put(f"/{canary}/{canary}?{canary}", content=canary)
    assert stage.journal
    assert canary not in "".join(stage.journal)
    assert "executor" not in "".join(stage.journal)
