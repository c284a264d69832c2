"""Wakes tails when something happens to their files, so that nobody has to look all the time."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import trio

from compute_agent.logs.inotify import IGNORED, QUEUE_OVERFLOW, Inotify

Tell = Callable[[str], None]
Tap = Callable[[], bool]

OVERDUE_S = 0.02  # how late a watch may be woken that nothing has changed for


class Watch:
    """What one tail waits on.

    Attributes:
        number: inotify's; None while it doesn't watch.
        until: when to wake it even if nothing has changed.

    Args:
        watcher: that tells it.
        directory: of the log files.
    """

    def __init__(self, watcher: Watcher, directory: Path) -> None:
        self._watcher, self.directory = watcher, directory
        self.number: int | None = None
        self.until = math.inf
        self._woken = trio.Event()
        self._tap: Tap | None = None
        self._resting = False

    def arm(self) -> bool:
        """Begin to watch if that is possible and was not yet; whether it began just now.

        What happened before it began woke nobody: look again.
        """
        return self.number is None and self._watcher.add(self)

    @property
    def live(self) -> bool:
        """Whether changes wake it."""
        return self.number is not None

    def wake(self) -> None:
        """Have who waits look."""
        self._woken.set()
        self._watcher.waits(self, waits=False)

    def note(self) -> None:
        """Something has changed: the tap sees to it, or who waits has to."""
        if not self._resting and (self._tap is None or not self._tap()):
            self.wake()

    def rest(self) -> None:
        """Don't listen until `listen`; who calls that looks then."""
        self._resting = True
        self._watcher.waits(self, waits=False)

    def listen(self) -> bool:
        """Listen again, from now on; False if somebody else looks meanwhile."""
        if not self._resting:
            return False
        self._watcher.take()
        self._resting = False
        self._watcher.waits(self, waits=True)
        return True

    def clear(self) -> None:
        """Forget what has changed: it is about to be looked at."""
        self._watcher.take()
        self._watcher.served()
        if self._woken.is_set():
            self._woken = trio.Event()

    async def changed(self, until: float, tap: Tap | None = None) -> None:
        """Wait for a change since `clear`, about until the clock shows `until` at most.

        Args:
            until: see there.
            tap: called for a change, in the task that hears of it, as long as this waits; never
                waits or raises. If it returns True it has seen to the change.
        """
        self.until = until
        if not self._woken.is_set():
            self._watcher.waits(self, waits=True)
        self._tap = tap
        try:
            # A deadline of its own would cost as much as reading a line.
            await self._woken.wait()
        finally:
            self._tap = None
            if self._resting:
                self._resting = False
                self.wake()  # what changed is still to be looked at

    def close(self) -> None:
        """Stop watching."""
        self._watcher.waits(self, waits=False)
        self._watcher.remove(self)


class Watcher:
    """Watches directories with one inotify instance.

    While it doesn't run, or can't watch a directory, watches are not live: look every now and then.

    Args:
        most: directories at once; 0 to watch none.
        tell: told the name of an event when watching is not possible, once of each kind.

    Attributes:
        served: called when all taps were called for what has happened by now.
    """

    def __init__(self, most: int, tell: Tell = lambda event: None) -> None:
        self._most, self._tell = most, tell
        self._told: set[str] = set()
        self._inotify: Inotify | None = None
        self._watches: dict[int, list[Watch]] = {}
        self._added, self._waited = trio.Event(), trio.Event()
        self._waiting: set[Watch] = set()
        self.served: Callable[[], None] = _nothing

    async def run(self) -> None:
        """Wake watches until cancelled; returns if there is no inotify."""
        if not self._most:
            return
        try:
            self._inotify = inotify = Inotify()
        except OSError:
            self._complain("log_watch_unavailable")
            return
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._wake_overdue)
                while True:
                    while not self._waiting:  # tails that rest need not hear of every line
                        self._waited = trio.Event()
                        await self._waited.wait()
                    await trio.lowlevel.wait_readable(inotify.fileno())
                    self.take()
                    self.served()
        finally:
            for number in list(self._watches):
                self._end(number)
            self._inotify = None
            inotify.close()

    def waits(self, watch: Watch, *, waits: bool) -> None:
        """Note whether a watch waits to be woken."""
        if waits:
            self._waiting.add(watch)
            self._waited.set()
        else:
            self._waiting.discard(watch)

    def take(self) -> None:
        """Take what has happened by now, and wake whom it concerns."""
        if self._inotify is not None:
            for number, mask in self._inotify.read():
                self._wake(number, mask)

    def add(self, watch: Watch) -> bool:
        """Begin a watch; False if that can't be. A log that is a link to elsewhere is none."""
        if self._inotify is None or _has_links(watch.directory):
            return False
        try:
            number = self._inotify.add(watch.directory)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._complain("log_watch_limited")
            return False
        if number not in self._watches and len(self._watches) >= self._most:
            self._inotify.remove(number)
            self._complain("log_watch_limited")
            return False
        self._watches.setdefault(number, []).append(watch)
        self._added.set()
        watch.number = number
        return True

    def remove(self, watch: Watch) -> None:
        """End a watch; a directory that nobody watches any more is let go of."""
        number, watch.number = watch.number, None
        if number is None:
            return
        there = self._watches[number]
        there.remove(watch)
        if not there:
            del self._watches[number]
            if self._inotify is not None:
                self._inotify.remove(number)

    def wake(self, pod: str = "") -> None:
        """Wake the watches of one pod.

        Args:
            pod: what its directory's name begins with; empty for all pods.
        """
        for there in self._watches.values():
            for watch in there:
                if watch.directory.parent.name.startswith(pod):
                    watch.wake()

    def _wake(self, number: int, mask: int) -> None:
        if mask & QUEUE_OVERFLOW:
            self.wake()
        elif mask & IGNORED:
            self._end(number)  # the directory is gone
        else:
            for watch in self._watches.get(number, ()):
                watch.note()

    async def _wake_overdue(self) -> NoReturn:
        """Look after the deadlines of all watches, with one timer."""
        while True:
            if not self._watches:
                self._added = trio.Event()
                await self._added.wait()
            await trio.sleep(OVERDUE_S)
            now = trio.current_time()
            for there in self._watches.values():
                for watch in there:
                    if watch.until <= now:
                        watch.wake()

    def _end(self, number: int) -> None:
        for watch in self._watches.pop(number, []):
            watch.number = None
            watch.wake()

    def _complain(self, event: str) -> None:
        if event not in self._told:
            self._told.add(event)
            self._tell(event)


def _nothing() -> None:
    """Nobody wants to know."""


def _has_links(directory: Path) -> bool:
    """Whether log files are links: changes of what they name show elsewhere."""
    try:
        with os.scandir(directory) as entries:
            return any(entry.is_symlink() for entry in entries)
    except OSError:
        return True
