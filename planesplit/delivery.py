"""Whether a viewer received what was produced: nothing lost, doubled, altered or out of order."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from planesplit.tail import Line


class WholeLine(NamedTuple):
    """A complete line: when it was written (ns since the epoch), and its text with the newline."""

    at_ns: int
    text: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """The comparison of what was produced with what was delivered, in lines.

    Args:
        produced, delivered: how many lines.
        lost: produced and not delivered.
        doubled: delivered more often than produced.
        altered: delivered and never produced.
        disordered: delivered after a line that was produced later.
        sha256_produced, sha256_delivered: of the text, newlines included.
    """

    produced: int
    delivered: int
    lost: int
    doubled: int
    altered: int
    disordered: int
    sha256_produced: str
    sha256_delivered: str

    @property
    def exact(self) -> bool:
        """Whether exactly what was produced was delivered, in its order."""
        faults = self.lost or self.doubled or self.altered or self.disordered
        return not faults and self.sha256_produced == self.sha256_delivered

    def __str__(self) -> str:
        return (
            f"{self.produced} lines produced, {self.delivered} delivered: {self.lost} lost, "
            f"{self.doubled} doubled, {self.altered} altered, {self.disordered} disordered; "
            f"sha256 {self.sha256_produced[:16]} produced, {self.sha256_delivered[:16]} delivered"
        )


def compare(produced: Sequence[WholeLine], delivered: Iterable[Line]) -> Delivery:
    """Compare the customer's log with the lines that a viewer received.

    A line is recognised by its time and text; the same line written twice counts twice. Lines of
    the split itself (gap records) are no delivery.

    Args:
        produced: every line, in the order of the log.
        delivered: what the tail yielded, pieces included.
    """
    got = list(join_pieces(delivered))
    places: defaultdict[WholeLine, deque[int]] = defaultdict(deque)
    for place, line in enumerate(produced):
        places[line].append(place)
    doubled = altered = disordered = 0
    last = -1
    for line in got:
        if line not in places:
            altered += 1
        elif not places[line]:
            doubled += 1
        else:
            place = places[line].popleft()
            disordered += place < last
            last = max(last, place)
    lost = sum(map(len, places.values()))
    digests = sha256(produced), sha256(got)
    return Delivery(len(produced), len(got), lost, doubled, altered, disordered, *digests)


def join_pieces(lines: Iterable[Line]) -> Iterator[WholeLine]:
    """Put the pieces of long lines together; a piece at the very end counts as a line."""
    at_ns, parts = 0, list[str]()
    for line in lines:
        if line.originator == "SYSTEM":
            continue
        at_ns = at_ns if parts else line.at_ns
        parts.append(line.text)
        if line.complete:
            yield WholeLine(at_ns, "".join(parts))
            parts.clear()
    if parts:
        yield WholeLine(at_ns, "".join(parts))


def sha256(lines: Iterable[WholeLine]) -> str:
    """Return the SHA-256 of the lines' text, hexadecimal."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.text.encode())
    return digest.hexdigest()


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest-rank percentile; 0 of nothing."""
    if not values:
        return 0.0
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]
