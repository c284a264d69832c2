"""One reading of a log, for all viewers that are at the same place in it.

Whoever has nothing to send reads on, for all; what was read is kept until everybody sent it, within
a bound. Each viewer begins with a feed of its own. Two places are the same if their cursors are:
then a viewer moves to the feed that is there already. Whoever falls behind the bound begins a feed
of its own again, behind the cursor of what it sent last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio
from flyteidl2.dataproxy.dataproxy_service_pb2 import TailLogsResponse

from compute_agent.exchange import Answer, current_answer
from compute_agent.logs.filler import Filler
from compute_agent.logs.outbox import Outbox
from compute_agent.logs.pace import Pace
from compute_agent.logs.source import Source
from compute_agent.logs.tail import Tail
from compute_agent.logs.watcher import Watch
from tunnel.messages.rpc import Prepared


class FellBehind(Exception):
    """What a viewer needs next is not kept any more."""


class Unit:
    """A message and the cursor behind it.

    Args:
        data: the encoded message.
        mark: see there.
    """

    __slots__ = ("_framed", "mark", "message", "size")

    def __init__(self, data: bytes, mark: bytes) -> None:
        self.message = Prepared(TailLogsResponse, data)
        self.mark, self.size = mark, len(data)
        self._framed: bytes | None = None

    @property
    def framed(self) -> bytes:
        """The message as a stream is sent it; made once."""
        if self._framed is None:
            self._framed = self.message.framed()
        return self._framed


class Log(Protocol):
    """What a feed has to know of the log's attempt."""

    def ended(self) -> bool:
        """Whether nothing more will be written."""
        ...

    def goes_on(self, tail: Tail) -> Awaitable[bool]:
        """Whether an ended log that was read goes on elsewhere."""
        ...


class Feed:
    """Reads one log and keeps what some of its followers still have to send.

    Attributes:
        key: names the log.
        mark: cursor behind the last unit.
        end: number of units so far.
        done: whether the log was read to its end.

    Args:
        source: whose log.
        tail: reads it.
        log: tells how it is with the attempt.
        pace, watch: when to read.
        filler: fills the tail's holes; None if they can't be.
        kept_bytes: of units that were not sent to everybody.
    """

    def __init__(
        self,
        source: Source,
        tail: Tail,
        log: Log,
        pace: Pace,
        watch: Watch,
        filler: Filler | None,
        kept_bytes: int,
    ) -> None:
        self.key, self.tail, self._log = str(source.directory), tail, log
        self._pace, self._watch, self._filler = pace, watch, filler
        self._kept_bytes = kept_bytes
        self._units: deque[Unit] = deque()
        self._bytes = 0
        self._followers: set[Follower] = set()
        self._feeds: dict[str, Feed] | None = None  # where viewers look for it
        self._reads = self._quiet = False
        self._begun = self._ended = False
        self._grown = trio.Event()
        self._error: Exception | None = None
        self.mark = b""
        self.end = 0
        self.done = False

    @property
    def first(self) -> int:
        """Number of the first unit that is kept."""
        return self.end - len(self._units)

    @property
    def alone(self) -> bool:
        """Whether nobody follows it."""
        return not self._followers

    @property
    def plain(self) -> bool:
        """Whether what comes next depends on nothing but the cursor."""
        return not self.done and self._error is None and self.tail.plain

    def share(self, feeds: dict[str, Feed]) -> None:
        """Be the feed that viewers at the same place move to; it may be served without tasks."""
        self._feeds = feeds
        feeds[self.key] = self

    def add(self, follower: Follower) -> None:
        """Let somebody follow from the end on."""
        self._followers.add(follower)

    def drop(self, follower: Follower) -> None:
        """Somebody leaves; the last one closes the files."""
        self._followers.discard(follower)
        if self.alone:
            self.tail.close_files()
            self._watch.close()

    def since(self, number: int) -> list[Unit]:
        """Return the units from `number` on.

        Raises:
            FellBehind: some of them are not kept any more.
        """
        if number < self.first:
            raise FellBehind
        return [self._units[at] for at in range(number - self.first, len(self._units))]

    async def more(self, read_to: Callable[[], int]) -> None:
        """Wait until there is another unit, or none will come; one of those that wait reads.

        Args:
            read_to: offset where others have stopped to read; that is a good place to meet them.

        Raises:
            LogUnreadable, HistoryDown: as the tail and the filler do; to everybody.
        """
        if self._error is not None:
            raise self._error
        if self._reads:
            await self._grown.wait()
            return
        end, self._reads = self.end, True
        try:
            while end == self.end and not self.done:
                await self._step(read_to())
        except Exception as error:
            self._error = error
            raise
        finally:
            self._reads = False
            self._grown.set()
            self._grown = trio.Event()

    async def _step(self, read_to: int) -> None:
        """Pause if there was nothing to read, then read and keep what is due."""
        tail, done = self.tail, False
        if self._ended and not self._quiet:
            await trio.lowlevel.checkpoint()  # all is written: nothing to wait for
        elif self._begun:
            await self._pace.pause(tail, quiet=self._quiet, tap=self._serve)
            if self._error is not None:
                raise self._error
        self._begun = True
        self._watch.clear()
        self._pace.look()
        self._ended = self._log.ended()  # what was written before is read before it counts
        if tail.hole is not None and self._filler is not None:
            quiet, done = not await self._filler.step(tail), tail.over
        elif quiet := not tail.read(read_to):
            done = self._ended and not await self._log.goes_on(tail)
            quiet = quiet and tail.hole is None
        if done:
            tail.finish()
        self._quiet = quiet
        self._keep(self._pace.due(tail, flush=done))
        self.done = done

    # Without the tasks of those who follow: waking one costs more than reading and sending a line.

    def _serve(self) -> bool:
        """See to a change of the files; False if the task that waits for it has to."""
        if self._feeds is None or self._feeds.get(self.key) is not self or self._ended:
            return False
        if not self._pace.may_look():
            if not self._pace.later(self._rested):
                return False
            self._watch.rest()
            return True
        tail = self.tail
        if tail.hole is not None or tail.held_bytes:
            return False
        try:
            tail.read()
            self._keep(self._pace.due(tail, flush=False))
            served = self._hand_out()
        except Exception as error:
            self._error = error
            return False
        return served and tail.caught_up and not tail.held_bytes and tail.hole is None

    def _rested(self) -> None:
        """The rest after a batch is over: look, as there was a change meanwhile."""
        if self._watch.listen() and not self._serve():
            self._watch.wake()

    def _hand_out(self) -> bool:
        """Give everybody who takes them at once the latest units; whether all are served."""
        behind = [follower for follower in self._followers if not follower.serve()]
        if behind:
            self._grown.set()
            self._grown = trio.Event()
        return not behind

    def _keep(self, due: list[tuple[bytes, bytes]]) -> None:
        if not due:
            return
        if self._units:
            needed = min((follower.at for follower in self._followers), default=self.end)
            while self._units and (self.first < needed or self._bytes > self._kept_bytes):
                self._bytes -= self._units.popleft().size
        for data, mark in due:
            unit = Unit(data, mark)
            self._units.append(unit)
            self._bytes += unit.size
            self.mark = mark
            self.end += 1


class Follower:
    """One viewer's place in a feed.

    Attributes:
        at: number of the next unit.
        mark: cursor behind the last one that was taken.

    Args:
        feeds: of the agent, by the directory that they read; None: it shares nothing.
        feed: to begin with.
        outbox: where the answers wait that units were posted to.
    """

    def __init__(self, feeds: dict[str, Feed] | None, feed: Feed, outbox: Outbox) -> None:
        self._feeds, self._feed, self._outbox = feeds, feed, outbox
        self._answer: Answer | None = None
        self.at, self.mark = feed.end, feed.mark
        feed.add(self)

    @property
    def feed(self) -> Feed:
        """What it follows now."""
        return self._feed

    def close(self) -> None:
        """Leave."""
        feed = self._feed
        feed.drop(self)
        if self._feeds is not None and feed.alone and self._feeds.get(feed.key) is feed:
            del self._feeds[feed.key]

    async def units(self) -> list[Unit]:
        """Return what is to be sent next; nothing when the log has ended.

        Raises:
            FellBehind: go on behind `mark`, with another feed.
            LogUnreadable, HistoryDown: as the tail and the filler do.
        """
        answer = current_answer.get()
        while not (found := self._feed.since(self.at)) and not self._feed.done:
            self._answer = answer if answer is not None and answer.open else None
            try:
                await self._feed.more(self._read_to)
            finally:
                self._answer = None
        self.at += len(found)
        if found:
            self.mark = found[-1].mark
            self._meet()
        return found

    def serve(self) -> bool:
        """Post the units that it has not had; False if its own task has to send them.

        Only while that task waits for them: then everything before is on its way.
        """
        answer, feed = self._answer, self._feed
        if answer is None or self.at < feed.first:
            return False
        for unit in feed.since(self.at):
            if not answer.post(unit.framed, unit.mark):
                return False
            self.at, self.mark = self.at + 1, unit.mark
        self._outbox.add(answer)
        return True

    def _read_to(self) -> int:
        """Where the feed that others follow has stopped to read."""
        host = self._host()
        return host.tail.sent_to if host is not None else 0

    def _host(self) -> Feed | None:
        host = self._feeds.get(self._feed.key) if self._feeds is not None else None
        return host if host is not self._feed else None

    def _meet(self) -> None:
        """Move to the feed that is at the same place, or be the one that others may move to."""
        feed = self._feed
        if self._feeds is None or self.at != feed.end or not feed.plain:
            return
        host = self._host()
        if host is None or not host.plain:
            feed.share(self._feeds)
        elif host.mark == self.mark:
            feed.drop(self)
            self._feed, self.at = host, host.end
            host.add(self)
