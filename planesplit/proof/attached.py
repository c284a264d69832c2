"""A split that runs already, as somebody beside it sees it: through its ready file and /proc."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import MappingProxyType

import httpx

from planesplit.ready import Ready
from planesplit.residency import Counted, count
from planesplit.split.core import METRICS_S
from planesplit.split.options import CONTROL, RELAY, SplitOptions
from planesplit.split.process_memory import ProcessMemory
from planesplit.split.ring import Ring

_PIDFD_GETFD = 438  # pidfd_getfd(2), the same number everywhere

NO_MEMORY = (
    "the memory of relay and control plane: it is closed to this user; start the split with"
    " 'planesplit up --provable', or look as root"
)
NOT_HERE: Mapping[str, str] = MappingProxyType(
    {
        "output": "what the planes write to their output goes to whoever started them",
        "images": "image layers (A7): who pushes to the registry is known at its start only",
        "stranger": "refusals to another org: the split has no client of one",
        "faults": "a cut tunnel and a restarted relay: the split belongs to somebody else",
    }
)


class Attached:
    """Looks at a split that somebody else started; it can neither be steered nor planted.

    Args:
        ready: what its ready file says.

    Attributes:
        unseen: what cannot be looked at or driven this way, by its part of the proof.
    """

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        first, *further = (cluster.cluster for cluster in ready.clusters)
        self.options = SplitOptions(
            insecure=ready.insecure,
            place=ready.place,
            clusters=tuple(further),
            clickhouse=any(cluster.clickhouse for cluster in ready.clusters),
            seal=ready.seal not in ("", "none"),
        )
        assert first == ready.place.cluster
        self.pids: dict[str, int] = dict(ready.pids)
        self._memories = {plane: self._opened(plane) for plane in (RELAY, CONTROL)}
        self.unseen: dict[str, str] = dict(NOT_HERE)
        if not all(self._memories.values()):
            self.unseen["memory"] = NO_MEMORY

    def memory(self, plane: str) -> ProcessMemory | None:
        """Return a plane's memory, if this user may read it."""
        return self._memories.get(plane)

    def journal(self, plane: str) -> Ring:
        """Return nothing: the journals are read by whoever started the split."""
        return Ring()

    @contextmanager
    def hear(self, listener: Callable[[str, str], None]) -> Iterator[None]:
        """Hear nothing, likewise."""
        yield

    async def metrics(self) -> dict[str, float]:
        """Read the relay's metrics.

        Raises:
            httpx.HTTPError: the relay is away.
        """
        async with httpx.AsyncClient(trust_env=False, timeout=METRICS_S) as http:
            answer = await http.get(f"{self.ready.urls.ops}/metrics")
        samples = (line.rpartition(" ") for line in answer.text.splitlines() if line[:1] != "#")
        return {name: float(value) for name, _, value in samples}

    async def residency(self) -> list[Counted]:
        """Return the white paper's rows with each hop's bytes since its plane started.

        Raises:
            CountersAway: naming the hop that does not tell.
        """
        return await count(self.ready)

    def close(self) -> None:
        """Let go of the memory."""
        for memory in self._memories.values():
            if memory:
                memory.close()

    def _opened(self, plane: str) -> ProcessMemory | None:
        """Take the descriptors that the plane gave to its supervisor; else open them, as root."""
        with suppress(OSError):
            if handed := self.ready.memory.get(plane):
                return ProcessMemory(*_taken(self.ready.pid, handed))
        process = f"/proc/{self.pids.get(plane, 0)}"
        opened: list[int] = []
        try:
            opened += (os.open(f"{process}/{name}", os.O_RDONLY) for name in ("mem", "maps"))
        except OSError:
            for one in opened:
                os.close(one)
            return None
        return ProcessMemory(*opened)


def _taken(pid: int, numbers: tuple[int, ...]) -> Iterator[int]:
    """Yield copies of another process's descriptors.

    Raises:
        OSError: it has ended, or this user may not.
    """
    process = os.pidfd_open(pid)
    try:
        for number in numbers:
            copy = int(ctypes.CDLL(None, use_errno=True).syscall(_PIDFD_GETFD, process, number, 0))
            if copy < 0:
                raise OSError(ctypes.get_errno(), "pidfd_getfd")
            yield copy
    finally:
        os.close(process)
