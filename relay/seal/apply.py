"""Seals this process, layer by layer; what the kernel does not have is told, not hidden."""

from __future__ import annotations

from relay.seal import landlock, seccomp
from relay.seal.descriptors import check_descriptors
from relay.seal.level import Seal
from relay.seal.limits import apply_limits


def seal_process() -> Seal:
    """Seal this process for good; it must have one thread, and everything imported and open.

    No layer stops all ways out alone (38 were tried): limits stop descriptors that are open
    already, Landlock stops files by path, seccomp everything that needs a system call it forbids.

    Raises:
        SealRefused: a descriptor leads to a file, or there are several threads.
    """
    check_descriptors()
    apply_limits()
    missing: dict[str, str] = {}
    abi, filtered = 0, False
    try:
        abi = landlock.apply_landlock()
    except OSError as error:
        missing["landlock"] = landlock.why_not(error)
    try:
        seccomp.apply_seccomp()
        filtered = True
    except OSError as error:
        missing["seccomp"] = seccomp.why_not(error)
    return Seal(limits=True, landlock=abi, seccomp=filtered, missing=missing)
