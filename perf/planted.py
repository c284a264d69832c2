"""Relays with a planted fault, which a measurement must not take for good ones.

`python -m perf.planted TARGET_PORT lose|add`: a splice that loses a byte of the first megabyte that
comes down each connection, or passes a chunk that nobody has sent.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading

from planesplit.measure.splice import BUFFER_BYTES, splice
from tunnel.process import announce

NEVER_SENT = b"1\r\n!\r\n"  # a chunk; it fits behind the head, which comes alone
LOSE_AT = 1_000_000


def lose(source: socket.socket, sink: socket.socket) -> None:
    """Copy down, but for one byte."""
    passed = 0
    with contextlib.suppress(OSError):
        while data := source.recv(BUFFER_BYTES):
            if passed < LOSE_AT <= passed + len(data):
                data = data[:-1]
            passed += len(data)
            sink.sendall(data)


def add(source: socket.socket, sink: socket.socket) -> None:
    """Copy down, with a chunk more."""
    with contextlib.suppress(OSError):
        sink.sendall(source.recv(BUFFER_BYTES) + NEVER_SENT)
        while data := source.recv(BUFFER_BYTES):
            sink.sendall(data)


FAULTS = {"lose": lose, "add": add}


def main(target_port: int, fault: str) -> None:
    """Accept for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        announce(port=listener.getsockname()[1])
        while True:
            caller, _ = listener.accept()
            called = socket.create_connection(("127.0.0.1", target_port))
            for copy, ends in ((splice, (caller, called, 4096)), (FAULTS[fault], (called, caller))):
                threading.Thread(target=copy, args=ends, daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
