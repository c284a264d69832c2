"""glibc's heap, set up for blocks of 64 to 256 KiB that come and go all the time."""

from __future__ import annotations

import ctypes
import mmap

# mallopt(3). By default blocks of 128 KiB and more are mapped and unmapped each time, and the top
# of the heap is given back and fetched again: 90,000 page faults a GB at 16 streams (measured).
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
SETTINGS = {
    M_MMAP_THRESHOLD: 1_048_576,
    M_TRIM_THRESHOLD: 8_388_608,
    M_TOP_PAD: 1_048_576,
}


def keep() -> bool:
    """Let the heap keep up to 8 MiB that are free; returns whether this libc can."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    return all(mallopt(name, value) == 1 for name, value in SETTINGS.items())


def blank(size: int) -> memoryview:
    """Return a buffer of zeros whose pages take memory only once something is written there."""
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def trim() -> bool:
    """Give free memory back to the system; returns whether there was some."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except AttributeError:
        return False
