"""Whatever head comes, the store answers with a code of its own and never with a failure."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from object_stage import META, Stage

from customer_stub.objects.errors import STATUS

BYTES = st.binary(max_size=40)
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
DATE = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
CREDENTIAL = f"AK-executor/{DATE[:8]}/us-east-1/s3/aws4_request"
PARTS = st.sampled_from(
    [
        b"X-Amz-Algorithm=AWS4-HMAC-SHA256",
        b"X-Amz-Credential=" + CREDENTIAL.replace("/", "%2F").encode(),
        b"X-Amz-Date=" + DATE.encode(),
        b"X-Amz-Date=99999999T999999Z",
        b"X-Amz-Expires=600",
        b"X-Amz-Expires=%D9%A1",
        b"X-Amz-SignedHeaders=host",
        b"X-Amz-Signature=" + b"0" * 64,
        b"X-Amz-Signature=%ff",
        b"x-amz-signature=1",
        b"uploads",
        b"uploadId=1",
    ]
)
QUERY = st.lists(PARTS | BYTES, max_size=10).map(b"&".join)
AUTHORIZATION = st.sampled_from(
    [
        f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders=host, Signature={'0' * 64}",
        f"AWS4-HMAC-SHA256 Credential={CREDENTIAL},SignedHeaders=host;x,Signature=x",
        "AWS4-HMAC-SHA256 Credential=",
        "Bearer x",
    ]
)
NAMES = st.sampled_from(
    [b"authorization", b"x-amz-date", b"x-amz-content-sha256", b"content-length", b"range", b"host"]
)
HEADERS = st.lists(
    st.tuples(NAMES, (AUTHORIZATION | PRINTABLE | st.just(DATE)).map(str.encode) | BYTES),
    max_size=5,
)
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "X"])


async def ask(stage: Stage, scope: dict[str, Any]) -> int:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await stage.app({"type": "http", **scope}, receive, send)
    return int(sent[0]["status"])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@given(METHODS, st.just(f"/{META}/k".encode()) | BYTES, QUERY, HEADERS)
async def test_any_head(root: Path, method: str, path: bytes, query: bytes, headers: Any) -> None:
    async with trio.open_nursery() as nursery:
        stage = Stage(root, nursery)
        scope = {"method": method, "raw_path": path, "query_string": query, "headers": headers}
        assert await ask(stage, scope) in set(STATUS.values())
        assert "internal_error" not in "".join(stage.journal)
