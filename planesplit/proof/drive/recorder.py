"""Clients whose every received byte is kept, with what each may see."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from planesplit.proof import claims
from planesplit.proof.canaries import Kind
from planesplit.proof.stage import Stage
from planesplit.ready import Credentials
from planesplit.viewer import Viewer, open_viewer

STRANGER = "stranger"  # a client of another org, mighty there
STRANGERS_ORG = "globex"
MAX_KEPT_BYTES = 8 * 1024 * 1024  # of one answer; canaries repeat
OWNER = "the org's own client"

_RUN = frozenset(
    {claims.RUN_NAME, claims.TASK_SPEC, claims.ABORT_REASON, claims.USER, claims.STATE}
)
_SIGNED = frozenset({claims.SIGNATURE, claims.BUNDLE_NAME, claims.RUN_NAME})
# What a client may receive, by RPC; a value goes to its own org and to nobody else.
MAY_SEE: dict[str, frozenset[Kind]] = {
    "TailLogs": frozenset({claims.LOG_LINE, claims.RUN_NAME}),
    "WatchClusterEvents": frozenset({claims.EVENT, claims.RUN_NAME}),
    "Query": frozenset({claims.LABEL, claims.VALUE, claims.RUN_NAME}),
    "GetActionData": frozenset({claims.INPUT, claims.OUTPUT, claims.RUN_NAME}),
    "CreateUploadLocation": _SIGNED,
    "CreateDownloadLink": _SIGNED,
    "CreateDownloadLinkV2": _SIGNED,
    "SignDownload": _SIGNED,
    "SignUpload": _SIGNED,
    "SelectCluster": frozenset({claims.RUN_NAME}),
    "ListPrincipals": frozenset({claims.USER}),
    "ListClusters": frozenset({claims.STATE}),
}
CONTROL_SEES = _RUN  # of every other answer of the control plane


class Recorder(httpx.AsyncBaseTransport):
    """Passes requests on and keeps what comes back.

    Args:
        stage: where it is kept.
        who: the client, for people.
        trusted: whether it is of the org whose payload flows.
    """

    def __init__(self, stage: Stage, who: str, *, trusted: bool) -> None:
        self._stage, self._who, self._trusted = stage, who, trusted
        ca_file = stage.split.ready.ca_file
        context = ssl.create_default_context(cafile=ca_file) if ca_file else False
        self._inner = httpx.AsyncHTTPTransport(verify=context)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; its answer is kept as it is read."""
        response = await self._inner.handle_async_request(request)
        body = bytearray(repr(response.headers.raw).encode())
        method = request.url.path.rpartition("/")[2]
        relayed = f"{request.url.scheme}://{request.url.netloc.decode()}" == _base(
            self._stage.split.ready.urls.relay
        )
        may: frozenset[Kind] = frozenset()
        if self._trusted:
            may = MAY_SEE.get(method, frozenset() if relayed else CONTROL_SEES)

        def keep() -> None:
            self._stage.received(self._who, method, bytes(body), *may)

        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Kept(response.stream, body, keep)
        return response

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()


class _Kept(httpx.AsyncByteStream):
    """A body that is kept while it is read, to a bound."""

    def __init__(self, inner: httpx.AsyncByteStream, body: bytearray, keep: object) -> None:
        self._inner, self._body, self._keep = inner, body, keep

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            if len(self._body) < MAX_KEPT_BYTES:
                self._body += chunk
            yield chunk

    async def aclose(self) -> None:
        self._keep()  # type: ignore[operator]
        await self._inner.aclose()


def _base(url: str) -> str:
    return "/".join(url.split("/")[:3])


@asynccontextmanager
async def open_owner(stage: Stage) -> AsyncIterator[Viewer]:
    """Be the demo client of the split's org."""
    mounts = {"all://": Recorder(stage, OWNER, trusted=True)}
    async with open_viewer(stage.split.ready, mounts=mounts) as viewer:
        yield viewer


@asynccontextmanager
async def open_stranger(stage: Stage) -> AsyncIterator[Viewer | None]:
    """Be an admin of another org; None if the split has no such client."""
    ready = stage.split.ready
    known = {client.client_id for client in stage.split.options.clients}
    if ready.credentials is None or STRANGER not in known:
        yield None
        return
    secret_file = Path(ready.credentials.client_secret_file).with_name(STRANGER)
    theirs = dataclasses.replace(ready, credentials=Credentials(STRANGER, str(secret_file)))
    mounts = {"all://": Recorder(stage, "a client of another org", trusted=False)}
    async with open_viewer(theirs, mounts=mounts) as viewer:
        yield viewer


@asynccontextmanager
async def open_raw(stage: Stage, who: str) -> AsyncIterator[httpx.AsyncClient]:
    """Be anybody: a client without credentials that sends what it likes."""
    async with httpx.AsyncClient(
        mounts={"all://": Recorder(stage, who, trusted=False)}, trust_env=False, timeout=10.0
    ) as http:
        yield http
