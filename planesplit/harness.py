"""A split for synchronous code: what the pytest fixture `planesplit` gives a test.

Blocking calls into a portal, so that it serves sync, trio and asyncio tests alike.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from planesplit.delivery import Delivery
from planesplit.portal import Portal
from planesplit.ready import Ready
from planesplit.residency import Counted
from planesplit.split.core import Produced, Split
from planesplit.split.link import Ending
from planesplit.split.options import SplitOptions
from planesplit.tail import Line
from planesplit.viewer import RunStatus

TIMEOUT_S = 30.0
START_S = 120.0
QUEUED_LINES = 1000  # a test that reads slowly holds back the tail like any slow viewer
AGENT = "compute_agent"


class Lines:
    """The lines of one tail, in order.

    Attributes:
        received: every line that `next` or iteration has returned so far.
    """

    def __init__(self, portal: Portal[Split], split: Split, run: str, options: Any) -> None:
        self._portal, self._split, self._run, self._options = portal, split, run, options
        self._send, self._receive = trio.open_memory_channel[Line](QUEUED_LINES)
        self._scope = trio.CancelScope()
        self._error: Exception | None = None
        self.received: list[Line] = []

    def next(self, timeout: float = TIMEOUT_S) -> str:
        """Return the next line's text, without its newline.

        Args:
            timeout: seconds.

        Raises:
            TimeoutError: no line came.
            StopIteration: the tail ended in order.
            ConnectError: it ended otherwise.
        """
        try:
            line = self._portal.call(self._receive.receive, timeout_s=timeout)
        except trio.EndOfChannel:
            if self._error:
                raise self._error from None
            raise StopIteration from None
        self.received.append(line)
        return line.text.rstrip("\n")

    def __iter__(self) -> Iterator[str]:
        while True:
            try:
                yield self.next()
            except StopIteration:
                return

    def all(self, timeout: float = TIMEOUT_S) -> list[Line]:
        """Read to the end and return every line that was received.

        Raises:
            TimeoutError: for one line longer than `timeout` seconds.
            ConnectError: the tail ended with an error.
        """
        while True:
            try:
                self.next(timeout)
            except StopIteration:
                return self.received

    async def pump(self) -> None:
        """Move lines from the tail to the reader; runs in the portal."""
        try:
            with self._scope:
                async with self._send, self._split.tail(self._run, **self._options) as lines:
                    async for line in lines:
                        await self._send.send(line)
        except Exception as error:
            self._error = error
            self._send.close()

    async def stop(self) -> None:
        """Hang up; runs in the portal."""
        self._scope.cancel()


class Harness:
    """One test's view of a running split. Runs have names of the test's own.

    Args:
        portal: where the split lives.
        split: the split.
        tenant: what tells this test from others, e.g. its node id.
    """

    def __init__(self, portal: Portal[Split], split: Split, tenant: str) -> None:
        self._portal, self._split = portal, split
        self._prefix = "t" + hashlib.sha256(tenant.encode()).hexdigest()[:10]
        self._numbers = itertools.count(1)

    @property
    def ready(self) -> Ready:
        """URLs, CA file, credentials, flyte configuration, process ids."""
        return self._split.ready

    def run(
        self,
        *,
        exec: str | Sequence[str] | None = None,  # noqa: A002 - the option's name
        replay: Path | str | None = None,
        workload: str | None = None,
        image: str | None = None,
        args: Sequence[str] = (),
        env: dict[str, str] | None = None,
        cluster: str = "",
    ) -> str:
        """Start a run and return its name; see `planesplit.workloads.container`."""
        name = f"{self._prefix}-{next(self._numbers)}"

        async def start() -> str:
            return await self._split.run(
                exec=exec,
                replay=replay,
                workload=workload,
                image=image,
                args=args,
                env=env,
                name=name,
                cluster=cluster,
            )

        return self._portal.call(start, timeout_s=TIMEOUT_S)

    def wait(self, run: str, timeout: float = TIMEOUT_S) -> RunStatus:
        """Wait for the end of a run; raises TimeoutError after `timeout` seconds."""
        return self._portal.call(self._split.wait, run, timeout_s=timeout)

    @contextmanager
    def tail(self, run: str, **options: Any) -> Iterator[Lines]:
        """Tail a run: `with planesplit.tail(run) as lines: lines.next(timeout=1)`.

        Args:
            options: those of `Viewer.tail`: since, lines, follow, ...
        """
        lines = Lines(self._portal, self._split, run, options)
        self._portal.spawn(lines.pump)
        try:
            yield lines
        finally:
            self._portal.call(lines.stop, timeout_s=TIMEOUT_S)

    def kill(self, plane: str = AGENT) -> None:
        """SIGKILL a plane; `restart` brings it back, at the latest the end of the test."""
        self._portal.call(self._split.kill, plane, timeout_s=TIMEOUT_S)

    def restart(self, plane: str = AGENT) -> None:
        """Start a plane again, where it was."""
        self._portal.call(self._split.restart, plane, timeout_s=START_S)

    def stop(self, plane: str = AGENT) -> int:
        """Stop a plane in order (SIGTERM); return its exit status."""
        return self._portal.call(self._split.stop, plane, timeout_s=TIMEOUT_S)

    def freeze(self, plane: str = AGENT) -> None:
        """SIGSTOP a plane."""
        self._soon(self._split.freeze, plane)

    def thaw(self, plane: str = AGENT) -> None:
        """SIGCONT a plane."""
        self._soon(self._split.thaw, plane)

    def cut(self, ending: Ending = "reset") -> int:
        """Cut the tunnel's connection; return how many connections that were."""
        return int(self._soon(self._split.cut, ending))

    def cut_after(self, count_bytes: int, ending: Ending = "reset") -> None:
        """Cut the tunnel once, when `count_bytes` more bytes have passed."""
        self._soon(self._split.link.cut_after, count_bytes, ending)

    @property
    def cuts(self) -> int:
        """How many connections were cut so far."""
        return self._split.link.cuts

    def pid(self, plane: str = AGENT) -> int:
        """Return a plane's process id now; that in the ready file is of its first life."""
        return self._split.pids[plane]

    def journal_count(self, plane: str = AGENT) -> int:
        """Return how many lines a plane has journalled; `seen` takes it as `since`."""
        return self._split.journal(plane).count

    def seen(
        self, event: str, plane: str = AGENT, *, since: int = 0, timeout: float = TIMEOUT_S
    ) -> dict[str, Any]:
        """Wait for a plane's journal event and return it.

        Args:
            since: lines before this count are not regarded.
            timeout: seconds.

        Raises:
            TimeoutError: there was none.
        """

        async def event_since() -> dict[str, Any]:
            return await self._split.journal(plane).event(event, since=since)

        return self._portal.call(event_since, timeout_s=timeout)

    def produced(self, run: str) -> Produced:
        """Return count and digest of what a run wrote, by the customer's own files."""
        return self._split.produced(run)

    def assert_delivered(
        self, run: str, lines: Iterable[Line] | Lines | None = None, timeout: float = TIMEOUT_S
    ) -> Delivery:
        """Wait for the end of a run and assert that it was delivered exactly.

        Args:
            run: its name.
            lines: what a viewer received; a tail is read to its end first. None tails it anew.
            timeout: seconds to wait for the end, and for each line.

        Raises:
            AssertionError: with the counts of what is wrong.
        """
        if lines is None:
            with self.tail(run) as whole:
                return self.assert_delivered(run, whole, timeout)
        received = lines.all(timeout) if isinstance(lines, Lines) else list(lines)
        self.wait(run, timeout)
        return self._split.assert_delivered(run, received)

    def metrics(self) -> dict[str, float]:
        """Return the relay's metrics."""
        return self._portal.call(self._split.metrics, timeout_s=TIMEOUT_S)

    def assert_resident(self) -> list[Counted]:
        """Assert that every row of the residency table went only where the white paper says."""
        return self._portal.call(self._split.assert_resident, timeout_s=TIMEOUT_S)

    def journals(self) -> str:
        """Return the last journal lines of every plane, for a failure's report."""
        planes = self._split.options.planes
        lines = (line for plane in planes for line in self._split.journal(plane).lines[-10:])
        return "\n".join(lines)

    def heal(self) -> None:
        """Undo every fault, so that the next test finds a whole split."""
        self._portal.call(self._split.heal, timeout_s=START_S)

    def _soon(self, function: Any, *args: Any) -> Any:
        async def call() -> Any:
            return function(*args)

        return self._portal.call(call, timeout_s=TIMEOUT_S)


def open_portal(options: SplitOptions) -> tuple[Portal[Split], Split]:
    """Start a split in a thread of its own.

    Raises:
        PlaneFailed: a plane did not come up.
    """
    portal = Portal(lambda: Split(options))
    return portal, portal.start(START_S)
