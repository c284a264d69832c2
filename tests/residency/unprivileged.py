"""Runs a command as somebody without privileges, also where the tests run as root.

A root without capabilities owns root's files, so that the interpreter can be read wherever it is,
and may do what any user may do to his own processes: no more.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Sequence

_CAPBSET_DROP = 24  # prctl(2)
_CAPABILITIES = 64
_prctl = ctypes.CDLL(None).prctl


def planesplit(
    arguments: Sequence[str], timeout_s: float, *, privileged: bool
) -> subprocess.CompletedProcess[str]:
    """Run planesplit; with root's capabilities only if `privileged` (and if there are any)."""

    def drop() -> None:  # in the child; what it starts has none of them
        for capability in range(_CAPABILITIES):
            _prctl(_CAPBSET_DROP, capability, 0, 0, 0)

    return subprocess.run(
        [sys.executable, "-P", "-m", "planesplit", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        preexec_fn=drop if os.getuid() == 0 and not privileged else None,
    )
