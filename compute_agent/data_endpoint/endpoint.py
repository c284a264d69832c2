"""The data endpoint: the agent's own listener, for viewers and never for the control plane."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable
from contextlib import AsyncExitStack
from typing import Any

import trio
from connectrpc.errors import ConnectError
from connectrpc.interceptor import MetadataInterceptor
from flyteidl2.dataproxy import dataproxy_service_pb2

from compute_agent.access import Access
from compute_agent.data_endpoint.service import DataService
from compute_agent.data_endpoint.settings import DataSettings
from compute_agent.objects.objects import Objects
from compute_agent.pods import PodStore
from tunnel.http.listening import listener_context
from tunnel.http.server import LOOPBACK, HttpServer
from tunnel.journal import Journal
from tunnel.messages.rpc import AsgiReceive, AsgiScope, AsgiSend, Context, connect_app
from tunnel.row_counts import RowCounts
from tunnel.settings import SettingError

DATA_PROXY = dataproxy_service_pb2.DESCRIPTOR.services_by_name["DataProxyService"]
ROWS_PATH = "/_planesplit/rows"
ROW = "A4"  # inputs and outputs
FRAMING_BYTES = 65_536  # what compression may add to a message that it cannot shrink
COSTLY = frozenset({b"accept-encoding", b"connect-accept-encoding"})


class DataEndpoint:
    """Serves viewers in the customer's network.

    Args:
        org: the agent's own.
        settings: where to listen, and bounds.
        objects: the store; None if none is configured.
        access: judges every call; all of them are `demo`'s where it is insecure.
        access_wait_s: how long a call waits for the first push, after a restart.
        store: the agent's picture of its pods.
        tunnel_rows: bytes through the tunnel by row, shown beside this endpoint's own.
        journal: told what happens.

    Raises:
        SettingError: a file cannot be used, or the address may not be without TLS.
    """

    def __init__(
        self,
        org: str,
        settings: DataSettings,
        *,
        objects: Objects | None,
        access: Access,
        access_wait_s: float,
        store: PodStore,
        tunnel_rows: RowCounts,
        journal: Journal,
    ) -> None:
        self._settings, self._tunnel_rows, self.rows = settings, tunnel_rows, RowCounts()
        self._access = access
        self._slots = trio.Semaphore(settings.calls)
        self._app = connect_app(
            (DATA_PROXY, DataService(org, settings, objects, access, store)),
            interceptors=[_Door(access, access_wait_s)],
            read_max_bytes=settings.message_max_bytes,
            on_error=lambda path, error: journal.event(
                "call_failed", path=path, error=type(error).__name__
            ),
        )
        self._server = HttpServer(
            self._serve,
            settings.http,
            _context(settings),
            journal,
            settings.message_max_bytes + FRAMING_BYTES,
        )

    def url(self, port: int) -> str:
        """Return how viewers reach it.

        Args:
            port: where it listens.
        """
        settings = self._settings
        scheme = "https" if settings.tls else "http"
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return settings.public_url.rstrip("/") or f"{scheme}://{host}:{port}"

    async def run(self, listener: trio.SocketListener) -> None:
        """Serve until cancelled."""
        await self._server.serve(listener, trio.Event())

    async def _serve(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        if scope["path"] == ROWS_PATH:
            await self._show_rows(scope, send)
            return
        headers = [(n, v) for n, v in scope["headers"] if n.lower() not in COSTLY]
        async with AsyncExitStack() as held:
            waiting = True

            async def body() -> Any:
                nonlocal waiting
                if waiting:  # the head is judged by now; bodies wait in their sockets
                    waiting = False
                    await held.enter_async_context(self._slots)
                message = await receive()
                self.rows.add(ROW, "up", len(message.get("body", b"")))
                return message

            async def answer(message: Any) -> None:
                await send(message)
                self.rows.add(ROW, "down", len(message.get("body", b"")))

            await self._app({**scope, "headers": headers}, body, answer)

    async def _show_rows(self, scope: AsgiScope, send: AsgiSend) -> None:
        """Show counters to whoever is on this machine, or has a viewer's token."""
        local = (scope["client"] or ("",))[0] == LOOPBACK
        shown = scope["method"] == "GET" and (local or self._is_viewer(scope["headers"]))
        tables = {"tunnel": self._tunnel_rows.table(), "direct": self.rows.table()}
        body = json.dumps(tables).encode() if shown else b""
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        status = 200 if shown else 404
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def _is_viewer(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        token = next((v.decode("latin-1") for n, v in headers if n == b"authorization"), "")
        try:
            self._access.caller(token)
        except ConnectError:
            return False
        return True


class _Door(MetadataInterceptor[None]):
    """Turns away a caller without a good token before its body is read."""

    def __init__(self, access: Access, wait_s: float) -> None:
        self._access, self._wait_s = access, wait_s

    async def on_start(self, ctx: Context) -> None:
        await self._access.known(self._wait_s)
        self._access.caller(ctx.request_headers.get("authorization", ""))


def check_address(settings: DataSettings, *, insecure: bool) -> None:
    """Make sure that nothing is served in the clear, or to everybody, beyond loopback.

    Args:
        insecure: callers are not asked for a token.

    Raises:
        SettingError
    """
    if settings.host not in ("127.0.0.1", "::1", "localhost") and (insecure or not settings.tls):
        raise SettingError(
            f"setting 'data_endpoint.host' is {settings.host}; without [data_endpoint.tls], or "
            "with a relay at ws://, it must be on loopback"
        )


def _context(settings: DataSettings) -> ssl.SSLContext | None:
    if settings.tls is None:
        return None
    return listener_context(settings.tls.cert_file, settings.tls.key_file, "data_endpoint.tls")
