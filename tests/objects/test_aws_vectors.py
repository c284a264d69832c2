"""Signatures against the examples that AWS publishes in the S3 API reference."""

from __future__ import annotations

import calendar
import time
from dataclasses import replace
from typing import Any

import pytest

from customer_stub.objects.aws_chunked import SIGNED_CHUNKS, AwsChunked
from customer_stub.objects.errors import S3Error
from customer_stub.objects.request import S3Request
from customer_stub.objects.settings import Identity, ObjectsSettings
from customer_stub.objects.sigv4 import Signed, verify

ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
DATE = "20130524T000000Z"
NOW_S = calendar.timegm(time.strptime(DATE, "%Y%m%dT%H%M%SZ"))
CREDENTIAL = f"{ACCESS_KEY}/20130524/us-east-1/s3/aws4_request"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
HOST = "examplebucket.s3.amazonaws.com"


def check(method: str, path: str, query: str, headers: dict[str, str]) -> Signed:
    scope: dict[str, Any] = {
        "method": method,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    identities = {ACCESS_KEY: Identity("executor", ACCESS_KEY, SECRET)}
    settings = ObjectsSettings(url_max_s=86_400)
    return verify(S3Request(scope), identities, settings, now_s=NOW_S + 60)


def authorization(names: str, signature: str) -> str:
    return f"AWS4-HMAC-SHA256 Credential={CREDENTIAL},SignedHeaders={names},Signature={signature}"


EXAMPLES = {
    "GET Object": (
        "GET",
        "/test.txt",
        "",
        {"range": "bytes=0-9", "x-amz-content-sha256": EMPTY},
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    ),
    "PUT Object": (
        "PUT",
        "/test%24file.text",
        "",
        {
            "date": "Fri, 24 May 2013 00:00:00 GMT",
            "x-amz-storage-class": "REDUCED_REDUNDANCY",
            "x-amz-content-sha256": (
                "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
            ),
        },
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    ),
    "GET Bucket Lifecycle": (
        "GET",
        "/",
        "lifecycle",
        {"x-amz-content-sha256": EMPTY},
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "List Objects": (
        "GET",
        "/",
        "max-keys=2&prefix=J",
        {"x-amz-content-sha256": EMPTY},
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
}


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_headers(name: str) -> None:
    method, path, query, extra, signature = EXAMPLES[name]
    headers = {"host": HOST, "x-amz-date": DATE, **extra}
    names = ";".join(sorted(headers))
    headers["authorization"] = authorization(names, signature)
    assert check(method, path, query, headers).identity.name == "executor"
    headers["authorization"] = authorization(names, signature[::-1])
    with pytest.raises(S3Error) as caught:
        check(method, path, query, headers)
    assert caught.value.code == "SignatureDoesNotMatch"


def test_a_query() -> None:
    query = "&".join(
        (
            "X-Amz-Algorithm=AWS4-HMAC-SHA256",
            f"X-Amz-Credential={CREDENTIAL.replace('/', '%2F')}",
            f"X-Amz-Date={DATE}",
            "X-Amz-Expires=86400",
            "X-Amz-SignedHeaders=host",
            "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
        )
    )
    assert check("GET", "/test.txt", query, {"host": HOST}).presigned


CHUNKS = (
    (b"a" * 65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
    (b"a" * 1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
    (b"", "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
)


def test_chunks() -> None:
    headers = {
        "host": "s3.amazonaws.com",
        "x-amz-date": DATE,
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
        "x-amz-content-sha256": SIGNED_CHUNKS,
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": "66560",
        "content-length": "66824",
    }
    names = ";".join(sorted(headers))
    seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    headers["authorization"] = authorization(names, seed)
    signed = check("PUT", "/examplebucket/chunkObject.txt", "", headers)
    body = b"".join(
        b"%x;chunk-signature=%b\r\n%b\r\n" % (len(data), signature.encode(), data)
        for data, signature in CHUNKS
    )
    assert len(body) == int(headers["content-length"])
    decoder = AwsChunked(signed.payload, signed)
    assert b"".join(decoder.feed(body)) == b"a" * 66_560
    decoder.finish()
    with pytest.raises(S3Error):
        list(AwsChunked(signed.payload, replace(signed, signature="0" * 64)).feed(body))
