"""A viewer: one HTTP/1.1 exchange by h11, that reads, stops reading, goes on, or leaves."""

from __future__ import annotations

import h11
import trio
from evidence import Seen

READ_BYTES = 16_384


class Viewer:
    """One exchange.

    Args:
        stream: to the relay.
        seen: where it writes what it gets.
    """

    def __init__(self, stream: trio.abc.Stream, seen: Seen) -> None:
        self._stream, self.seen = stream, seen
        self._http = h11.Connection(h11.CLIENT)
        self._may_read = trio.Event()
        self._may_read.set()
        self._scope = trio.CancelScope()

    def stall(self) -> None:
        """Stop reading."""
        if self._may_read.is_set():
            self._may_read = trio.Event()

    def go(self) -> None:
        """Read on."""
        self._may_read.set()

    def leave(self) -> None:
        """Hang up."""
        if self.seen.ending == "open":
            self.seen.ending = "left"
            self._scope.cancel()

    async def run(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """Ask, and read the answer to its end."""
        fields = {"host": "relay", "content-length": str(len(body)), **headers}
        head = h11.Request(method="POST", target=path, headers=list(fields.items()))
        data = self._http.send(head) + self._http.send(h11.Data(data=body))
        with self._scope:
            try:
                await self._stream.send_all(data + self._http.send(h11.EndOfMessage()))
                while self.seen.ending == "open":
                    await self._next()
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                self.seen.ending = "torn"
        await trio.aclose_forcefully(self._stream)

    async def _next(self) -> None:
        event = self._http.next_event()
        if event is h11.NEED_DATA:
            await self._may_read.wait()
            self._http.receive_data(await self._stream.receive_some(READ_BYTES))
        elif isinstance(event, h11.Response):
            self.seen.status = event.status_code
        elif isinstance(event, h11.Data):
            self.seen.body += event.data
        elif isinstance(event, h11.EndOfMessage):
            self.seen.ending = "end"
        else:
            self.seen.ending = "torn"
