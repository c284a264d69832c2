"""The floor: the cheapest relay of bytes that blocking Python threads can be.

One thread a direction, 256 KiB `recv_into` one buffer and `sendall` from it: no framing, no
protocol, no scheduler. `python -m planesplit.measure.splice TARGET_PORT [BUFFER_BYTES]`
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading

from tunnel.process import announce

BUFFER_BYTES = 262_144  # 64 -> 256 KiB reads halve the cost
BACKLOG = 1_024


def splice(source: socket.socket, sink: socket.socket, buffer_bytes: int) -> None:
    """Copy one direction until it ends, then end it on the other side too."""
    buffer = memoryview(bytearray(buffer_bytes))
    with contextlib.suppress(OSError):
        while count := source.recv_into(buffer):
            sink.sendall(buffer[:count])
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def serve(target_port: int, buffer_bytes: int) -> None:
    """Accept for ever; each connection is joined to one of its own to the target."""
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        announce(port=listener.getsockname()[1])
        while True:
            caller, _ = listener.accept()
            called = socket.create_connection(("127.0.0.1", target_port))
            for one, other in ((caller, called), (called, caller)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(
                    target=splice, args=(one, other, buffer_bytes), daemon=True
                ).start()


if __name__ == "__main__":
    target, *size = map(int, sys.argv[1:])
    serve(target, *(size or (BUFFER_BYTES,)))
