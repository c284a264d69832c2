"""The client's way to objects: errors in its own words, and where a report goes."""

from __future__ import annotations

import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from flyteidl2.dataproxy import dataproxy_service_pb2 as dataproxy

from planesplit import objects
from planesplit.commands import objects as commands
from planesplit.commands.outcome import OK, UNUSABLE, UsageError
from planesplit.connect_client import ConnectError
from planesplit.ready import Place
from tunnel.messages import planesplit_v1_pb2 as wire

URL = "https://store.example/b/k?X-Amz-Signature=cafe"


class Viewer:
    """A viewer whose relay answers with one URL."""

    def __init__(self) -> None:
        self.place = Place("acme", "demo", "dev", "c1")
        self.client = self
        self.requests: list[Any] = []

    async def endpoint(self, operation: int, run: str = "") -> str:
        return "https://relay.example/r/acme/demo/dev/c1"

    async def status(self, run: str) -> Any:
        return SimpleNamespace(attempts=3)

    async def unary(self, url: str, request: Any, answer: Any) -> Any:
        self.requests.append(request)
        if answer is wire.SignedUrl:
            return wire.SignedUrl(url=URL)
        headers = {"Content-MD5": "m", "Content-Length": str(request.content_length)}
        return dataproxy.CreateUploadLocationResponse(
            signed_url=URL, native_url="s3://b/k", headers=headers
        )


def store(status: int, body: bytes = b"") -> httpx.AsyncClient:
    def answer(request: httpx.Request) -> httpx.Response:
        if not status:
            raise httpx.ConnectError("refused", request=request)
        return httpx.Response(status, content=body)

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


async def test_a_bundle_is_announced_as_it_is(tmp_path: Path) -> None:
    file, viewer = tmp_path / "code.tgz", Viewer()
    file.write_bytes(b"x" * 300_000)
    assert await objects.upload_bundle(viewer, store(200), file) == "s3://b/k"  # type: ignore
    (request,) = viewer.requests
    assert (request.filename, request.content_length) == ("code.tgz", 300_000)
    assert request.content_md5 == hashlib.md5(file.read_bytes()).digest()


@pytest.mark.parametrize(
    ("status", "code"),
    [(412, "already_exists"), (403, "failed_precondition"), (0, "unavailable")],
)
async def test_a_store_that_refuses(tmp_path: Path, status: int, code: str) -> None:
    file = tmp_path / "code.tgz"
    file.write_bytes(b"x")
    with pytest.raises(ConnectError) as caught:
        await objects.upload_bundle(Viewer(), store(status, URL.encode()), file)  # type: ignore
    assert caught.value.code == code
    assert "Signature" not in str(caught.value)
    if status != 412:
        with pytest.raises(ConnectError) as caught:
            await objects.report(Viewer(), store(status, URL.encode()), "run1")  # type: ignore
        assert caught.value.code == code


async def test_a_report_is_of_the_latest_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = Viewer()
    assert await objects.report(viewer, store(200, b"<p>"), "run1") == b"<p>"  # type: ignore
    assert viewer.requests[0].action.attempt == 3
    await objects.report(viewer, store(200, b"<p>"), "run1", 2)  # type: ignore[arg-type]
    assert viewer.requests[1].action.attempt == 2
    monkeypatch.setattr(objects, "MAX_REPORT_BYTES", 2)
    with pytest.raises(ConnectError, match="resource_exhausted"):
        await objects.report(viewer, store(200, b"<p>"), "run1")  # type: ignore[arg-type]


@pytest.fixture
def somewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A split that has one report, and a directory for temporary files."""

    @asynccontextmanager
    async def nothing(ready: Any) -> AsyncIterator[Any]:
        yield Viewer()

    async def report(*_: Any) -> bytes:
        return b"<p>"

    monkeypatch.setattr(commands, "find", lambda ready_file: None)
    monkeypatch.setattr(commands, "open_viewer", nothing)
    monkeypatch.setattr(commands, "open_store", nothing)
    monkeypatch.setattr(commands, "report", report)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


async def shown(**options: Any) -> int:
    given = {"attempt": 0, "output": None, "show": False, "ready_file": None, **options}
    return await commands.get_report("run1", **given)


async def test_a_report_is_printed(somewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr("sys.stdout", out)
    assert await shown() == OK
    assert out.buffer.getvalue() == b"<p>"  # type: ignore[attr-defined]
    assert list(somewhere.iterdir()) == []


async def test_a_report_is_written(somewhere: Path) -> None:
    assert await shown(output=somewhere / "r.html") == OK
    assert (somewhere / "r.html").read_bytes() == b"<p>"
    with pytest.raises(UsageError, match="--output '/nonesuch/r' cannot be written"):
        await shown(output=Path("/nonesuch/r"))


@pytest.mark.parametrize("browser", [True, False])
async def test_a_report_is_opened(
    somewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    browser: bool,
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: bool(opened.append(url)) or browser)
    assert await shown(show=True) == (OK if browser else UNUSABLE)
    (file,) = somewhere.iterdir()
    assert opened == [file.as_uri()], "a file, as a URL would stay in the browser's history"
    assert file.read_bytes() == b"<p>"
    assert file.stat().st_mode & 0o077 == 0
    said = capsys.readouterr().err
    assert str(file) in said
    assert ("no browser could be opened" in said) is not browser


async def test_a_bundle_that_is_no_file(somewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        await commands.put_bundle(somewhere, ready_file=None)
