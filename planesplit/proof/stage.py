"""What a proof works on: the split, its canaries, and what was delivered to whom."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import trio

from planesplit.connect_client import ConnectError
from planesplit.proof.canaries import Canaries, Kind
from planesplit.proof.find import Find
from planesplit.proof.subject import Subject
from planesplit.residency import Counted
from planesplit.split.core import Split
from planesplit.split.options import CONTROL, KUBE, RELAY

VENDOR_PLANES = (RELAY, KUBE, CONTROL)


@dataclass(frozen=True, slots=True, repr=False)
class Answer:
    """What somebody received.

    Args:
        who: the client.
        what: the call, for people.
        body: every byte of it.
        allowed: kinds that this client has asked for and may see here.
    """

    who: str
    what: str
    body: bytes
    allowed: frozenset[Kind] = frozenset()


@dataclass(slots=True)
class Stage:
    """One run of a proof.

    Args:
        split: it runs.
        canaries: of this run.
        rows: which rows are driven.
        workshop: directory of the reviewer's own files, which no detector looks into.
        nursery: of detectors that watch while payload flows; cancelled before they look.
        exits: what is undone at the end.
        tell: shows progress.
        alarm: shows what goes wrong at length, for diagnosis.
        unseen: what cannot be looked at or driven, by its part of the proof.
        started_s: wall clock before the first canary was made, seconds since the epoch.

    Attributes:
        delivered: how often each kind of payload arrived where it was to go.
        failures: what the drive could not do: then the run shows nothing of it.
        refusal: code of the last error after which a client tried again.
        answers: what clients received.
        before_restart: called before a plane is stopped on purpose.
        finds: what was seen in passing, by whoever saw it.
        hops: bytes of each row by hop, over all lives of the planes.
    """

    split: Subject
    canaries: Canaries
    rows: frozenset[str]
    workshop: Path
    nursery: trio.Nursery
    exits: ExitStack
    tell: Callable[[str], None] = lambda text: None
    alarm: Callable[[str], None] = lambda text: None
    unseen: Mapping[str, str] = field(default_factory=dict)
    started_s: float = field(default_factory=lambda: time.time() - 1.0)
    delivered: dict[Kind, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    refusal: str = ""
    answers: list[Answer] = field(default_factory=list)
    finds: list[Find] = field(default_factory=list)
    before_restart: list[Callable[[], None]] = field(default_factory=list)
    hops: dict[str, Counted] = field(default_factory=dict)
    _before: dict[str, Counted] = field(default_factory=dict)

    @property
    def own(self) -> Split | None:
        """The split, if it is this proof's own: only then it may be cut and restarted."""
        return self.split if isinstance(self.split, Split) else None

    @property
    def directory(self) -> Path:
        """The split's private directory."""
        return Path(self.split.ready.directory)

    @property
    def vendor_pids(self) -> dict[str, int]:
        """Process id of each vendor plane now."""
        pids = self.split.pids
        return {plane: pids[plane] for plane in VENDOR_PLANES if pids.get(plane)}

    def make(self, kind: Kind) -> str:
        """Return a new canary of a kind."""
        return self.canaries.make(kind.row, kind.name)

    def name(self, kind: Kind) -> str:
        """Return a new canary of a kind that is a name."""
        return self.canaries.name(kind.row, kind.name)

    def delivered_to(self, kind: Kind, body: bytes = b"", *, times: int = 1) -> None:
        """Count that a kind of payload arrived where it was to go.

        Args:
            body: if given, what came; it counts only if the canary is in it.
        """
        if body and not any(
            (find.row, find.kind) == (kind.row, kind.name) for find in self.canaries.scan("", body)
        ):
            return
        self.delivered[kind] = self.delivered.get(kind, 0) + times

    def received(self, who: str, what: str, body: bytes, *allowed: Kind) -> None:
        """Keep what a client received, to be looked through."""
        self.answers.append(Answer(who, what, body, frozenset(allowed)))

    def retried(self, error: ConnectError) -> None:
        """Note why a client tries again."""
        self.refusal = error.code

    def watch(self, value: str, kind: Kind) -> None:
        """Look for a value that somebody else made, such as a URL's signature."""
        self.canaries.watch(value, kind.row, kind.name)

    async def count(self) -> None:
        """Read every hop's counters into `hops`.

        Raises:
            CountersAway: naming the hop that does not tell.
        """
        self.hops = {row.row.id: self._added(row) for row in await self.split.residency()}

    async def restart(self, split: Split, plane: str) -> None:
        """Stop a plane in order (SIGTERM) and start it again; its counters are kept.

        Args:
            split: this proof's own.
            plane: which one.

        Raises:
            CountersAway: naming the hop that does not tell.
        """
        before = {row.row.id: row for row in await self.split.residency()}
        for call in self.before_restart:
            call()
        await split.stop(plane)
        await split.restart(plane)
        await split.heal()
        for row in await self.split.residency():
            lost = before[row.row.id]
            self._before[row.row.id] = dataclasses.replace(
                row,
                relay=max(0, lost.relay - row.relay),
                control=max(0, lost.control - row.control),
                direct=max(0, lost.direct - row.direct),
            )

    def _added(self, now: Counted) -> Counted:
        before = self._before.get(now.row.id)
        if before is None:
            return now
        return dataclasses.replace(
            now,
            relay=now.relay + before.relay,
            control=now.control + before.control,
            direct=now.direct + before.direct,
        )
