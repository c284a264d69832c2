"""Resume cursors of tails: opaque to everybody but the agent.

A cursor is (pod uid, container, restart, sequence), where sequence is a byte offset in the
container's whole log. It also names the file by its first timestamp, so that it still finds the
place when offsets were renumbered because the index was lost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from compute_agent.logs.cri import epoch_ns
from compute_agent.logs.files import Gap
from compute_agent.logs.index import Listing, LogFile
from compute_agent.logs.lines import Open, Position


class BadCursor(ValueError):
    """A resume cursor that this agent did not make."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a tail resumes.

    Args:
        uid: of the pod.
        container: its name.
        restart: which of the container's lives.
        position: offsets in that life's whole log.
        stamp, base: first timestamp and offset of the file that holds `position.sequence`.
    """

    uid: str
    container: str
    restart: int
    position: Position
    stamp: str = ""
    base: int = 0

    def encode(self) -> bytes:
        """Serialise for MARK; far below its 1 KiB."""
        opened = {s: list(line) for s, line in self.position.open.items()}
        fields = [self.uid, self.container, self.restart, self.position.sequence, opened]
        return json.dumps([*fields, self.stamp, self.base], separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> Cursor:
        """Parse what came back with OPEN.

        Raises:
            BadCursor: it is none of ours.
        """
        try:
            uid, container, restart, sequence, opened, stamp, base = json.loads(data)
            lines = {str(s): Open(_count(o), _count(k)) for s, (o, k) in opened.items()}
            position = Position(_count(sequence), lines)
            identity = str(uid), str(container), _count(restart)
            return cls(*identity, position, str(stamp), _count(base))
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise BadCursor("the resume cursor is none of this agent's") from None


def beginning(listing: Listing) -> tuple[Position, Gap | None]:
    """Return where a log begins, and what is missing before."""
    if not listing.files:
        return Position(0), None
    base = listing.files[0].base
    missing = base if listing.exact else None
    return Position(base), None if missing == 0 else Gap(missing, base)


def resume(cursor: Cursor, listing: Listing) -> tuple[Position, Gap | None]:
    """Return where to go on behind a cursor of the same log, and what is missing in between."""
    if not cursor.stamp and not cursor.position.sequence:
        return beginning(listing)
    file = _anchor(cursor, listing)
    if file is not None:
        return cursor.position.moved(file.base - cursor.base), None
    after = epoch_ns(cursor.stamp.encode()) if cursor.stamp else 0
    newer = [f for f in listing.files if f.stamp and epoch_ns(f.stamp.encode()) > after]
    if not newer:
        end = listing.files[-1].end if listing.files else cursor.position.sequence
        return Position(end), Gap(None, end)
    base = newer[0].base
    return Position(base), Gap(base - cursor.position.sequence if listing.exact else None, base)


def _anchor(cursor: Cursor, listing: Listing) -> LogFile | None:
    same = [f for f in listing.files if f.stamp == cursor.stamp and f.size]
    exact = [f for f in same if f.base == cursor.base]
    return next(iter(exact or same), None)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise BadCursor("a number of the cursor")
    return value
