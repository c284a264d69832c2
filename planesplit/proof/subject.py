"""What is proved: a split of the proof's own, or one that runs already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from planesplit.ready import Ready
from planesplit.residency import Counted
from planesplit.split.options import SplitOptions
from planesplit.split.process_memory import ProcessMemory
from planesplit.split.ring import Ring


class Subject(Protocol):
    """A split as a proof sees it; see `Split` and `Attached`, which do what is said here."""

    options: SplitOptions
    ready: Ready

    @property
    def pids(self) -> Mapping[str, int]:
        """Process id of every plane now."""

    def memory(self, plane: str) -> ProcessMemory | None:
        """Return the memory of a plane."""

    def journal(self, plane: str) -> Ring:
        """Return the last journal lines of a plane."""

    def hear(self, listener: Callable[[str, str], None]) -> AbstractContextManager[None]:
        """Have every line that a plane's process writes told to `listener`."""

    async def metrics(self) -> dict[str, float]:
        """Read the relay's metrics."""

    async def residency(self) -> list[Counted]:
        """Return the white paper's rows with each hop's bytes."""
