"""Limits that hold without any kernel option: nothing grows a file, nothing dumps memory.

`RLIMIT_FSIZE` 0 is what stops a descriptor that was open before, such as a redirected stdout.
A core dump into a pipe (core(5), `core_pattern`) ignores `RLIMIT_CORE`: only a process that is not
dumpable has none. Not dumpable also means that nobody of the same user can read its memory.
"""

from __future__ import annotations

import resource

from relay.seal.kernel import PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, prctl


def apply_limits() -> None:
    """Set them, hard and soft: setrlimit(2), prctl(2).

    Raises:
        OSError: the kernel refuses; none is known to.
    """
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))
    prctl(PR_SET_DUMPABLE, 0)
