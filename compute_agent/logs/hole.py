"""A stretch of a log that its files don't have any more, between two places."""

from __future__ import annotations

from dataclasses import dataclass

from compute_agent.logs.files import Gap
from compute_agent.logs.history import At
from compute_agent.logs.index import LogFile


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a new tail wants of the stretch.

    Args:
        lines: only so many of its last lines; None for all.
        since_ns: nothing older, ns since the epoch; 0 for everything.
    """

    lines: int | None = None
    since_ns: int = 0


@dataclass(slots=True)
class Hole:
    """What is to be read from the log aggregator before anything else.

    Args:
        at: the record that is wanted next.
        stamp, first: if `at` isn't numbered as the collector does: first timestamp of the file that
            it was counted in, and the number of records before that file; else "" and 0.
        restart, file: life and file where the files go on; no file: the log has ended.
        stop: the first record of that file, by the collector's numbers; None until it is known.
        gap: what to say of the stretch when nothing is known of it.
        wanted: what is still to be found: where in the stretch to begin.
        hint_ns: timestamp of the record before, 0 if unknown.
    """

    at: At
    stamp: str
    first: int
    restart: int
    file: LogFile | None
    stop: At | None
    gap: Gap
    wanted: Wanted | None = None
    hint_ns: int = 0

    @property
    def aligned(self) -> bool:
        """Whether both ends are numbered as the collector does."""
        return not self.stamp and (self.file is None or self.stop is not None)

    @property
    def filled(self) -> bool:
        """Whether everything up to the files was read."""
        return self.stop is not None and self.at >= self.stop

    @property
    def missing(self) -> int | None:
        """How many records are missing up to the files, None if unknown."""
        if self.stamp or self.stop is None or self.stop.restart != self.at.restart:
            return None
        return self.stop.sequence - self.at.sequence
