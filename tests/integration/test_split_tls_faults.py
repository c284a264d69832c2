"""A client that breaks TLS ends its own connection, at every listener of both planes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from planesplit.harness import Harness

pytestmark = pytest.mark.integration

ANSWER_S = 1.0
FLIGHT_BYTES = 65_536
LINGER_NOT = struct.pack("ii", 1, 0)


class Client:
    """A TLS client that can say what TLS forbids.

    Args:
        url: of the listener.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.raw = socket.create_connection((parts.hostname, parts.port), timeout=ANSWER_S)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)

    def shake_hands(self) -> None:
        """Complete the handshake."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.raw.sendall(self._outgoing.read())
                self._incoming.write(self.raw.recv(FLIGHT_BYTES))
            else:
                self.raw.sendall(self._outgoing.read())
                return

    def say(self, data: bytes) -> None:
        """Send application data."""
        self._tls.write(data)
        self.raw.sendall(self._outgoing.read())


def plain(client: Client) -> None:
    client.raw.sendall(b"GET / HTTP/1.1\r\n\r\n")


def garbage(client: Client) -> None:
    client.shake_hands()
    client.raw.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)


def alert(client: Client) -> None:
    client.shake_hands()
    client.raw.sendall(b"\x15\x03\x03\x00\x02\x02\x28")


def half_closed(client: Client) -> None:
    client.shake_hands()
    client.say(b"GET /livez HTTP/1.1\r\nhost: x\r\n")
    client.raw.shutdown(socket.SHUT_WR)


def reset(client: Client) -> None:
    client.shake_hands()
    client.say(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
    client.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)


@pytest.mark.parametrize("fault", [plain, garbage, alert, half_closed, reset])
def test_nobody_else_notices(tenants: Harness, fault: Callable[[Client], None]) -> None:
    ready = tenants.ready
    cluster = ready.clusters[0]
    for url in (
        *(ready.urls.control, ready.urls.relay),
        *(cluster.kubernetes, cluster.objects, cluster.registry, cluster.clickhouse, cluster.data),
    ):
        client = Client(url)
        fault(client)
        if fault is not reset:
            with contextlib.suppress(OSError):  # an answer, an alert or the end
                client.raw.recv(FLIGHT_BYTES)
        client.raw.close()
    tenants.assert_delivered(tenants.run(exec="echo still here"))
