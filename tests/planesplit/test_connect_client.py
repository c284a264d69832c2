"""The Connect client: envelopes split anywhere, endings told apart, errors mapped."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given, settings
from hypothesis import strategies as st

from planesplit.connect_client import (
    END_STREAM,
    ConnectClient,
    ConnectError,
    EnvelopeReader,
    encodings,
    envelope,
)

URL = "http://relay/service/Method"


class Chunks(httpx.AsyncByteStream):
    """A body in chosen pieces, which may end with a broken connection."""

    def __init__(self, *pieces: bytes, broken: bool = False) -> None:
        self._pieces, self._broken = pieces, broken

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._broken:
            raise httpx.ReadError("reset")


def client(answer: Callable[[httpx.Request], httpx.Response], token: str = "") -> ConnectClient:
    async def bearer() -> str:
        return token

    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return ConnectClient(http, bearer if token else None)


def message(text: str) -> bytes:
    return envelope(StringValue(value=text).SerializeToString())


def end(error: dict[str, str] | None = None) -> bytes:
    return envelope(json.dumps({"error": error} if error else {}).encode(), END_STREAM)


async def received(body: httpx.AsyncByteStream, status: int = 200) -> list[str]:
    one = client(lambda request: httpx.Response(status, stream=body))
    async with one.stream(URL, StringValue(value="q"), StringValue) as messages:
        return [answer.value async for answer in messages]


async def test_unary_carries_token_and_parses_the_answer() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer t0"
        assert request.headers["content-type"] == "application/proto"
        assert request.headers["connect-protocol-version"] == "1"
        return httpx.Response(200, content=request.content)

    echoed = await client(answer, "t0").unary(URL, StringValue(value="hi"), StringValue)
    assert echoed.value == "hi"


async def test_without_token_no_authorization_is_sent() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert "authorization" not in request.headers
        return httpx.Response(200)

    await client(answer).unary(URL, StringValue(), StringValue)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, b'{"code":"unauthenticated","message":"expired"}', "unauthenticated"),
        (403, b"<html>", "permission_denied"),
        (503, b"", "unavailable"),
        (418, b"[]", "unknown"),
    ],
)
async def test_unary_errors(status: int, body: bytes, code: str) -> None:
    with pytest.raises(ConnectError) as raised:
        await client(lambda _: httpx.Response(status, content=body)).unary(
            URL, StringValue(), StringValue
        )
    assert raised.value.code == code


async def test_an_unreachable_peer_is_unavailable() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(ConnectError, match="unavailable"):
        await client(answer).unary(URL, StringValue(), StringValue)


async def test_an_answer_that_is_no_message_is_internal() -> None:
    with pytest.raises(ConnectError, match="internal: an answer of 3 bytes is no StringValue"):
        await client(lambda _: httpx.Response(200, content=b"\xff\xff\xff")).unary(
            URL, StringValue(), StringValue
        )


@settings(max_examples=40)  # each runs a trio loop
@given(st.lists(st.text(max_size=20), max_size=5), st.lists(st.integers(0, 200), max_size=6))
async def test_streams_are_the_same_however_they_are_split(
    texts: list[str], cuts: list[int]
) -> None:
    body = b"".join(map(message, texts)) + end()
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[a:b] for a, b in itertools.pairwise(edges)]
    assert await received(Chunks(*pieces)) == texts


async def test_an_end_stream_error_is_raised_after_the_messages() -> None:
    error = {"code": "aborted", "message": "pod\x1b[31m is gone\n" + "x" * 999}
    body = Chunks(message("a"), end(error))
    with pytest.raises(ConnectError) as raised:
        await received(body)
    assert raised.value.code == "aborted"
    assert raised.value.message.startswith("pod[31m is gonexxx")
    assert len(raised.value.message) == 500


async def test_endings_without_an_end_stream_message_are_never_success() -> None:
    with pytest.raises(ConnectError, match="data_loss"):
        await received(Chunks(message("a")))
    with pytest.raises(ConnectError, match="data_loss"):
        await received(Chunks(message("a")[:-1]))
    with pytest.raises(ConnectError, match="unavailable"):
        await received(Chunks(message("a"), broken=True))


async def test_a_stream_refused_as_a_whole() -> None:
    with pytest.raises(ConnectError, match="permission_denied"):
        await received(Chunks(b'{"code":"permission_denied"}'), status=403)


def test_oversized_and_compressed_envelopes_are_refused() -> None:
    with pytest.raises(ConnectError, match="message of 9 bytes, limit 8"):
        EnvelopeReader(max_bytes=8).feed(envelope(b"123456789"))
    with pytest.raises(ConnectError, match="compressed"):
        EnvelopeReader().feed(envelope(b"x", flags=1))


def test_compressed_envelopes_are_bounded_by_what_they_become() -> None:
    encoding = encodings()["zstd"]
    reader = EnvelopeReader(max_bytes=1_000, encoding=encoding)
    whole = envelope(encoding.compress(b"x" * 1_000), flags=1) + envelope(b"plain")
    assert reader.feed(whole) == [(1, b"x" * 1_000), (0, b"plain")]
    with pytest.raises(ConnectError, match="internal: a message of more than 1000 bytes"):
        reader.feed(envelope(encoding.compress(bytes(5_000_000)), flags=1))
    with pytest.raises(ConnectError, match="internal: a zstd message is damaged"):
        EnvelopeReader(encoding=encoding).feed(envelope(b"no zstd", flags=1))


@pytest.mark.parametrize("text", [b"", b"[]", b"[" * 100_000])
async def test_a_malformed_end_stream_message_is_internal(text: bytes) -> None:
    with pytest.raises(ConnectError, match="internal"):
        await received(Chunks(envelope(text, END_STREAM)))
