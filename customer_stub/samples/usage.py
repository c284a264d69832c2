"""What processes use, from Linux' /proc: a pod is a session of its own (see pods.process)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Positions in /proc/PID/stat behind the command's parenthesis; proc(5) counts from 1, state is 3.
_SESSION, _UTIME, _CSTIME, _START, _RSS = 3, 11, 14, 19, 21


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time of a session's processes and of their children that have ended, and memory now.

    Args:
        cpu_s: seconds, of all cores.
        memory_bytes: resident; pages that processes share count for each.
        started_s: start of the oldest process, seconds since the system's.
    """

    cpu_s: float
    memory_bytes: int
    started_s: float


def measure(sessions: Iterable[int], root: Path = Path("/proc")) -> dict[int, Usage]:
    """Return what sessions use, by the id of their leader; those without a process are left out.

    Reads one small file of every process of the machine: milliseconds, for a worker thread.
    """
    wanted, found = set(sessions), dict[int, Usage]()
    for name in os.listdir(root):
        if not name.isdecimal():
            continue
        fields = _stat(root / name / "stat")
        if len(fields) <= _RSS or int(fields[_SESSION]) not in wanted:
            continue
        session = int(fields[_SESSION])
        one = Usage(
            sum(map(int, fields[_UTIME : _CSTIME + 1])) / _TICKS,
            int(fields[_RSS]) * _PAGE_BYTES,
            int(fields[_START]) / _TICKS,
        )
        found[session] = _sum(found[session], one) if session in found else one
    return found


def _stat(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().rpartition(b")")[2].split()
    except OSError:  # it ended meanwhile
        return []


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.cpu_s + other.cpu_s,
        one.memory_bytes + other.memory_bytes,
        min(one.started_s, other.started_s),
    )
