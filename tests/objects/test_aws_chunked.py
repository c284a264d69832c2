"""The coding aws-chunked: whole or split anywhere the same; what is damaged is refused."""

from __future__ import annotations

import base64
import hashlib
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from object_stage import META, Stage, code

from customer_stub.objects.aws_chunked import (
    MODES,
    SIGNED_CHUNKS,
    SIGNED_TRAILER,
    UNSIGNED_TRAILER,
    AwsChunked,
)
from customer_stub.objects.errors import S3Error
from customer_stub.objects.settings import Identity
from customer_stub.objects.sigv4 import Signed, sign

KEY = b"k" * 32
DATE, SCOPE, SEED = "20261122T000000Z", "20261122/us-east-1/s3/aws4_request", "0" * 64
EMPTY = hashlib.sha256(b"").hexdigest()
SIGNED = Signed(Identity("executor", "AK", b""), False, "", DATE, SCOPE, SEED, KEY)
TRAILER = ("x-amz-checksum-crc32", "AAAAAA==")


def encode(mode: str, chunks: list[bytes], trailers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """The coding, written from the reference independently of the decoder."""
    body, previous = b"", SEED
    for chunk in (*filter(None, chunks), b""):
        head = b"%x" % len(chunk)
        if mode != UNSIGNED_TRAILER:
            digest = hashlib.sha256(chunk).hexdigest()
            text = ["AWS4-HMAC-SHA256-PAYLOAD", DATE, SCOPE, previous, EMPTY, digest]
            previous = sign(KEY, "\n".join(text))
            head += b";chunk-signature=" + previous.encode()
        body += head + b"\r\n" + (chunk + b"\r\n" if chunk else b"")
    for name, value in trailers:
        body += f"{name}:{value}\r\n".encode()
    if mode == SIGNED_TRAILER:
        lines = "".join(f"{name}:{value}\n" for name, value in trailers)
        digest = hashlib.sha256(lines.encode()).hexdigest()
        text = ["AWS4-HMAC-SHA256-TRAILER", DATE, SCOPE, previous, digest]
        body += b"x-amz-trailer-signature:" + sign(KEY, "\n".join(text)).encode() + b"\r\n"
    return body + b"\r\n"


def decode(mode: str, body: bytes, cuts: list[int]) -> tuple[bytes, dict[str, str]]:
    decoder = AwsChunked(mode, SIGNED)
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    pieces = [piece for a, b in itertools.pairwise(edges) for piece in decoder.feed(body[a:b])]
    decoder.finish()
    return b"".join(pieces), decoder.trailers


@given(
    st.sampled_from(MODES),
    st.lists(st.binary(max_size=40), max_size=4),
    st.lists(st.integers(0, 5000), max_size=6),
)
def test_split_anywhere_it_is_the_same(mode: str, chunks: list[bytes], cuts: list[int]) -> None:
    trailers = () if mode == SIGNED_CHUNKS else (TRAILER,)
    content, found = decode(mode, encode(mode, chunks, trailers), cuts)
    assert content == b"".join(chunks)
    assert found == dict(trailers)


@given(
    st.sampled_from((SIGNED_CHUNKS, SIGNED_TRAILER)), st.integers(0, 10_000), st.integers(1, 255)
)
def test_one_altered_byte_is_noticed(mode: str, where: int, by: int) -> None:
    body = bytearray(encode(mode, [b"hello", b"world"], (TRAILER,) * (mode == SIGNED_TRAILER)))
    body[where % len(body)] ^= by
    try:
        content, trailers = decode(mode, bytes(body), [])
    except S3Error:
        return
    # the case of a hexadecimal digit or of a trailer's name
    assert content == b"helloworld"
    assert trailers == dict((TRAILER,) * (mode == SIGNED_TRAILER))


@given(st.sampled_from(MODES), st.binary(max_size=200))
def test_any_bytes_are_content_or_a_documented_error(mode: str, body: bytes) -> None:
    with pytest.raises(S3Error):
        decode(mode, b"\x00" + body, [])


@pytest.mark.parametrize(
    ("mode", "body"),
    [
        (UNSIGNED_TRAILER, b"5\r\nhell"),
        (UNSIGNED_TRAILER, b"5\r\nhello0\r\n\r\n"),
        (UNSIGNED_TRAILER, b"0\r\n\r\nmore"),
        (UNSIGNED_TRAILER, b"0\r\nno colon\r\n\r\n"),
        (UNSIGNED_TRAILER, b"5;chunk-signature=" + b"0" * 64 + b"\r\nhello\r\n0\r\n\r\n"),
        (UNSIGNED_TRAILER, b"0" * 2000),
        (UNSIGNED_TRAILER, b"0\r\n" + b"".join(b"a%d:b\r\n" % n for n in range(9)) + b"\r\n"),
        (UNSIGNED_TRAILER, b"0\r\na:b\r\nA:c\r\n\r\n"),
        (SIGNED_CHUNKS, b"5\r\nhello\r\n0\r\n\r\n"),
        (SIGNED_CHUNKS, encode(SIGNED_CHUNKS, [], (TRAILER,))),
    ],
)
def test_what_is_not_well_formed(mode: str, body: bytes) -> None:
    with pytest.raises(S3Error):
        decode(mode, body, [])


def chunked_headers(content: bytes, mode: str) -> dict[str, str]:
    return {
        "x-amz-content-sha256": mode,
        "x-amz-decoded-content-length": str(len(content)),
        "x-amz-trailer": "x-amz-checksum-crc32",
        "content-encoding": "aws-chunked",
    }


@pytest.mark.parametrize("good", [True, False])
async def test_the_checksum_in_a_trailer(stage: Stage, good: bool) -> None:
    content = b"content" * 1000
    crc = base64.b64encode(zlib.crc32(content if good else b"").to_bytes(4, "big")).decode()
    body = encode(UNSIGNED_TRAILER, [content], (("x-amz-checksum-crc32", crc),))
    answer = await stage.header(
        "PUT",
        f"/{META}/k",
        body=body,
        headers=chunked_headers(content, UNSIGNED_TRAILER),
    )
    assert code(answer) == ("" if good else "XAmzContentChecksumMismatch"), answer.text
    read = await stage.header("GET", f"/{META}/k")
    assert read.status_code == (200 if good else 404)
    if good:
        assert read.content == content
        assert "content-encoding" not in read.headers


async def test_a_trailer_that_was_promised_and_does_not_come(stage: Stage) -> None:
    body = encode(UNSIGNED_TRAILER, [b"x"])
    answer = await stage.header(
        "PUT", f"/{META}/k", body=body, headers=chunked_headers(b"x", UNSIGNED_TRAILER)
    )
    assert code(answer) == "XAmzContentChecksumMismatch"


@pytest.mark.parametrize("claimed", [6, 8])
async def test_the_decoded_length_is_enforced(stage: Stage, claimed: int) -> None:
    headers = chunked_headers(b"x" * claimed, UNSIGNED_TRAILER)
    del headers["x-amz-trailer"]
    body = encode(UNSIGNED_TRAILER, [b"1234567"])
    answer = await stage.header("PUT", f"/{META}/k", body=body, headers=headers)
    assert code(answer) == "IncompleteBody"
    assert stage.rows.report()["A4"]["up"] <= claimed, "no more is kept than was promised"
