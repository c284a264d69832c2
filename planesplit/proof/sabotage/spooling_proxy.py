"""The stand-in for nginx with its default buffering: TLS ends here, answers go through a file.

Like nginx it opens a temporary file for an answer, unlinks it at once, and sends from it. It is no
part of the product and is not sealed. Its arguments: the descriptor to accept from, and the
relay's `[tls]` table. Standard input tells the relay's port, and ends when the relay does.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import tempfile
import threading
from typing import Any

from planesplit.proof.sabotage.leaks.place import PREFIX
from planesplit.proof.sabotage.tries import Tries

BLOCK_BYTES = 65_536
HOST = "127.0.0.1"
DIAL_S = 5.0


class SpoolingProxy:
    """Forwards connections to the relay.

    Args:
        port: the relay's.
        tls: its certificate's files; empty for plain HTTP.
    """

    def __init__(self, port: int, tls: dict[str, Any]) -> None:
        self._port, self._tries = port, Tries("relay")
        self._server = self._client = None
        if tls:
            self._server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._server.load_cert_chain(tls["cert_file"], tls["key_file"])
            self._server.set_alpn_protocols(["http/1.1"])
            self._client = ssl.create_default_context(cafile=tls["ca_file"])

    def serve(self, listener: socket.socket) -> None:
        """Accept for ever, a thread for each connection."""
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=self._connected, args=(connection,), daemon=True).start()

    def _connected(self, connection: socket.socket) -> None:
        try:
            relay = socket.create_connection((HOST, self._port), timeout=DIAL_S)
            relay.settimeout(None)
            if self._server and self._client:
                connection = self._server.wrap_socket(connection, server_side=True)
                relay = self._client.wrap_socket(relay, server_hostname=HOST)
            threading.Thread(target=_copy, args=(connection, relay), daemon=True).start()
            self._spool(relay, connection)
        except OSError:
            pass  # either side has left
        finally:
            connection.close()

    def _spool(self, relay: socket.socket, connection: socket.socket) -> None:
        with tempfile.TemporaryFile(prefix=PREFIX) as file:

            def sink(payload: bytes) -> None:
                file.write(payload)
                file.flush()

            write = self._tries.guard(sink)
            while data := relay.recv(BLOCK_BYTES):
                write(data)
                connection.sendall(data)


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(BLOCK_BYTES):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def main() -> None:
    """Leave the parent, learn the relay's port, serve until the relay is gone."""
    descriptor, tls = int(sys.argv[1]), json.loads(sys.argv[2])
    if os.fork():
        os._exit(0)  # its parent shall not be the relay
    line = sys.stdin.readline()
    if line:
        proxy = SpoolingProxy(int(line), tls)
        accepting = socket.socket(fileno=descriptor)
        threading.Thread(target=proxy.serve, args=(accepting,), daemon=True).start()
        sys.stdin.readline()
    os._exit(0)


if __name__ == "__main__":
    main()
