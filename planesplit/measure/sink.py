"""Viewers of a relay, all in one process: HTTP/1.1 clients that read as fast as they can.

`python -m planesplit.measure.sink CONTROL_SOCKET`
"""

from __future__ import annotations

import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from planesplit.measure.chunked import ChunkedBody
from planesplit.measure.lines import Batch, LinePlan, LineReader
from planesplit.measure.reactor import READ_BYTES, READABLE, Commands, Reactor
from planesplit.measure.tally import Tally
from tunnel.tls import client_context

OPEN_S = 20.0
MAX_HEAD_BYTES = 16_384
END_OF_HEAD = b"\r\n\r\n"
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; of TCP since Linux 4.14
TIMESPEC = struct.Struct("@qq")
NOTES_BYTES = 128
RECORD_BYTES = 16_384  # most payload of a TLS record (RFC 8446, 5.1)


class Viewer:
    """One exchange and what has come of its answer.

    Args:
        connection: its socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.body = ChunkedBody()
        self.got = self.target = 0  # bytes of payload
        self.lines = LineReader()

    def ask(self, request: bytes) -> list[memoryview]:
        """Send a request and read the answer's head; return what came of its body.

        Raises:
            ValueError: the answer is no chunked 200.
        """
        self.socket.sendall(request)
        data = bytearray()
        while (end := data.find(END_OF_HEAD)) < 0:
            piece = self.socket.recv(MAX_HEAD_BYTES)
            if not piece or len(data) > MAX_HEAD_BYTES:
                raise ValueError("the answer has no head")
            data += piece
        head = bytes(data[:end]).lower()
        if not head.startswith(b"http/1.1 200 ") or b"\r\ntransfer-encoding: chunked" not in head:
            raise ValueError(f"the answer is no chunked 200 but {head[:12].decode('latin-1')}")
        rest = memoryview(data)[end + len(END_OF_HEAD) :]
        parts = self.body.feed(rest)
        self.got += sum(map(len, parts))
        return parts


class Sink:
    """The viewers and what is expected of them.

    Args:
        control: where commands come from.
    """

    def __init__(self, control: Path) -> None:
        self._reactor = Reactor()
        self._viewers: list[Viewer] = []
        self._slab = memoryview(bytearray(READ_BYTES))
        self._expecting: list[Viewer] = []  # of the command under way
        self._waiting: set[Viewer] = set()
        self._lines_left = 0
        self._batches: list[Batch] = []
        self._tally: Tally | None = None
        self._commands = Commands(
            self._reactor,
            control,
            {
                "open": self.open,
                "expect": self.expect,
                "got": self.got,
                "lines": self.expect_lines,
                "watch": self.watch,
                "watched": self.watched,
                "tally": self.tally,
                "first": self.first,
                "ping": self.ping,
                "stall": self.stall,
                "hang_up": self.hang_up,
            },
        )

    def run(self) -> None:
        """Serve until the connection for commands ends."""
        self._reactor.run()

    def open(
        self,
        port: int,
        request: str,
        count: int = 1,
        receive_buffer_bytes: int = 0,
        ca_file: str = "",
    ) -> dict[str, Any]:
        """Open exchanges one after the other.

        Args:
            port: the relay's, on loopback.
            request: what each viewer sends: head and body.
            count: how many.
            receive_buffer_bytes: of the sockets; 0 leaves it to the system.
            ca_file: of TLS; "" for plain connections.
        """
        context = client_context(ca_file) if ca_file else None
        for _ in range(count):
            connection = socket.socket()
            connection.settimeout(OPEN_S)
            if receive_buffer_bytes:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.connect(("127.0.0.1", port))
            if context is not None:
                connection = context.wrap_socket(connection, server_hostname="localhost")
            viewer = Viewer(connection)
            viewer.ask(request.encode("latin-1"))
            connection.setblocking(False)
            self._viewers.append(viewer)
            self._listen(viewer, self._count)
        return {"viewers": len(self._viewers)}

    def expect(self, bytes_each: int | list[int], first: int = 0, count: int | None = None) -> None:
        """Answer once so many more bytes have reached each of the viewers: all alike, or not."""
        self._expecting = self._chosen(first, count)
        if isinstance(bytes_each, int):
            bytes_each = [bytes_each] * len(self._expecting)
        for viewer, size in zip(self._expecting, bytes_each, strict=True):
            viewer.target += size
            if viewer.got < viewer.target:
                self._waiting.add(viewer)
        self._tell_if_complete()

    def got(self, first: int = 0, count: int | None = None) -> dict[str, Any]:
        """Answer with the bytes that each of the viewers has had by now."""
        chosen = self._chosen(first, count)
        return {"at_s": time.monotonic(), "bytes": [viewer.got for viewer in chosen]}

    def expect_lines(
        self, lines_each: int, tails: bool = False, first: int = 0, count: int | None = None
    ) -> None:
        """Answer with all batches once so many lines have reached every viewer.

        Args:
            lines_each: on each stream.
            tails: whether they come as TailLogs messages.
            first, count: which viewers; all by default.
        """
        self._batches = []
        readers = self._chosen(first, count)
        self._lines_left = lines_each * len(readers)
        for stream, viewer in enumerate(readers):
            if tails and type(viewer.lines) is LineReader:
                viewer.lines = _tail_reader(stream)
            self._listen(viewer, self._read_lines)

    def watch(self, plan: dict[str, Any], tails: bool = False) -> dict[str, Any]:
        """Begin to tally lines as planned; `watched` tells how far it is, `tally` ends it."""
        self._tally = Tally(LinePlan(**plan))
        for stream, viewer in enumerate(self._viewers):
            viewer.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            viewer.lines = _tail_reader(stream) if tails else LineReader()
            self._listen(viewer, self._tally_lines)
        return {}

    def watched(self) -> dict[str, Any]:
        """Answer with how many lines have come, and whether those are all."""
        assert self._tally
        return {"lines": self._tally.lines, "done": self._tally.done}

    def tally(self, charge: bool = False) -> dict[str, Any]:
        """Answer with what has come; `charge` lines that have not with the age that they have."""
        tally, self._tally = self._tally, None
        assert tally
        for viewer in self._viewers:
            self._listen(viewer, self._count)
        missing = tally.charge_missing(time.monotonic()) if charge else 0
        return {**tally.as_json(), "missing": missing}

    def first(self, port: int, request: str) -> dict[str, Any]:
        """Open an exchange of its own; answer with the seconds until its first message."""
        reader = _tail_reader(0)
        began_s = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), OPEN_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            viewer = Viewer(connection)
            rest = viewer.ask(request.encode("latin-1"))
            while not reader.messages:
                for part in rest:
                    reader.feed(part, 0.0)
                if not reader.messages:
                    rest = self._read(viewer)
            return {"first_s": time.monotonic() - began_s}

    def ping(self, count: int, size: int) -> dict[str, Any]:
        """Send bytes up the first viewer's exchange and wait for their echo, `count` times."""
        viewer = self._viewers[0]
        self._reactor.unregister(viewer.socket.fileno())
        viewer.socket.settimeout(OPEN_S)
        chunk = b"%x\r\n" % size + bytes(size) + b"\r\n"
        times = []
        for _ in range(count):
            left = size
            began = time.perf_counter()
            viewer.socket.sendall(chunk)
            while left > 0:
                left -= sum(map(len, self._read(viewer)))
            times.append(time.perf_counter() - began)
        return {"rtt_s": times}

    def stall(self, stalled: bool, first: int = 0, count: int | None = None) -> dict[str, Any]:
        """Stop reading, or go on."""
        for viewer in self._chosen(first, count):
            self._reactor.unregister(viewer.socket.fileno())
            if not stalled:
                self._listen(viewer, self._count)
        return {}

    def hang_up(self, first: int = 0, count: int | None = None) -> dict[str, Any]:
        """Close connections."""
        for viewer in self._chosen(first, count):
            self._reactor.unregister(viewer.socket.fileno())
            viewer.socket.close()
            self._viewers.remove(viewer)
        return {"viewers": len(self._viewers)}

    def _chosen(self, first: int, count: int | None) -> list[Viewer]:
        return self._viewers[first : None if count is None else first + count]

    def _listen(self, viewer: Viewer, handler: Callable[[Viewer], None]) -> None:
        self._reactor.unregister(viewer.socket.fileno())
        self._reactor.register(viewer.socket.fileno(), READABLE, partial(handler, viewer))

    def _read(self, viewer: Viewer) -> list[memoryview]:
        if isinstance(viewer.socket, ssl.SSLSocket):
            return viewer.body.feed(self._slab[: _read_records(viewer.socket, self._slab)])
        count = viewer.socket.recv_into(self._slab)
        if not count:
            raise ConnectionResetError("the relay ended an exchange")
        return viewer.body.feed(self._slab[:count])

    def _count(self, viewer: Viewer) -> None:
        viewer.got += sum(map(len, self._read(viewer)))
        if viewer in self._waiting and viewer.got >= viewer.target:
            self._waiting.discard(viewer)
            self._tell_if_complete()

    def _tell_if_complete(self) -> None:
        if not self._waiting:
            excess = sum(viewer.got - viewer.target for viewer in self._expecting)
            self._commands.reply(at_s=time.monotonic(), excess_bytes=excess)

    def _read_lines(self, viewer: Viewer) -> None:
        parts = self._read(viewer)
        at_s = time.monotonic()
        for part in parts:
            for batch in viewer.lines.feed(part, at_s):
                self._batches.append(batch)
                self._lines_left -= batch.lines
        if self._lines_left <= 0:
            for each in self._viewers:
                self._listen(each, self._count)
            self._commands.reply(batches=self._batches)

    def _tally_lines(self, viewer: Viewer) -> None:
        count, notes, _, _ = viewer.socket.recvmsg_into([self._slab], NOTES_BYTES)
        at_s = time.monotonic()
        arrived_s = at_s - _age_s(notes)
        if not count:
            raise ConnectionResetError("the relay ended an exchange")
        for part in viewer.body.feed(self._slab[:count]):
            for batch in viewer.lines.feed(part, at_s):
                if self._tally:
                    self._tally.add(batch, arrived_s)


def _read_records(connection: ssl.SSLSocket, slab: memoryview) -> int:
    """Read whole records while there are any and they fit; returns how many bytes these are."""
    at = 0
    while len(slab) - at >= RECORD_BYTES:
        try:
            count = connection.recv_into(slab[at:])
        except ssl.SSLWantReadError:
            break
        if not count:
            raise ConnectionResetError("the relay ended an exchange")
        at += count
    return at


def _age_s(notes: list[tuple[int, int, bytes]]) -> float:
    """Return how long ago the kernel received what was read, 0 if it does not say."""
    for _, kind, data in notes:
        if kind == SO_TIMESTAMPNS:
            seconds, nanos = TIMESPEC.unpack(data)
            return max(0.0, time.time() - float(seconds) - float(nanos) / 1e9)
    return 0.0


def _tail_reader(stream: int) -> LineReader:
    from planesplit.measure.tail_reader import TailReader  # protobuf: only where it is needed

    return TailReader(stream)


if __name__ == "__main__":
    Sink(Path(sys.argv[1])).run()
