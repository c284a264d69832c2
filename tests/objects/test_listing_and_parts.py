"""Listings in pages and groups against a plain model; multipart uploads and their refusals."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from object_stage import META, Stage, code

from customer_stub.objects.disk import Bucket, Entry
from customer_stub.objects.listing import _page

KEY = f"/{META}/big"
MIN = 1000


class Keys:
    """A bucket of empty objects."""

    def __init__(self, keys: set[str]) -> None:
        self._keys = sorted(keys)

    def keys(self, start: str) -> Iterator[str]:
        return (key for key in self._keys if key >= start)

    def get(self, key: str) -> Entry:
        return Entry(key, 0, "", "", 0, {}, "")


def model(keys: set[str], prefix: str, delimiter: str) -> list[str]:
    """Names and groups in order, as the S3 reference describes them."""
    names = []
    for key in sorted(key for key in keys if key.startswith(prefix)):
        head, sep, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
        name = prefix + head + sep if sep else key
        if name not in names:
            names.append(name)
    return names


ALPHABET = st.text("ab/\U0010ffff", max_size=5)


@given(
    st.sets(ALPHABET, max_size=12),
    ALPHABET,
    st.sampled_from(["", "/", "b", "a/"]),
    st.integers(1, 4),
)
def test_pages_together_are_the_whole_listing(
    keys: set[str], prefix: str, delimiter: str, limit: int
) -> None:
    keys.discard("")
    bucket: Any = Keys(keys)
    found: list[str] = []
    after, more = "", True
    while more:
        page, more = _page(bucket, prefix, delimiter, after, limit)
        assert len(page) <= limit
        found += [item if isinstance(item, str) else item.key for item in page]
        after = found[-1] if found else ""
    assert found == model(keys, prefix, delimiter)


async def test_a_listing_in_pages(stage: Stage) -> None:
    for key in ("a/1", "a/2", "b", "c<&>", "d/x/y"):
        await stage.header("PUT", f"/{META}/{key.replace('<&>', '%3C%26%3E')}", body=b"xyz")
    token, keys, prefixes = "", [], []
    while True:
        query = f"list-type=2&delimiter=%2F&max-keys=2{token}"
        answer = await stage.header("GET", f"/{META}?{query}")
        assert answer.status_code == 200
        keys += re.findall("<Key>(.*?)</Key>", answer.text)
        prefixes += re.findall("<CommonPrefixes><Prefix>(.*?)</Prefix>", answer.text)
        following = re.findall("<NextContinuationToken>(.*?)<", answer.text)
        if not following:
            break
        token = f"&continuation-token={following[0].replace('=', '%3D')}"
    assert (keys, prefixes) == (["b", "c&lt;&amp;&gt;"], ["a/", "d/"])
    encoded = await stage.header("GET", f"/{META}?encoding-type=url&list-type=2&prefix=c")
    assert "<Key>c%3C%26%3E</Key>" in encoded.text
    assert "<Size>3</Size>" in encoded.text
    after = await stage.header("GET", f"/{META}?list-type=2&start-after=b")
    assert "<KeyCount>2</KeyCount>" in after.text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "NotImplemented"),
        ("list-type=1", "NotImplemented"),
        ("list-type=2&max-keys=x", "InvalidArgument"),
        ("continuation-token=%21&list-type=2", "InvalidArgument"),
        ("encoding-type=x&list-type=2", "InvalidArgument"),
        ("versioning=", "NotImplemented"),
    ],
)
async def test_listings_that_are_refused(stage: Stage, query: str, expected: str) -> None:
    assert code(await stage.header("GET", f"/{META}?{query}")) == expected


async def test_buckets(stage: Stage) -> None:
    assert (await stage.header("HEAD", f"/{META}")).status_code == 200
    assert "us-east-1" in (await stage.header("GET", f"/{META}?location=")).text
    assert code(await stage.header("POST", f"/{META}")) == "MethodNotAllowed"
    for method, action in (("PUT", "s3:CreateBucket"), ("DELETE", "s3:DeleteBucket")):
        answer = await stage.header(method, f"/{META}")
        assert (answer.status_code, code(answer)) == (403, "AccessDenied")
        assert action in answer.text


async def begin(stage: Stage, **headers: str) -> str:
    answer = await stage.header("POST", f"{KEY}?uploads=", headers=headers)
    return re.findall("<UploadId>(.*?)</UploadId>", answer.text)[0]


async def part(stage: Stage, upload: str, number: int, body: bytes, **options: Any) -> Any:
    path = f"{KEY}?partNumber={number}&uploadId={upload}"
    return await stage.header("PUT", path, body=body, **options)


def document(parts: list[tuple[int, str]]) -> bytes:
    inner = "".join(
        f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in parts
    )
    return f"<CompleteMultipartUpload>{inner}</CompleteMultipartUpload>".encode()


async def complete(stage: Stage, upload: str, parts: list[tuple[int, str]], **options: Any) -> Any:
    path = f"{KEY}?uploadId={upload}"
    return await stage.header("POST", path, body=document(parts), **options)


@pytest.fixture
def small_parts(tmp_path: Any, nursery: trio.Nursery) -> Stage:
    return Stage(tmp_path / "small", nursery, min_part_bytes=MIN, max_uploads=2)


async def test_parts_become_an_object(small_parts: Stage) -> None:
    stage = small_parts
    upload = await begin(stage, **{"content-type": "a/b"})
    bodies = [b"a" * MIN, b"b" * (MIN + 1), b"c"]
    await part(stage, upload, 2, b"replaced" * MIN)
    tags = [
        (number, (await part(stage, upload, number, body)).headers["etag"])
        for number, body in enumerate(bodies, start=1)
    ]
    answer = await complete(stage, upload, tags)
    assert answer.status_code == 200
    md5s = b"".join(hashlib.md5(body).digest() for body in bodies)
    assert f"{hashlib.md5(md5s).hexdigest()}-3" in answer.text
    read = await stage.header("GET", KEY)
    assert (read.content, read.headers["content-type"]) == (b"".join(bodies), "a/b")
    assert code(await complete(stage, upload, tags)) == "NoSuchUpload"
    bucket: Bucket = stage.store.bucket(META)
    assert len(list(bucket._data.iterdir())) == 1, "the parts are gone"
    assert bucket._reserve.free_bytes == stage.settings.max_stored_bytes - len(read.content)


async def test_lists_of_parts_that_are_refused(small_parts: Stage) -> None:
    stage = small_parts
    upload = await begin(stage)
    tags = [
        (number, (await part(stage, upload, number, b"x" * size)).headers["etag"])
        for number, size in ((1, MIN - 1), (2, MIN))
    ]
    for parts, expected in (
        ([], "MalformedXML"),
        (tags[::-1], "InvalidPartOrder"),
        ([tags[0], tags[0]], "InvalidPartOrder"),
        (tags, "EntityTooSmall"),
        ([(3, tags[0][1])], "InvalidPart"),
        ([(1, tags[1][1])], "InvalidPart"),
    ):
        assert code(await complete(stage, upload, parts)) == expected
    assert code(await complete(stage, "no" * 16, tags)) == "NoSuchUpload"
    assert code(await complete(stage, upload, tags[1:], by="operator-system")) == "NoSuchUpload"
    assert code(await part(stage, upload, 0, b"")) == "InvalidArgument"
    assert code(await part(stage, upload, 10_001, b"")) == "InvalidArgument"
    await begin(stage)
    third = await stage.header("POST", f"{KEY}?uploads=")
    assert (third.status_code, code(third)) == (503, "SlowDown")
    assert (await stage.header("DELETE", f"{KEY}?uploadId={upload}")).status_code == 204
    assert code(await part(stage, upload, 1, b"")) == "NoSuchUpload"
    assert (await complete(stage, await begin(stage), [(1, "0" * 32)])).status_code == 400


async def test_a_url_is_not_for_multipart(small_parts: Stage) -> None:
    stage = small_parts
    upload = await begin(stage)
    for method, query in (("PUT", f"partNumber=1&uploadId={upload}"), ("POST", "uploads=")):
        answer = await stage.presigned(method, f"{KEY}?{query}")
        assert (answer.status_code, code(answer)) == (403, "AccessDenied")


async def test_a_list_of_parts_that_was_altered(small_parts: Stage) -> None:
    stage = small_parts
    upload = await begin(stage)
    tag = (await part(stage, upload, 1, b"x")).headers["etag"]

    def alter(request: Any) -> None:
        request._content = document([(2, tag)])

    answer = await complete(stage, upload, [(1, tag)], change=alter)
    assert code(answer) == "XAmzContentSHA256Mismatch"
    assert (await complete(stage, upload, [(1, tag)])).status_code == 200


def deletion(*keys: str, quiet: bool = False) -> bytes:
    objects = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
    return f"<Delete>{objects}<Quiet>{str(quiet).lower()}</Quiet></Delete>".encode()


async def test_deleting_several(stage: Stage) -> None:
    keys = ["a", "b/c<&>", "d"]
    for key in keys:
        await stage.header("PUT", f"/{META}/{quote(key)}", body=b"x")
    path = f"/{META}?delete="
    refused = await stage.header("POST", path, body=deletion("a"), by="proxy-system")
    assert (refused.status_code, code(refused)) == (403, "AccessDenied")
    assert (await stage.presigned("POST", path, body=deletion("a"))).status_code == 403
    answer = await stage.header("POST", path, body=deletion("a", "b/c<&>", "absent"))
    assert "<Key>b/c&lt;&amp;&gt;</Key>" in answer.text
    assert list(stage.store.bucket(META).keys("")) == ["d"]
    quiet = await stage.header("POST", path, body=deletion("d", quiet=True))
    assert "<Deleted>" not in quiet.text
    assert stage.store.counts()[META] == {"objects": 0, "bytes": 0}


@pytest.mark.parametrize(
    "body",
    [b"", deletion(), deletion(*map(str, range(1001))), b"<Object></Object>", b"\0" * 2000000],
)
async def test_deletions_that_are_refused(stage: Stage, body: bytes) -> None:
    answer = await stage.header("POST", f"/{META}?delete=", body=body)
    assert (answer.status_code, code(answer)) == (400, "MalformedXML")
