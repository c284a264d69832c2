"""Dials the relay: TCP, perhaps through a proxy (CONNECT), TLS, WebSocket. Outbound only."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import h11
import trio

from compute_agent.settings import AgentSettings
from tunnel.errors import Code, HandshakeFailed, TunnelError
from tunnel.settings import SettingError
from tunnel.tls import client_context, start_tls
from tunnel.transport import Transport
from tunnel.websocket import connect_websocket

MAX_PROXY_HEAD_BYTES = 16_384  # h11's own limit for a head
UNAUTHORIZED = frozenset({401, 403, 407})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
PORTS = {"ws": 80, "wss": 443, "http": 3128, "https": 443}

Connect = Callable[[str, int], Awaitable[trio.abc.Stream]]


class DialFailed(TunnelError):
    """The relay could not be reached; `step` is where it ended."""

    def __init__(self, step: str, code: Code) -> None:
        self.step = step
        super().__init__(f"dialing failed at {step}: {code.name}", code=code)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect to: a URL, taken apart."""

    secure: bool
    host: str
    port: int
    path: str
    user: str = ""
    password: str = ""

    @property
    def authority(self) -> str:
        """`host:port`, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __repr__(self) -> str:
        return f"<Address {self.authority}>"

    @classmethod
    def parse(cls, url: str, schemes: tuple[str, str], name: str) -> Address:
        """Take a URL apart.

        Args:
            url: absolute URL.
            schemes: the plain and the secure one.
            name: of the setting, for the error.

        Raises:
            SettingError: it is no such URL.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in schemes or not parts.hostname:
            raise SettingError(f"setting '{name}' must be a URL like {schemes[1]}://host:port")
        secure = parts.scheme == schemes[1]
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        port = port or PORTS[parts.scheme]
        return cls(secure, parts.hostname, port, parts.path or "/tunnel", user, password)


class Dialer:
    """Connects to the relay; call it for each tunnel.

    Args:
        settings: URL, proxy, TLS files, deadlines.
        connect: opens a TCP connection.

    Raises:
        SettingError: a URL that cannot be dialed, or without TLS beyond loopback.
    """

    def __init__(self, settings: AgentSettings, *, connect: Connect = trio.open_tcp_stream) -> None:
        self._relay = Address.parse(settings.relay_url, ("ws", "wss"), "relay_url")
        proxy = settings.proxy_url
        self._proxy = Address.parse(proxy, ("http", "https"), "proxy_url") if proxy else None
        self._files, self._limits, self._connect = settings.tls, settings.dial, connect
        if not self._relay.secure and self._relay.host not in LOOPBACK:
            raise SettingError("setting 'relay_url' must be wss:// unless the host is loopback")
        if self._relay.secure:
            self._try_files()

    async def __call__(self) -> Transport:
        """Dial once.

        Raises:
            DialFailed: with the step and a code.
        """
        first = self._proxy or self._relay
        stream: trio.abc.Stream
        async with _step("connect", self._limits.connect_s):
            stream = await self._connect(first.host, first.port)
        try:
            if self._proxy is not None:
                stream = await self._through(self._proxy, stream)
            if self._relay.secure:
                async with _step("tls", self._limits.tls_s):
                    context = self._context()
                    stream = await start_tls(stream, context, server_hostname=self._relay.host)
            async with _step("websocket", self._limits.websocket_s):
                return await connect_websocket(
                    stream, host=self._relay.authority, path=self._relay.path
                )
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise

    async def _through(self, proxy: Address, stream: trio.abc.Stream) -> trio.abc.Stream:
        if proxy.secure:
            async with _step("proxy_tls", self._limits.tls_s):
                stream = await start_tls(stream, client_context(), server_hostname=proxy.host)
        async with _step("proxy", self._limits.proxy_s):
            await open_tunnel(stream, self._relay.authority, proxy)
        return stream

    def _try_files(self) -> None:
        try:
            self._context()
        except OSError:  # ssl.SSLError is one
            raise SettingError(
                "settings 'tls.ca_file', 'tls.cert_file', 'tls.key_file' must name PEM files"
            ) from None

    def _context(self) -> ssl.SSLContext:
        """Read the files again for each dial, so that rotated certificates are picked up."""
        files = self._files
        if files is None:
            return client_context()
        return client_context(files.ca_file, files.cert_file or None, files.key_file or None)


async def open_tunnel(stream: trio.abc.Stream, authority: str, proxy: Address) -> None:
    """Ask a proxy to connect us (RFC 9110, 9.3.6).

    Args:
        stream: connected to the proxy.
        authority: `host:port` to reach.
        proxy: with user and password for Basic authentication, or without.

    Raises:
        HandshakeFailed: the proxy refuses; `status` tells how.
    """
    headers = [("Host", authority)]
    if proxy.user:
        credentials = base64.b64encode(f"{proxy.user}:{proxy.password}".encode())
        headers.append(("Proxy-Authorization", "Basic " + credentials.decode()))
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_PROXY_HEAD_BYTES)
    await stream.send_all(
        http.send(h11.Request(method="CONNECT", target=authority, headers=headers)) or b""
    )
    try:
        while (event := http.next_event()) is h11.NEED_DATA or isinstance(
            event, h11.InformationalResponse
        ):
            if event is h11.NEED_DATA:
                http.receive_data(bytes(await stream.receive_some()))
    except h11.RemoteProtocolError:
        raise HandshakeFailed("the proxy does not speak HTTP") from None
    status = event.status_code if isinstance(event, h11.Response) else 0
    if not 200 <= status < 300 or http.trailing_data[0]:
        raise HandshakeFailed("the proxy refused to connect", status=status)


@asynccontextmanager
async def _step(name: str, deadline_s: float) -> AsyncIterator[None]:
    """Bound one step in time, and say in its errors which it was."""
    try:
        with trio.fail_after(deadline_s):
            yield
    except trio.TooSlowError:
        raise DialFailed(name, Code.TIMEOUT) from None
    except HandshakeFailed as error:
        code = Code.AUTH_REFUSED if error.status in UNAUTHORIZED else error.code
        raise DialFailed(name, code) from None
    except TunnelError as error:
        raise DialFailed(name, error.code) from None
    except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
        raise DialFailed(name, Code.TUNNEL_LOST) from None
