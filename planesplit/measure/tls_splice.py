"""The floor of TLS: blocking threads, `SSLSocket.recv_into` one buffer and `sendall` from it.

A thread a connection: the request goes up in one piece, then the answer comes down until it ends.
`python -m planesplit.measure.tls_splice TARGET_PORT SIDES DIRECTORY`; SIDES is `both`, or `agent`
where viewers are plain. The target is a TLS server in either case, its CA is DIRECTORY/ca.pem, and
what viewers see is DIRECTORY/relay.pem.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
from pathlib import Path

from planesplit.measure.splice import BACKLOG, BUFFER_BYTES
from tunnel.process import announce
from tunnel.tls import client_context, server_context

REQUEST_BYTES = 16_384  # a viewer sends its request in one piece


def carry(caller: socket.socket, called: socket.socket) -> None:
    """Take a request up, and its answer down until it ends."""
    buffer = memoryview(bytearray(BUFFER_BYTES))
    with contextlib.suppress(OSError), caller, called:
        called.sendall(caller.recv(REQUEST_BYTES))
        while count := called.recv_into(buffer):
            caller.sendall(buffer[:count])


def serve(target_port: int, sides: str, directory: Path) -> None:
    """Accept for ever; each connection is joined to one of its own to the target."""
    target = client_context(str(directory / "ca.pem"))
    viewers: ssl.SSLContext | None = None
    if sides == "both":
        viewers = server_context(str(directory / "relay.pem"), str(directory / "relay.key"))
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        announce(port=listener.getsockname()[1])
        while True:
            caller, _ = listener.accept()
            called = socket.create_connection(("127.0.0.1", target_port))
            for one in (caller, called):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            called = target.wrap_socket(called, server_hostname="localhost")
            if viewers is not None:
                caller = viewers.wrap_socket(caller, server_side=True)
            threading.Thread(target=carry, args=(caller, called), daemon=True).start()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
