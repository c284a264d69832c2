"""A presigned URL is a credential: no log, no exception and no repr shows it."""

from __future__ import annotations

import io
import logging
import traceback
from pathlib import Path

import pytest
from connectrpc.code import Code
from flyteidl2.dataproxy import dataproxy_service_pb2 as dataproxy
from signing_stage import BUNDLES, METADATA, Stage, exchange, refused

from compute_agent.objects.keys import Place
from compute_agent.objects.signer import Identity
from compute_agent.objects.store import StoreError
from tunnel.journal import NOISY_LOGGERS, tame_loggers
from tunnel.messages import planesplit_v1_pb2 as wire

SIGNS = ("X-Amz-Signature", "Signature=", "Signature:", "secret-of-")
OWN = {"org": "acme", "project": "demo", "domain": "dev"}


@pytest.fixture
def log() -> io.StringIO:
    """Everything that any logger says, at DEBUG, after the process tamed its libraries."""
    root, text = logging.getLogger(), io.StringIO()
    handler, level = logging.StreamHandler(text), root.level
    states = [(log, log.handlers[:], log.propagate, log.level) for log in _noisy()]
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    tame_loggers()
    yield text
    root.removeHandler(handler)
    root.setLevel(level)
    for logger, handlers, propagate, before in states:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(before)


def _noisy() -> list[logging.Logger]:
    return [logging.getLogger(name) for name in NOISY_LOGGERS]


async def test_nothing_is_logged(tmp_path: Path, log: io.StringIO) -> None:
    exchange()
    stage = Stage(tmp_path)
    place = await stage.put(METADATA, "acme/demo/dev/run1/a0/1/outputs.pb", b"x")
    request = wire.SignDownloadRequest(**OWN, uri=place.uri)
    url = (await stage.service.sign_download(request, None)).url
    await stage.client.get(url)
    stage.down = True
    with refused(Code.UNAVAILABLE):
        await stage.service.sign_download(request, None)
    assert SIGNS[0] in url, "the check can fail"
    said = log.getvalue() + "".join(stage.journal)
    assert not [sign for sign in SIGNS if sign in said]


def test_the_untamed_library_would_tell(tmp_path: Path) -> None:
    """Why taming is needed: botocore logs what it signs."""
    text = io.StringIO()
    logger, handler = logging.getLogger("botocore.auth"), logging.StreamHandler(text)
    parent = logging.getLogger("botocore")
    before, parent_before = logger.level, parent.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        stage = Stage(tmp_path)
        place = Place(METADATA, "acme/demo/dev/x")
        stage.objects.signer.own(Identity.EXECUTOR, "GET", place, b"", {})
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        parent.setLevel(parent_before)
    assert "Signature" in text.getvalue()


async def test_no_repr_shows_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    signed = stage.objects.signer.url(
        Identity.EXECUTOR, "PUT", Place(BUNDLES, "acme/demo/dev/x/y"), 60, {"Content-MD5": "m"}
    )
    shown = repr(signed) + str(signed) + f"{signed}" + repr(stage.objects) + repr(stage.settings)
    assert SIGNS[0] in signed.url
    assert not [sign for sign in (*SIGNS, "Content-MD5") if sign in shown]


async def test_no_exception_shows_it(tmp_path: Path) -> None:
    exchange()
    stage = Stage(tmp_path)
    source = await stage.put(BUNDLES, "acme/demo/dev/x/y", b"content")
    for put_status in (403, 500, 412):
        answer = _Answer(stage, put_status)
        stage.objects.store._client.put = answer  # type: ignore[method-assign, assignment]
        with pytest.raises(StoreError) as caught:
            await stage.objects.store.copy(
                Identity.EXECUTOR, source, Place(METADATA, "acme/demo/dev/bundles/x/y")
            )
        shown = "".join(traceback.format_exception(caught.value))
        assert answer.url_seen, "the check can fail"
        assert not [sign for sign in SIGNS if sign in shown]


class _Answer:
    """Takes the place of the copy's own PUT, by presigned URL."""

    def __init__(self, stage: Stage, status: int) -> None:
        self._status, self.url_seen = status, False

    async def __call__(self, url: str, **_: object) -> object:
        import httpx

        self.url_seen = SIGNS[0] in url
        return httpx.Response(self._status, request=httpx.Request("PUT", url))


async def test_errors_of_every_rpc_are_silent(tmp_path: Path) -> None:
    exchange()
    stage = Stage(tmp_path)
    await stage.put(BUNDLES, "acme/demo/dev/mine/f", b"other")
    upload = dataproxy.CreateUploadLocationRequest(
        **OWN, filename="f", filename_root="mine", content_md5=b"x" * 16
    )
    with refused(Code.ALREADY_EXISTS) as seen:
        await stage.service.create_upload_location(upload, None)
    assert "mine" not in seen[0].message, "nor what the caller wrote"
    (tmp_path / "executor").write_text("wrong-secret-entirely\n")
    with refused(Code.FAILED_PRECONDITION) as seen:
        await stage.service.create_upload_location(upload, None)
    shown = "".join(traceback.format_exception(seen[0]))
    assert not [sign for sign in (*SIGNS, "wrong-secret") if sign in shown]
