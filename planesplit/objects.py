"""A run's objects, as a client: URLs come through the relay, bytes go straight to the store."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import httpx
from flyteidl2.cluster.payload_pb2 import SelectClusterRequest
from flyteidl2.common import identifier_pb2
from flyteidl2.dataproxy import dataproxy_service_pb2 as dataproxy
from flyteidl2.task import common_pb2
from google.protobuf.message import DecodeError

from planesplit.connect_client import ConnectError
from planesplit.ready import Ready
from planesplit.viewer import ROOT_ACTION, Viewer
from tunnel.capabilities import (
    CREATE_DOWNLOAD_LINK_V2,
    CREATE_UPLOAD_LOCATION,
    SIGN_DOWNLOAD,
)
from tunnel.messages import planesplit_v1_pb2 as wire

BLOCK_BYTES = 262_144
MAX_REPORT_BYTES = 67_108_864  # held in memory to be printed
STORE_S = 30.0  # silence of the store
CONFLICT = 412
GET_ACTION_DATA = "/flyteidl2.dataproxy.DataProxyService/GetActionData"


async def upload_bundle(viewer: Viewer, store: httpx.AsyncClient, file: Path) -> str:
    """Upload a code bundle for fast registration; return its `s3://` URI.

    Args:
        viewer: whose connections are used for the URL.
        store: a client of the object store.
        file: is read twice: for its digest, and to be sent.

    Raises:
        ConnectError: `already_exists` for another content under the same name.
        OSError: the file cannot be read.
    """
    place = viewer.place
    digest, size = _digest(file)
    request = dataproxy.CreateUploadLocationRequest(
        org=place.org,
        project=place.project,
        domain=place.domain,
        filename=file.name,
        content_md5=digest,
        content_length=size,
    )
    operation = SelectClusterRequest.OPERATION_CREATE_UPLOAD_LOCATION
    url = await viewer.endpoint(operation) + CREATE_UPLOAD_LOCATION
    answer = await viewer.client.unary(url, request, dataproxy.CreateUploadLocationResponse)
    with file.open("rb") as content:
        await _put(store, answer.signed_url, content, answer.headers)
    return str(answer.native_url)


async def report(viewer: Viewer, store: httpx.AsyncClient, run: str, attempt: int = 0) -> bytes:
    """Return the HTML report of a run.

    Args:
        attempt: of its action; 0 is the latest.

    Raises:
        ConnectError: `not_found` if there is none.
    """
    place = viewer.place
    action = wire.Action(
        org=place.org,
        project=place.project,
        domain=place.domain,
        run=run,
        action=ROOT_ACTION,
        attempt=attempt or (await viewer.status(run)).attempts or 1,
    )
    request = wire.DownloadLinkRequest(artifact=wire.ARTIFACT_REPORT, action=action)
    operation = SelectClusterRequest.OPERATION_CREATE_DOWNLOAD_LINK
    url = await viewer.endpoint(operation, run) + CREATE_DOWNLOAD_LINK_V2
    signed = await viewer.client.unary(url, request, wire.SignedUrl)
    return await _get(store, signed.url)


async def action_data(viewer: Viewer, run: str) -> dataproxy.GetActionDataResponse:
    """Return what a run was given and what it returned, from the cluster's own data endpoint.

    Raises:
        ConnectError: `not_found` when it is not, or no more, there.
    """
    place = viewer.place
    named = identifier_pb2.RunIdentifier(
        org=place.org, project=place.project, domain=place.domain, name=run
    )
    action = identifier_pb2.ActionIdentifier(run=named, name=ROOT_ACTION)
    operation = SelectClusterRequest.OPERATION_GET_ACTION_DATA
    url = await viewer.endpoint(operation, run) + GET_ACTION_DATA
    request = dataproxy.GetActionDataRequest(action_id=action)
    return await viewer.client.unary(url, request, dataproxy.GetActionDataResponse)


async def presigned_data(
    viewer: Viewer, store: httpx.AsyncClient, run: str
) -> dataproxy.GetActionDataResponse:
    """Return the same by the white paper's way (Appendix B): addresses from the control plane.

    The customer's agent signs a URL for each, and the bytes come from the store itself.

    Raises:
        ConnectError: `not_found` when the inputs are not, or no more, there.
    """
    uris = await viewer.data_uris(run)
    answer = dataproxy.GetActionDataResponse(
        inputs_uri=uris.inputs_uri, outputs_uri=uris.outputs_uri
    )
    parts: tuple[tuple[str, common_pb2.Inputs | common_pb2.Outputs, bool], ...] = (
        (uris.inputs_uri, answer.inputs, True),
        (uris.outputs_uri, answer.outputs, False),
    )
    for uri, part, needed in parts:
        try:
            content = await _get(store, await _signed(viewer, run, uri))
            part.ParseFromString(content)
        except DecodeError:
            raise ConnectError(
                "data_loss", f"an object of {len(content)} bytes is no data"
            ) from None
        except ConnectError as error:
            if needed or error.code != "not_found":
                raise
    return answer


async def _signed(viewer: Viewer, run: str, uri: str) -> str:
    place = viewer.place
    request = wire.SignDownloadRequest(
        org=place.org, project=place.project, domain=place.domain, uri=uri
    )
    operation = SelectClusterRequest.OPERATION_CREATE_DOWNLOAD_LINK
    url = await viewer.endpoint(operation, run) + SIGN_DOWNLOAD
    return (await viewer.client.unary(url, request, wire.SignedUrl)).url


@asynccontextmanager
async def open_store(ready: Ready) -> AsyncIterator[httpx.AsyncClient]:
    """Be a client of the object store that has nothing but presigned URLs."""
    verify = ssl.create_default_context(cafile=ready.ca_file) if ready.ca_file else False
    async with httpx.AsyncClient(verify=verify, trust_env=False, timeout=STORE_S) as client:
        yield client


def _digest(file: Path) -> tuple[bytes, int]:
    digest, size = hashlib.md5(usedforsecurity=False), 0
    with file.open("rb") as content:
        while block := content.read(BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return digest.digest(), size


async def _put(
    store: httpx.AsyncClient, url: str, content: BinaryIO, headers: Mapping[str, str]
) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        while block := content.read(BLOCK_BYTES):
            yield block

    try:
        answer = await store.put(url, content=blocks(), headers=dict(headers))
    except httpx.HTTPError:
        raise _away() from None
    if answer.status_code == CONFLICT:
        raise ConnectError("already_exists", "another content has this name")
    _check(answer)


async def _get(store: httpx.AsyncClient, url: str) -> bytes:
    body = bytearray()
    try:
        async with store.stream("GET", url) as answer:
            _check(answer)
            async for block in answer.aiter_bytes():
                body += block
                if len(body) > MAX_REPORT_BYTES:
                    raise ConnectError(
                        "resource_exhausted", f"the report has over {MAX_REPORT_BYTES} bytes"
                    )
    except httpx.HTTPError:
        raise _away() from None
    return bytes(body)


def _check(answer: httpx.Response) -> None:
    """Make sure that the store did as it was asked; its words may quote a URL and are not shown."""
    if not answer.is_success:
        raise ConnectError("failed_precondition", f"the object store answered {answer.status_code}")


def _away() -> ConnectError:
    return ConnectError("unavailable", "the object store does not answer")
