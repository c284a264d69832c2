"""Standard streams: all three are there, and what cannot be written is told in one line."""

from __future__ import annotations

import errno
import os
import sys

BROKEN_PIPE, UNUSABLE = 141, 3
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def open_missing() -> None:
    """Open what was closed by who started us, to nowhere: else its number goes to a socket."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def not_written(error: OSError) -> int:
    """Tell that output could not be written; return the exit code.

    Raises:
        OSError: it is another error.
    """
    if error.errno not in (errno.EPIPE, *FULL):
        raise error
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left in buffers goes nowhere
    if error.errno == errno.EPIPE:
        return BROKEN_PIPE
    sys.stderr.write(f"planesplit: cannot write the output: {error.strerror}; make room\n")
    return UNUSABLE
