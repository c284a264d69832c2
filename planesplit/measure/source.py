"""Where bytes come from behind a plain byte relay: a server that answers every connection.

`python -m planesplit.measure.source CONTROL_SOCKET`
"""

from __future__ import annotations

import socket
import ssl
import sys
from functools import partial
from pathlib import Path
from typing import Any

from planesplit.measure.lines import Batch, LinePlan, LineSource
from planesplit.measure.pace import Pacer, handed_over, paced
from planesplit.measure.reactor import READ_BYTES, READABLE, WRITABLE, Commands, Reactor
from planesplit.measure.tally import SendTally
from planesplit.measure.unit import canned_unit
from tunnel.tls import server_context

BACKLOG = 1_024
HEAD_S = 20.0
BLOCK_UNITS = 1  # writes of one unit, as ours come: larger ones make every relay look cheaper
HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"content-type: application/connect+proto\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
END_OF_HEAD = b"\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Return a chunk of a chunked body."""
    return b"%x\r\n" % len(data) + data + b"\r\n"


class Feed:
    """One connection and what it still has to send."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.left = 0  # bytes, framing included
        self.at = 0  # position in the block


class Source:
    """The connections and what is asked of them.

    Args:
        control: where commands come from.
    """

    def __init__(self, control: Path) -> None:
        self._reactor = Reactor()
        self._feeds: list[Feed] = []
        self._chunk_bytes = len(chunk(canned_unit()))
        self._block = memoryview(chunk(canned_unit()) * BLOCK_UNITS)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self._reactor.register(self._listener.fileno(), READABLE, self._accept)
        self._tally: SendTally | None = None
        self._tls: ssl.SSLContext | None = None
        self._commands = Commands(
            self._reactor,
            control,
            {
                "port": self.port,
                "secure": self.secure,
                "send": self.send,
                "halt": self.halt,
                "lines": self.lines,
                "pace": self.pace,
                "sent": self.sent,
                "echo": self.echo,
            },
        )

    def run(self) -> None:
        """Serve until the connection for commands ends."""
        self._reactor.run()

    def port(self) -> dict[str, Any]:
        """Answer with the port."""
        return {"port": self._listener.getsockname()[1]}

    def secure(self, cert_file: str, key_file: str) -> dict[str, Any]:
        """Speak TLS on connections from now on."""
        self._tls = server_context(cert_file, key_file)
        return {}

    def send(self, units: int, first: int = 0, count: int | None = None) -> dict[str, Any]:
        """Send so many units on each of the connections."""
        for feed in self._feeds[first : None if count is None else first + count]:
            if not feed.left:
                self._reactor.register(feed.socket.fileno(), WRITABLE, partial(self._write, feed))
            feed.left += units * self._chunk_bytes
        return {}

    def halt(self, first: int = 0, count: int | None = None) -> dict[str, Any]:
        """Begin no further unit on these connections; answers with how many each had left."""
        withdrawn = []
        for feed in self._feeds[first : None if count is None else first + count]:
            withdrawn.append(feed.left // self._chunk_bytes)
            feed.left -= withdrawn[-1] * self._chunk_bytes
            if not feed.left:
                self._reactor.unregister(feed.socket.fileno())
        return {"units": withdrawn}

    def echo(self) -> dict[str, Any]:
        """Send back whatever comes; a chunked request makes a chunked answer."""
        for feed in self._feeds:
            self._reactor.register(feed.socket.fileno(), READABLE, partial(self._return, feed))
        return {}

    def lines(self, plan: dict[str, Any], first: int = 0) -> None:
        """Send lines as planned; answers when the last one was handed over.

        Args:
            plan: of as many connections as it has streams.
            first: of these connections.
        """
        schedule = LinePlan(**plan)
        feeds = self._feeds[first : first + schedule.streams]
        sources = [LineSource(schedule, stream) for stream in range(len(feeds))]
        for feed in feeds:
            feed.socket.settimeout(HEAD_S)  # an open loop may wait, and says so in its figures

        def hand_over(batch: Batch) -> None:
            feeds[batch.stream].socket.sendall(chunk(schedule.message(batch)))

        def done() -> None:
            for feed in feeds:
                feed.socket.setblocking(False)
            self._commands.reply(**handed_over(sources))

        Pacer(self._reactor, sources, hand_over, done)

    def pace(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Begin to send lines as planned; `sent` tells how far it is."""
        schedule = LinePlan(**plan)
        for feed in self._feeds:
            feed.socket.settimeout(HEAD_S)

        def hand_over(batch: Batch) -> None:
            self._feeds[batch.stream].socket.sendall(chunk(schedule.message(batch)))

        self._tally = paced(self._reactor, schedule, hand_over)
        return {}

    def sent(self) -> dict[str, Any]:
        """Answer with what was handed over since `pace`."""
        return self._tally.as_json() if self._tally else {}

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        connection.settimeout(HEAD_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True)
        head = b""
        while END_OF_HEAD not in head:
            piece = connection.recv(READ_BYTES)
            if not piece:
                return
            head += piece
        connection.sendall(HEAD)
        connection.setblocking(False)
        self._feeds.append(Feed(connection))

    def _write(self, feed: Feed) -> None:
        end = min(feed.at + feed.left, len(self._block))
        try:
            count = feed.socket.send(self._block[feed.at : end])
        except ssl.SSLWantWriteError:
            return  # the same bytes again, once there is room
        feed.left -= count
        feed.at = (feed.at + count) % len(self._block)
        if not feed.left:
            self._reactor.unregister(feed.socket.fileno())

    def _return(self, feed: Feed) -> None:
        data = feed.socket.recv(READ_BYTES)
        if data:
            feed.socket.sendall(data)
        else:
            self._reactor.unregister(feed.socket.fileno())


if __name__ == "__main__":
    Source(Path(sys.argv[1])).run()
