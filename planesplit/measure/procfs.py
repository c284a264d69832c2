"""What a process has used: CPU time and memory, as its kernel counts them."""

from __future__ import annotations

import os
import time
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_CPU_CLOCK = 2  # CPUCLOCK_SCHED of linux/posix-timers.h: user and system time, all threads
_STATM_RESIDENT = 1


def cpu_s(pid: int) -> float:
    """Return the CPU seconds (user + system, all threads, dead ones too) of a process.

    It is what utime + stime of /proc/PID/stat say, in nanoseconds where those tick 100 times a
    second: clock_getcpuclockid(3) names a clock for every process.

    Raises:
        OSError: there is no such process.
    """
    return time.clock_gettime((~pid << 3) | _CPU_CLOCK)


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process.

    Raises:
        OSError: there is no such process.
    """
    fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    return int(fields[_STATM_RESIDENT]) * PAGE_BYTES


def steal_s() -> float:
    """Return the seconds since boot that the hypervisor gave to others, all processors together."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")
