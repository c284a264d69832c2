"""How reports of phases merge: any order, any repetition, one result; and never backwards.

The state of an attempt is a function of the *set* of its reports, so a reconciliation that tells
everything again changes nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from flyteidl2.common import phase_pb2 as wire

QUEUED = wire.ACTION_PHASE_QUEUED
RUNNING = wire.ACTION_PHASE_RUNNING
SUCCEEDED = wire.ACTION_PHASE_SUCCEEDED
FAILED = wire.ACTION_PHASE_FAILED
ABORTED = wire.ACTION_PHASE_ABORTED
TIMED_OUT = wire.ACTION_PHASE_TIMED_OUT

_DONE = 5
RANKS: dict[int, int] = {
    QUEUED: 1,
    wire.ACTION_PHASE_WAITING_FOR_RESOURCES: 2,
    wire.ACTION_PHASE_INITIALIZING: 3,
    RUNNING: 4,
    wire.ACTION_PHASE_PAUSED: 4,
    SUCCEEDED: _DONE,
    FAILED: _DONE,
    ABORTED: _DONE,
    TIMED_OUT: _DONE,
    wire.ACTION_PHASE_RECOVERED: _DONE,
}


class Report(NamedTuple):
    """One phase of one attempt, as reported.

    Args:
        sequence: rises with every event of the attempt; 0 is the control plane's own word.
        at_ns: when the phase began, nanoseconds since the epoch.
        exit_code: of the container, or None.
        reason: an identifier, why the control plane itself says so.
    """

    attempt: int
    phase: int
    sequence: int
    at_ns: int
    exit_code: int | None = None
    pod: str = ""
    reason: str = ""

    @property
    def order(self) -> tuple[int, int, int, int]:
        """What decides which report is the current one: attempt, rank, sequence."""
        return self.attempt, RANKS[self.phase], self.sequence, self.phase

    @property
    def done(self) -> bool:
        """Whether nothing follows in this attempt."""
        return RANKS[self.phase] == _DONE

    def replaces(self, other: Report) -> bool:
        """Whether this report of the same phase is kept instead of `other`: a total order."""
        return self._weight() > other._weight()

    def _weight(self) -> tuple[int, int, bool, int, str, str]:
        known = self.exit_code is not None
        return self.sequence, -self.at_ns, known, self.exit_code or 0, self.pod, self.reason


def is_done(phase: int) -> bool:
    """Whether a phase is terminal."""
    return RANKS.get(phase) == _DONE
