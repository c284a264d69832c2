"""An agent that costs little: it speaks the real tunnel protocol and sends canned bytes.

`python -m planesplit.measure.canned_agent CONTROL_SOCKET`
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from planesplit.measure.lines import LinePlan, LineSource
from planesplit.measure.pace import handed_over
from planesplit.measure.reactor import attached
from planesplit.measure.timer import Timer
from planesplit.measure.unit import UNIT_BYTES, canned_unit
from tunnel import heap
from tunnel.errors import TunnelError
from tunnel.events import Data, End, Reset
from tunnel.exchange import ResponseHead
from tunnel.hello import Hello
from tunnel.payload import Payload
from tunnel.session import Session
from tunnel.settings import TunnelSettings
from tunnel.stream import Stream
from tunnel.tls import client_context, start_tls
from tunnel.websocket import connect_websocket

DIAL_S = 10.0
READ_BYTES = 65_536
CURSOR = bytes(32)  # about what a log tail's cursor takes
HEAD = ResponseHead(200, (("content-type", "application/connect+proto"),))


class Feed:
    """One open stream and what it still has to send.

    Args:
        stream: the tunnel's.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.units_left = 0
        self.units_sent = 0
        self._more = trio.Event()
        self._unit = canned_unit()

    def send(self, units: int) -> None:
        """Send more units."""
        self.units_left += units
        self._more.set()

    def halt(self) -> int:
        """Begin no further unit; returns how many were left."""
        withdrawn, self.units_left = self.units_left, 0
        return withdrawn

    async def run(self) -> None:
        """Send what is asked for; for ever."""
        while True:
            await self._more.wait()
            while self.units_left:
                self.units_left -= 1
                await self.stream.send(self._unit)
                self.stream.mark(CURSOR)
                self.units_sent += 1
            self._more = trio.Event()

    async def send_lines(self, source: LineSource) -> None:
        """Send lines when they are due, a unit a batch."""
        timer = Timer()
        try:
            while not source.done:
                await timer.until(source.wake_s())
                await self.stream.send(source.plan.message(source.take()))
                self.stream.mark(CURSOR)
        finally:
            timer.close()

    async def echo(self) -> None:
        """Send back whatever comes."""
        while True:
            await self.stream.ready()
            for event in self.stream.take():
                if isinstance(event, Data):
                    await self.stream.send(bytes(event.view), alone=True)
                    self.stream.release(len(event.view))
                elif isinstance(event, (End, Reset)):
                    return


class CannedAgent:
    """The tunnel, its streams and what is asked of them."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._feeds: list[Feed] = []
        self._table: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
            "dial": self.dial,
            "send": self.send,
            "halt": self.halt,
            "sent": self.sent,
            "lines": self.lines,
            "echo": self.echo,
        }

    async def serve(self, control: trio.SocketStream) -> None:
        """Run commands until their connection ends."""
        pending = b""
        while data := await control.receive_some(READ_BYTES):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                answer = await self._run(**json.loads(line))
                await control.send_all(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
        self._nursery.cancel_scope.cancel()

    async def dial(
        self,
        port: int,
        org: str,
        cluster: str,
        bearer: str = "-",
        tls: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """Open the tunnel.

        Args:
            port: of the relay's listener for agents, on loopback.
            org, cluster: identity.
            bearer: the agent's token; an insecure relay takes any.
            tls: `ca_file`, `cert_file`, `key_file`; None for a plain connection.
        """
        with trio.fail_after(DIAL_S):
            stream: trio.abc.Stream = await trio.open_tcp_stream("127.0.0.1", port)
            if tls is not None:
                context = client_context(**tls)
                stream = await start_tls(stream, context, server_hostname="localhost")
            transport = await connect_websocket(stream, host=f"localhost:{port}")
            session = Session(
                transport,
                hello=Hello(org, cluster, "canned-agent", epoch=time.time_ns()),
                settings=TunnelSettings(),
                token=Payload(bearer.encode()),
            )
            await self._nursery.start(self._keep, session)
        return {}

    async def send(self, units: int, first: int = 0, count: int | None = None) -> dict[str, Any]:
        """Send so many units on each of the streams."""
        for feed in self._feeds[first : None if count is None else first + count]:
            feed.send(units)
        return {}

    async def halt(self, first: int = 0, count: int | None = None) -> dict[str, Any]:
        """Begin no further unit on these streams; answers with how many each had left."""
        chosen = self._feeds[first : None if count is None else first + count]
        return {"units": [feed.halt() for feed in chosen]}

    async def sent(self) -> dict[str, Any]:
        """Answer with the bytes that each stream has taken."""
        return {"bytes": [feed.units_sent * UNIT_BYTES for feed in self._feeds]}

    async def echo(self) -> dict[str, Any]:
        """Send back whatever comes, on every stream."""
        for feed in self._feeds:
            self._nursery.start_soon(_until_lost, feed.echo)
        return {}

    async def lines(self, plan: dict[str, Any], first: int = 0) -> dict[str, Any]:
        """Send lines as planned; answers when the last one was handed over.

        Args:
            plan: of as many exchanges as it has streams.
            first: of these exchanges.
        """
        schedule = LinePlan(**plan)
        feeds = self._feeds[first : first + schedule.streams]
        sources = [LineSource(schedule, stream) for stream in range(len(feeds))]
        async with trio.open_nursery() as nursery:
            for feed, source in zip(feeds, sources, strict=True):
                nursery.start_soon(feed.send_lines, source)
        return handed_over(sources)

    async def _run(self, do: str, **arguments: Any) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        try:
            answer = await self._table[do](**arguments)
        except* (TunnelError, OSError, ValueError, RuntimeError, trio.TooSlowError) as errors:
            answer = {"error": f"{do}: {errors.exceptions[0]!r}"}
        return answer

    async def _keep(
        self, session: Session, *, task_status: trio.TaskStatus[Session] = trio.TASK_STATUS_IGNORED
    ) -> None:
        await session.serve(self._handle, task_status=task_status)

    async def _handle(self, stream: Stream) -> None:
        feed = Feed(stream)
        self._feeds.append(feed)
        try:
            stream.head(HEAD)
            await feed.run()
        finally:
            self._feeds.remove(feed)


async def _until_lost(work: Callable[[], Awaitable[None]]) -> None:
    try:
        await work()
    except TunnelError:
        return


async def main(path: Path) -> None:
    """Take commands until their connection ends."""
    heap.keep()  # as every plane does
    connection = attached(path)
    connection.setblocking(False)
    control = trio.SocketStream(trio.socket.from_stdlib_socket(connection))
    async with trio.open_nursery() as nursery:
        await CannedAgent(nursery).serve(control)


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
