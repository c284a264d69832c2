"""A viewer's tail: the lines of one run, exactly once, across reconnects.

The relay keeps a tail open while the agent is away. When the relay itself is lost (`unavailable`),
the viewer asks again from the start, drops as many bytes as it already has, and proves by digest
that they were the same bytes; otherwise the tail ends with `data_loss`. It does the same when the
relay ends the tail because the token has ended that it was opened with.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import trio

from planesplit.connect_client import ConnectError

if TYPE_CHECKING:
    from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsResponse

RETRY_FOR_S = 60.0  # twice what a relay waits for its agent
RETRY_FIRST_S = 0.05
RETRY_MOST_S = 0.5  # a relay that is back is soon found
NANOS = 1_000_000_000
ORIGINATORS = ("UNKNOWN", "USER", "SYSTEM")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a log, or a piece of one that is longer than a unit (64 KiB).

    Args:
        text: with its newline; a piece without one goes on in the next line.
        at_ns: when the container wrote it, nanoseconds since the epoch.
        received_ns: when it arrived here.
        originator: USER, SYSTEM (the split itself, e.g. a gap record) or UNKNOWN.
        pod: short pod name.
    """

    text: str
    at_ns: int = 0
    received_ns: int = 0
    originator: str = "USER"
    pod: str = ""

    @property
    def complete(self) -> bool:
        """Whether the line ends here."""
        return self.text.endswith("\n")


OpenStream = Callable[[], "AbstractAsyncContextManager[AsyncIterator[TailLogsResponse]]"]


async def tail_lines(
    open_stream: OpenStream,
    *,
    may_reopen: bool = True,
    retry_for_s: float = RETRY_FOR_S,
    on_retry: Callable[[ConnectError], None] = lambda error: None,
    now_s: Callable[[], float] = time.time,
) -> AsyncGenerator[Line]:
    """Yield the lines of a tail until it ends in order.

    Args:
        open_stream: opens the TailLogs stream; the same request each time, with a token that is
            good now.
        may_reopen: whether a second request yields the same lines from the start.
        retry_for_s: how long to go on without hearing anything.
        on_retry: told of each failed try.
        now_s: wall clock, seconds since the epoch.

    Raises:
        ConnectError: any end but an orderly one; `unavailable` after `retry_for_s` seconds,
            `unauthenticated` if nothing came since the last one.
    """
    seen = Seen()
    retry = Retry(retry_for_s)
    while True:
        replayed, heard = seen.replay(), False
        try:
            async with open_stream() as messages:
                async for message in messages:
                    retry.reset()
                    heard = True
                    for line in replayed.rest(lines_of(message, int(now_s() * NANOS))):
                        seen.add(line)
                        yield line
                replayed.finish()
                return
        except ConnectError as error:
            expired = error.code == "unauthenticated" and heard
            again = expired or error.code == "unavailable"
            if not again or not (may_reopen or seen.untouched):
                raise
            on_retry(error)
            if not expired:
                await retry.pause(error)


def lines_of(message: TailLogsResponse, received_ns: int) -> Iterator[Line]:
    """Read a TailLogs message; one without lines is a keepalive."""
    for logs in message.logs:
        for line in logs.lines:
            at_ns = line.timestamp.seconds * NANOS + line.timestamp.nanos
            yield Line(
                line.message,
                at_ns,
                received_ns,
                ORIGINATORS[line.originator] if line.originator < len(ORIGINATORS) else "UNKNOWN",
                line.short_pod_name,
            )


class Seen:
    """Count and digest of the bytes that were delivered, without the split's own lines."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._bytes = 0
        self.untouched = True

    def add(self, line: Line) -> None:
        """Count a line that was delivered."""
        self.untouched = False
        if line.originator != "SYSTEM":
            data = line.text.encode()
            self._digest.update(data)
            self._bytes += len(data)

    def replay(self) -> Replay:
        """Return what recognises these bytes when the log is read from the start again."""
        return Replay(self._bytes, self._digest.digest())


class Replay:
    """Drops the beginning of a log that was delivered before, if it is the same one."""

    def __init__(self, count_bytes: int, digest: bytes) -> None:
        self._missing = count_bytes
        self._expected = digest
        self._digest = hashlib.sha256()

    def rest(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Yield what was not delivered before; a line may have been delivered in part.

        Raises:
            ConnectError: `data_loss`, the log begins with other bytes than before.
        """
        for line in lines:
            if not self._missing:
                yield line
            elif line.originator != "SYSTEM":
                yield from self._drop(line)

    def finish(self) -> None:
        """The log ended: everything that was delivered must have been there.

        Raises:
            ConnectError: `data_loss`.
        """
        if self._missing:
            raise ConnectError("data_loss", "the log is shorter than what was delivered before")

    def _drop(self, line: Line) -> Iterator[Line]:
        data = line.text.encode()
        old, new = data[: self._missing], data[self._missing :]
        self._digest.update(old)
        self._missing -= len(old)
        if not self._missing and self._digest.digest() != self._expected:
            raise ConnectError("data_loss", "the log no longer begins with what was delivered")
        if new:
            yield replace(line, text=new.decode(errors="replace"))


class Retry:
    """Pauses between tries: doubling up to 500 ms, and over after `patience_s` of silence."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self.reset()

    def reset(self) -> None:
        """The peer was heard."""
        self._heard_at = trio.current_time()
        self._pause_s = RETRY_FIRST_S

    async def pause(self, error: ConnectError) -> None:
        """Wait before the next try, or raise `error` if patience is over."""
        if trio.current_time() + self._pause_s > self._heard_at + self._patience_s:
            raise error
        await trio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, RETRY_MOST_S)
