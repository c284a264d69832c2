"""One split, sealed or not, in which leak after leak is planted, driven and looked for.

Only the planes that a leak is in are started again. Each trial has canaries of its own, so what an
earlier leak has left is no find. The proof is told which rows to drive, never which leak there is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from planesplit.proof.options import Proof, ProofOptions
from planesplit.proof.run import examine
from planesplit.proof.sabotage.catalogue import LOGS, RELAY, Leak
from planesplit.proof.sabotage.leaks import place
from planesplit.proof.sabotage.outcome import CLEAN, Trial
from planesplit.proof.sabotage.tries import EVENT, Told
from planesplit.split.core import Split
from planesplit.split.plane import PlaneFailed
from planesplit.split.ring import parse

NOT_DETECTORS = frozenset({"table", "drive"})  # they tell what is missing, not what leaks
REFUSED_EXIT = 3  # a relay that cannot seal itself as it must
Tell = Callable[[str], None]


@dataclass(slots=True)
class Lane:
    """Trials in one running split.

    Args:
        split: opened with `prepared` options.
        sealed: whether its relay seals itself.
        files: a reviewer's own leaks: name -> file.
        tell: shows progress.
    """

    split: Split
    sealed: bool
    files: Mapping[str, str] = field(default_factory=dict)
    tell: Tell = lambda text: None
    seal: str = ""
    detectors: tuple[str, ...] = ()
    _dirty: tuple[str, ...] = ()  # planes that run with a leak

    async def run(self, leaks: Iterable[Leak]) -> list[Trial]:
        """Try each leak, a clean control before them and one after."""
        trials = [await self._control(LOGS)]
        trials += [await self._try(leak) for leak in leaks]
        return [*trials, await self._control(LOGS)]

    async def _control(self, rows: frozenset[str]) -> Trial:
        began = time.monotonic()
        await self._start({}, ())
        return self._judged(CLEAN, "", await self._examine(rows), (), began)

    async def _try(self, leak: Leak) -> Trial:
        began = time.monotonic()
        named = self.files.get(leak.name, leak.name)
        try:
            counts = await self._start(dict.fromkeys(leak.planes, named), leak.planes)
        except PlaneFailed as error:
            return self._not_started(leak, error, began)
        proof = await self._examine(leak.rows)
        trial = self._judged(leak.name, leak.blind, proof, self._told(leak, counts), began)
        for plane in leak.planes:
            place.remove(self.split.pids[plane])
        return trial

    async def _start(self, planted: Mapping[str, str], planes: tuple[str, ...]) -> dict[str, int]:
        """Start planes with their leak, and clean those of the last one; returns journal counts."""
        self.split.plant(planted)
        again = list(dict.fromkeys((*self._dirty, *planes)))
        self._dirty = tuple(again)
        counts = {plane: self.split.journal(plane).count for plane in again}
        for plane in again:
            await self.split.restart(plane)
        await self.split.heal()
        self._dirty = planes
        return counts

    async def _examine(self, rows: frozenset[str]) -> Proof:
        options = ProofOptions(split=self.split.options, rows=rows, faults=False)
        proof = await examine(self.split, options, alarm=self.tell)
        self.seal = self.seal or proof.seal
        self.detectors = tuple(detector.name for detector in proof.detectors)
        return proof

    def _told(self, leak: Leak, counts: Mapping[str, int]) -> tuple[Told, ...]:
        """Return what the leak said last, in each of its planes that said something."""
        told = []
        for plane in leak.planes:
            journal = self.split.journal(plane)
            fresh = journal.lines[-(journal.count - counts[plane]) :]
            said = [record for record in map(parse, fresh) if record.get("event") == EVENT]
            told += [Told(r["tries"], r["refused"], r["errno"]) for r in said[-1:]]
        return tuple(told)

    def _judged(
        self, name: str, blind: str, proof: Proof, told: tuple[Told, ...], began: float
    ) -> Trial:
        named = dict.fromkeys(each.detector for each in proof.deviations)
        trial = Trial(
            leak=name,
            sealed=self.sealed,
            detectors=tuple(detector for detector in named if detector not in NOT_DETECTORS),
            tries=sum(each.tries for each in told),
            refused=sum(each.refused for each in told),
            errno=max((each.errno for each in told), default=0),
            started=True,
            blind=blind,
            seconds=round(time.monotonic() - began, 2),
            notes=tuple(f"{each.detector}: {each.text}" for each in proof.deviations),
        )
        self._show(trial)
        return trial

    def _not_started(self, leak: Leak, error: PlaneFailed, began: float) -> Trial:
        """Judge a plane that did not come up: refused by its seal, or broken."""
        refused = self.sealed and f"status {REFUSED_EXIT} " in error.reason
        took = round(time.monotonic() - began, 2)
        note = f"{error.plane} {error.reason}"
        trial = Trial(leak.name, self.sealed, (), 0, 0, 0, not refused, leak.blind, took, (note,))
        self._show(trial)
        place.remove(self.split.pids[error.plane])
        return trial

    def _show(self, trial: Trial) -> None:
        kind = "sealed" if trial.sealed else "unsealed"
        said = trial.outcome if trial.leak != CLEAN else "as claimed" if trial.caught else "DIRTY"
        by = f" by {', '.join(trial.detectors)}" if trial.detectors else ""
        self.tell(f"{trial.leak}, {kind}: {said}{by} ({trial.seconds:.1f} s)")


def relay_first(leaks: Iterable[Leak]) -> list[Leak]:
    """Return leaks so that those of the relay alone come first: it starts again fastest."""
    return sorted(leaks, key=lambda leak: leak.planes != (RELAY,))
