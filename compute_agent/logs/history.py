"""What the log aggregator has of a container's log, by the same numbers as the files.

The customer's log collector stamps every record of a log file with its number (pod uid, container,
restart, sequence). So what was read from files and what comes from the aggregator fit together
without looking at timestamps, which may repeat or be set back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from compute_agent.attempts import Attempt
from compute_agent.logs.cri import Record


class HistoryDown(Exception):
    """The aggregator can't be reached or refuses; worth a retry. Carries no payload."""


class At(NamedTuple):
    """A place in all lives of a container; compares in the order of writing.

    Args:
        restart: which of the container's lives.
        sequence: number of a record in it, from 1.
    """

    restart: int
    sequence: int


class Row(NamedTuple):
    """One record of the aggregator.

    Args:
        restart: which of the container's lives.
        record: as it was in the file; it has no offset.
        end: it is no record but the collector's mark that nothing follows.
    """

    restart: int
    record: Record
    end: bool = False

    @property
    def at(self) -> At:
        """Its place."""
        return At(self.restart, self.record.sequence)


@dataclass(frozen=True, slots=True)
class LogId:
    """Whose log: everything a query is restricted to.

    Args:
        attempt: of a run, inside the authorised scope.
        uid: of its pod.
        container: name of the container.
    """

    attempt: Attempt
    uid: str
    container: str


class History(Protocol):
    """A log aggregator. Each call is one bounded query; all raise HistoryDown."""

    async def find(self, attempt: Attempt, container: str, *, latest: bool) -> LogId | None:
        """Return the newest log of an attempt, or of the latest attempt of its action."""
        ...

    async def page(self, log: LogId, start: At, hint_ns: int) -> list[Row]:
        """Return rows from `start` on, in order and each once; empty if there is none yet.

        Args:
            log: whose.
            start: first place that is wanted.
            hint_ns: timestamp of the record before, 0 if unknown; an aggregator that only finds by
                time may begin there.
        """
        ...

    async def page_before(self, log: LogId, stop: At | None) -> list[Row]:
        """Return the last rows before `stop`, or of all, in order and each once."""
        ...

    async def first_since(self, log: LogId, since_ns: int) -> At | None:
        """Return the first place whose timestamp is `since_ns` or later."""
        ...

    async def file_start(self, log: LogId, restart: int, stamp_ns: int) -> int | None:
        """Return the number of the record that began a log file at a time; None if not just one."""
        ...
