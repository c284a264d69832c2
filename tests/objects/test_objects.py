"""Reading and writing: ranges, conditions, who may replace what, limits, rows, browsers."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from object_stage import FAST, HOST, META, Stage, code, credentials

from customer_stub.objects.errors import S3Error
from customer_stub.objects.settings import ObjectsSettings
from customer_stub.objects.store import ObjectStore
from customer_stub.rows import DirectRows
from planesplit.split.memory_http import scope_of
from tunnel.settings import SettingError

KEY = f"/{META}/acme/p/d/r/a0/1/outputs.pb"
BODY = bytes(range(256)) * 5


async def put(stage: Stage, path: str = KEY, body: bytes = BODY, **headers: str) -> Any:
    return await stage.header("PUT", path, body=body, headers=headers)


async def test_an_object_comes_back_with_its_headers(stage: Stage) -> None:
    wrote = await put(stage, **{"content-type": "text/html", "x-amz-meta-run": "r 1"})
    read = await stage.presigned("GET", KEY)
    assert read.content == BODY
    assert read.headers["content-type"] == "text/html"
    assert read.headers["x-amz-meta-run"] == "r 1"
    assert read.headers["etag"] == wrote.headers["etag"] == f'"{hashlib.md5(BODY).hexdigest()}"'
    assert read.headers["last-modified"].endswith("GMT")
    head = await stage.presigned("HEAD", KEY)
    assert (head.headers["content-length"], head.content) == (str(len(BODY)), b"")


@pytest.mark.parametrize(
    ("wanted", "status", "start", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=10-19", 206, 10, 20),
        ("bytes=1270-", 206, 1270, 1280),
        ("bytes=-7", 206, 1273, 1280),
        ("bytes=-9999", 206, 0, 1280),
        ("bytes=1279-9999", 206, 1279, 1280),
        ("bytes=1280-", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        ("bytes=9-8", 200, 0, 1280),
        ("bytes=0-1,3-4", 200, 0, 1280),
        ("lines=0-1", 200, 0, 1280),
        ("bytes=-", 200, 0, 1280),
    ],
)
async def test_ranges(stage: Stage, wanted: str, status: int, start: int, end: int) -> None:
    await put(stage)
    for ask in (stage.header, stage.presigned):
        answer = await ask("GET", KEY, headers={"range": wanted})
        assert answer.status_code == status
        if status == 416:
            assert code(answer) == "InvalidRange"
            continue
        assert answer.content == BODY[start:end]
        if status == 206:
            assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(BODY)}"
    if status == 206:
        assert stage.rows.report()["A4"]["down"] == 2 * (end - start)


async def test_conditions_of_a_read(stage: Stage) -> None:
    etag = (await put(stage)).headers["etag"]
    for name, value, status in (
        ("if-none-match", etag, 304),
        ("if-none-match", f'"x", {etag}', 304),
        ("if-none-match", "*", 304),
        ("if-none-match", '"x"', 200),
        ("if-match", etag, 200),
        ("if-match", '"x"', 412),
    ):
        answer = await stage.header("GET", KEY, headers={name: value})
        assert answer.status_code == status, (name, value)
        assert answer.content == (BODY if status == 200 else answer.content)
    stale = await stage.header("GET", KEY, headers={"range": "bytes=0-3", "if-range": '"x"'})
    assert (stale.status_code, stale.content) == (200, BODY)


async def test_what_is_not_there(stage: Stage) -> None:
    assert code(await stage.header("GET", KEY)) == "NoSuchKey"
    assert (await stage.header("HEAD", KEY)).status_code == 404
    assert (await stage.header("DELETE", KEY)).status_code == 204


@pytest.mark.parametrize(
    ("how", "path", "status"),
    [
        ("presigned", KEY, 412),
        ("presigned", f"/{FAST}/a/b.tgz", 412),
        ("header", f"/{FAST}/a/b.tgz", 412),
        ("header", KEY, 200),  # an attempt writes its outputs again
    ],
)
async def test_who_may_replace_what(stage: Stage, how: str, path: str, status: int) -> None:
    ask = getattr(stage, how)
    assert (await ask("PUT", path, body=b"first", headers={"content-length": "5"})).is_success
    same = await ask("PUT", path, body=b"first", headers={"content-length": "5"})
    assert same.status_code == 200
    other = await ask("PUT", path, body=b"other", headers={"content-length": "5"})
    assert other.status_code == status
    assert code(other) == ("PreconditionFailed" if status == 412 else "")
    kept = await stage.header("GET", path)
    assert kept.content == (b"first" if status == 412 else b"other")
    bucket = stage.store.bucket(path.split("/")[1])
    assert len(list(bucket._data.iterdir())) == 1, "what was replaced is gone from the disk"
    assert bucket._reserve.free_bytes == stage.settings.max_stored_bytes - 5


async def test_a_writer_may_ask_to_write_once(stage: Stage) -> None:
    assert (await put(stage, **{"if-none-match": "*"})).status_code == 200
    assert (await put(stage, **{"if-none-match": "*"})).status_code == 412


async def test_two_uploads_at_once_leave_one_whole_object(stage: Stage) -> None:
    bodies = [bytes([n]) * 300_000 for n in range(8)]
    answers: list[int] = []

    async def send(body: bytes) -> None:
        headers = {"content-length": str(len(body))}
        answers.append((await stage.presigned("PUT", KEY, body=body, headers=headers)).status_code)

    async with trio.open_nursery() as nursery:
        for body in bodies:
            nursery.start_soon(send, body)
    assert sorted(answers) == [200] + [412] * 7
    assert (await stage.header("GET", KEY)).content in bodies


async def test_rows_by_bucket_and_key(stage: Stage) -> None:
    sizes = {
        f"/{META}/acme/p/d/r/a0/1/report.html": ("A6", 3),
        f"/{META}/acme/p/d/inputs/1/inputs.pb": ("A4", 5),
        f"/{META}/acme/report.html/x": ("A4", 7),
        f"/{FAST}/acme/p/d/00/report.html": ("A5", 11),
        f"/{META}/acme/p/d/bundles/{'0' * 32}/report.html": ("A5", 13),
        f"/{META}/acme/p/d/bundles/a0/1/outputs.pb": ("A4", 17),  # of a run of that name
    }
    expected = {row: {"up": 0, "down": 0} for row in ("A4", "A5", "A6", "A7")}
    for path, (row, size) in sizes.items():
        await put(stage, path, b"x" * size)
        await stage.header("GET", path)
        await stage.header("HEAD", path)
        for direction in ("up", "down"):
            expected[row][direction] += size
    assert stage.rows.report() == expected


async def test_what_is_refused_unread_is_not_counted(stage: Stage) -> None:
    await stage.header("PUT", KEY, by="proxy-system", body=BODY)
    assert stage.rows.report()["A4"] == {"up": 0, "down": 0}


async def test_browsers(stage: Stage) -> None:
    origin = {"origin": "https://console.test"}
    asked = {
        "access-control-request-method": "PUT",
        "access-control-request-headers": "content-md5",
    }
    preflight = await stage.http.options(KEY, headers={**origin, **asked})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == "content-md5"
    read = await stage.presigned("GET", KEY, headers={})
    assert "access-control-allow-origin" not in read.headers
    answer = await stage.http.get(KEY, headers=origin)
    assert answer.status_code == 403
    assert answer.headers["access-control-allow-origin"] == "*", "a page may read why"
    assert (await stage.http.options(KEY, headers=origin)).status_code == 403


async def test_browsers_of_other_origins(tmp_path: Path, nursery: trio.Nursery) -> None:
    stage = Stage(tmp_path, nursery, cors_origins=("https://console.test",))
    for origin, status in (("https://console.test", 200), ("https://evil.test", 403)):
        headers = {"origin": origin, "access-control-request-method": "PUT"}
        answer = await stage.http.options(KEY, headers=headers)
        assert answer.status_code == status
        assert answer.headers.get("access-control-allow-origin", "") == (
            origin if status == 200 else ""
        )


async def test_limits(tmp_path: Path, nursery: trio.Nursery) -> None:
    stage = Stage(tmp_path, nursery, max_object_bytes=1000, max_stored_bytes=1500, max_objects=2)
    assert code(await put(stage, body=b"x" * 1001)) == "EntityTooLarge"
    assert (await put(stage, body=b"x" * 1000)).status_code == 200
    full = await put(stage, f"/{META}/other", body=b"x" * 501)
    assert (full.status_code, code(full)) == (507, "InsufficientStorage")
    assert (await put(stage, f"/{META}/other", body=b"x" * 500)).status_code == 200
    assert code(await put(stage, f"/{META}/third", body=b"")) == "InsufficientStorage"
    assert (await stage.header("DELETE", KEY)).status_code == 204
    assert (await put(stage, f"/{META}/third", body=b"x" * 1000)).status_code == 200


async def test_too_many_requests(tmp_path: Path, nursery: trio.Nursery) -> None:
    stage = Stage(tmp_path, nursery, max_requests=1)
    await put(stage)
    request = stage.http.build_request("PUT", KEY)  # one that is never finished
    blocked, sent = trio.Event(), list[Any]()

    async def receive() -> Any:
        blocked.set()
        await trio.sleep_forever()

    async def send(message: Any) -> None:
        sent.append(message)

    async with trio.open_nursery() as slow:
        slow.start_soon(stage.app, scope_of(request), receive, send)
        await blocked.wait()
        answer = await put(stage)
        assert (answer.status_code, code(answer)) == (503, "SlowDown")
        slow.cancel_scope.cancel()
    assert (await put(stage)).status_code == 200


async def test_objects_outlive_the_process(tmp_path: Path, nursery: trio.Nursery) -> None:
    first = Stage(tmp_path, nursery)
    await put(first, **{"content-type": "a/b"})
    await put(first, body=b"newer")
    bucket = tmp_path / META
    (bucket / "data" / "left-over").write_bytes(b"of a crash")
    (bucket / "index" / "left-over.tmp").write_bytes(b"of a crash")
    second = Stage(tmp_path, nursery)
    assert (await second.header("GET", KEY)).content == b"newer"
    assert len(list((bucket / "data").iterdir())) == len(list((bucket / "index").iterdir())) == 1
    assert second.store.counts()[META] == {"objects": 1, "bytes": 5}


def test_a_damaged_index_is_told(tmp_path: Path) -> None:
    def make(**settings: Any) -> ObjectStore:
        limits = ObjectsSettings(**settings)
        return ObjectStore(tmp_path, limits, rows=DirectRows(), clock=lambda: 0)

    make()
    entry = {"key": "k", "size_bytes": 1, "sha256": "", "etag": "", "modified_s": 0}
    no_content = {**entry, "headers": {}, "data": "absent"}
    for text in ("{", "{}", "[]", json.dumps(entry), json.dumps(no_content)):
        (tmp_path / META / "index" / "x.json").write_text(text)
        with pytest.raises(SettingError, match="damaged"):
            make()
    (tmp_path / META / "index" / "x.json").unlink()
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="data_root"):
        ObjectStore(tmp_path / "file", ObjectsSettings(), rows=DirectRows(), clock=lambda: 0)
    with pytest.raises(S3Error):
        make().bucket("other")


async def test_an_upload_that_stops_is_given_up(autojump_clock: Any, stage: Stage) -> None:
    """The client promises more than it sends and waits; the store doesn't."""
    request = AWSRequest("PUT", HOST + KEY, headers={"content-length": "9"}, data=b"x")
    S3SigV4Auth(credentials("executor"), "s3", "us-east-1").add_auth(request)
    sent: list[Any] = []
    pending = [{"type": "http.request", "body": b"x", "more_body": True}]

    async def receive() -> Any:
        if not pending:
            await trio.sleep_forever()
        return pending.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(k.lower().encode(), str(v).encode()) for k, v in request.headers.items()]
    headers.append((b"host", b"objects.test"))
    scope = {"type": "http", "method": "PUT", "raw_path": KEY.encode(), "query_string": b""}
    await stage.app({**scope, "headers": headers}, receive, send)
    assert sent[0]["status"] == 400
    assert b"RequestTimeout" in sent[1]["body"]
    assert stage.store.counts()[META]["objects"] == 0


async def test_a_signed_read_may_choose_headers_of_its_answer(stage: Stage) -> None:
    await put(stage, **{"content-type": "text/html", "content-encoding": "aws-chunked,gzip"})
    plain = await stage.presigned("HEAD", KEY)
    assert plain.headers["content-encoding"] == "gzip"
    chosen = "response-content-disposition=attachment&response-content-type=text%2Fplain"
    read = await stage.presigned("HEAD", f"{KEY}?{chosen}")
    assert read.headers["content-type"] == "text/plain"
    assert read.headers["content-disposition"] == "attachment"
    smuggled = await stage.presigned("HEAD", f"{KEY}?response-content-type=a%0D%0Ab")
    assert smuggled.headers["content-type"] == "text/html"


async def test_metadata_is_bounded(stage: Stage) -> None:
    answer = await put(stage, **{"x-amz-meta-a": "x" * 2049})
    assert (answer.status_code, code(answer)) == (400, "InvalidArgument")


@pytest.mark.parametrize("algorithm", ["crc32", "sha1", "sha256"])
@pytest.mark.parametrize("good", [True, False])
async def test_checksums_in_a_header(stage: Stage, algorithm: str, good: bool) -> None:
    digest = zlib.crc32(BODY).to_bytes(4, "big")
    if algorithm != "crc32":
        digest = hashlib.new(algorithm, BODY).digest()
    digest = digest if good else digest[::-1]
    name = f"x-amz-checksum-{algorithm}"
    answer = await put(stage, **{name: base64.b64encode(digest).decode()})
    assert code(answer) == ("" if good else "XAmzContentChecksumMismatch")


async def test_a_reader_that_leaves_ends_the_read(stage: Stage) -> None:
    await put(stage, body=b"x" * 2_000_000)
    request = AWSRequest("GET", HOST + KEY)
    S3SigV4Auth(credentials("executor"), "s3", "us-east-1").add_auth(request)
    left, sent = trio.Event(), list[Any]()

    async def receive() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) == 3:
            left.set()
            await trio.testing.wait_all_tasks_blocked()

    headers = [(k.lower().encode(), str(v).encode()) for k, v in request.headers.items()]
    headers.append((b"host", b"objects.test"))
    scope = {"type": "http", "method": "GET", "raw_path": KEY.encode(), "query_string": b""}
    before = len(os.listdir("/proc/self/fd"))
    await stage.app({**scope, "headers": headers}, receive, send)
    assert len(sent) == 3, "a head and two blocks, and no last one"
    assert stage.rows.report()["A4"]["down"] < 2_000_000
    assert len(os.listdir("/proc/self/fd")) == before, "the file is closed"
    assert stage.app._free == stage.settings.max_requests
