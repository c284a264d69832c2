"""The matrix as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planesplit.proof.sabotage.catalogue import Leak
from planesplit.proof.sabotage.outcome import CLEAN, FOUND, OUTCOMES, PREVENTED, Matrix, Trial

LEGEND = "s: found sealed, u: found unsealed; n/n: tries refused by the kernel"


def table(matrix: Matrix) -> str:
    """Return leak x detector, with what became of each leak sealed and unsealed."""
    width = max(len(name) for name in (*matrix.leaks, CLEAN))
    head = f"{'leak':{width}}  {'sealed':20}  {'unsealed':20}  {'  '.join(matrix.detectors)}"
    rows = [_row(matrix, name, width) for name in (*matrix.leaks, CLEAN)]
    return "\n".join([head, *rows, "", LEGEND, *_summary(matrix)])


def catalogue(leaks: Sequence[Leak]) -> str:
    """Return what can be planted, a line each."""
    width = max(len(leak.name) for leak in leaks)
    told = (
        f"{leak.name:{width}}  {'+'.join(leak.planes):24}  {','.join(sorted(leak.rows)):6}"
        f"  {leak.text}{' (a documented blind spot)' if leak.blind else ''}"
        for leak in leaks
    )
    return "\n".join((f"{'leak':{width}}  {'planted in':24}  {'rows':6}  what it does", *told))


def _row(matrix: Matrix, name: str, width: int) -> str:
    sealed, unsealed = (list(matrix.of(name, sealed=kind)) for kind in (True, False))
    marks = (
        f"{_mark(detector, sealed, 's')}{_mark(detector, unsealed, 'u')}".ljust(len(detector))
        for detector in matrix.detectors
    )
    return f"{name:{width}}  {_said(sealed):20}  {_said(unsealed):20}  {'  '.join(marks)}".rstrip()


def _mark(detector: str, trials: Sequence[Trial], letter: str) -> str:
    return letter if any(detector in trial.detectors for trial in trials) else "."


def _said(trials: Sequence[Trial]) -> str:
    """Return how trials of one leak ended; the worst counts."""
    if not trials:
        return "not tried"
    if trials[0].leak == CLEAN:
        return "as claimed" if all(trial.caught for trial in trials) else "DIRTY"
    worst = max(trials, key=lambda trial: OUTCOMES.index(trial.outcome))
    stopped = f"stopped {worst.refused}/{worst.tries}"
    if worst.outcome == FOUND:
        return f"found, {stopped}" if worst.stopped else "found"
    if worst.outcome == PREVENTED:
        return stopped if worst.started else "not started"
    return worst.outcome


def _summary(matrix: Matrix) -> Iterator[str]:
    for kind, counts in matrix.counts().items():
        said = ", ".join(f"{count} {name.lower()}" for name, count in counts.items() if count)
        yield f"{kind}: {said}"
    for trial in matrix.slipped:
        kind = "sealed" if trial.sealed else "unsealed"
        yield f"{trial.leak}, {kind}: {'; '.join(trial.notes) or 'nobody saw it'}"
    caught = len(matrix.leaks) - len({t.leak for t in matrix.slipped} - {CLEAN})
    verdict = "all caught, controls clean" if matrix.red else "NOT all caught"
    yield f"{caught} of {len(matrix.leaks)} leaks caught in {matrix.seconds:.0f} s: {verdict}"
    yield f"seal: {matrix.seal}"
