"""What became of a leak, and the matrix of all of them: leak x detector, sealed and unsealed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

FOUND, PREVENTED, BLIND, SLIPPED = "FOUND", "PREVENTED", "BLIND", "SLIPPED"
OUTCOMES = (FOUND, PREVENTED, BLIND, SLIPPED)
CLEAN = "clean"  # the control without a leak


@dataclass(frozen=True, slots=True)
class Trial:
    """One leak, planted once.

    Args:
        leak: its name; `clean` for the control without one.
        sealed: whether the relay sealed itself.
        detectors: who found something that is not as claimed.
        tries, refused, errno: what the leak has tried, and the kernel's answers.
        started: whether the plane came up with it; the seal refuses some at the start.
        blind: why no detector can see it; empty where one can.
        seconds: duration.
        notes: deviations in words, and what else went wrong.
    """

    leak: str
    sealed: bool
    detectors: tuple[str, ...]
    tries: int
    refused: int
    errno: int
    started: bool
    blind: str
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def stopped(self) -> bool:
        """Whether it was tried, and the kernel refused every try."""
        return 0 < self.tries == self.refused

    @property
    def outcome(self) -> str:
        """FOUND, PREVENTED, BLIND (unsealed only) or SLIPPED.

        A leak that was never tried has slipped: it shows nothing.
        """
        if self.detectors:
            return FOUND
        if not self.started or self.stopped:
            return PREVENTED
        return BLIND if self.blind and not self.sealed and self.tries else SLIPPED

    @property
    def caught(self) -> bool:
        """Whether it did not slip through; the control is right when nothing was found."""
        if self.leak == CLEAN:
            return not self.detectors and not self.notes
        return self.outcome != SLIPPED

    def as_json(self) -> dict[str, Any]:
        """Return the evidence and what follows from it."""
        return {**dataclasses.asdict(self), "outcome": self.outcome, "caught": self.caught}


@dataclass(frozen=True, slots=True)
class Matrix:
    """All trials of one campaign.

    Args:
        trials: in the order in which they were made, controls included.
        detectors: names of all that looked.
        seal: level of the sealed relay.
        seconds: duration of all together.
    """

    trials: tuple[Trial, ...]
    detectors: tuple[str, ...]
    seal: str
    seconds: float

    @property
    def leaks(self) -> tuple[str, ...]:
        """Names of the leaks, each once."""
        names = dict.fromkeys(trial.leak for trial in self.trials if trial.leak != CLEAN)
        return tuple(names)

    @property
    def slipped(self) -> tuple[Trial, ...]:
        """Trials that went wrong: leaks that slipped, controls that were not clean."""
        return tuple(trial for trial in self.trials if not trial.caught)

    @property
    def complete(self) -> bool:
        """Whether every leak was tried sealed and unsealed, beside a control of each."""
        made = [(trial.leak, trial.sealed) for trial in self.trials if trial.leak != CLEAN]
        controls = {trial.sealed for trial in self.trials if trial.leak == CLEAN}
        each = {(name, sealed) for name in self.leaks for sealed in (True, False)}
        return bool(made) and len(made) == len(each) and set(made) == each and len(controls) == 2

    @property
    def red(self) -> bool:
        """Whether all is as it should be: complete, every leak caught, every control clean."""
        return self.complete and not self.slipped

    def of(self, leak: str, *, sealed: bool) -> Sequence[Trial]:
        """Return a leak's trials of one kind."""
        return [trial for trial in self.trials if (trial.leak, trial.sealed) == (leak, sealed)]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how often each outcome was, sealed and unsealed; controls left out."""
        return {
            name: {
                outcome: sum(
                    trial.outcome == outcome
                    for trial in self.trials
                    if trial.sealed is sealed and trial.leak != CLEAN
                )
                for outcome in OUTCOMES
            }
            for name, sealed in (("sealed", True), ("unsealed", False))
        }

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "schema": "planesplit.sabotage/1",
            "red": self.red,
            "seal": self.seal,
            "seconds": self.seconds,
            "detectors": list(self.detectors),
            "counts": self.counts(),
            "trials": [trial.as_json() for trial in self.trials],
        }
