"""Kills what a pod leaves behind, also when the process that ran the pods was killed.

Every process of a pod inherits the variable `PLANESPLIT_POD={node}/{pod uid}`; whoever carries it
can be found in /proc, whatever process group or session it moved to. Run as a script, this file
waits until its stdin is closed, by exit or by SIGKILL of its parent, and then kills a whole node's
processes. It imports little, so that it starts in about 10 ms.
"""

from __future__ import annotations

import os
import signal
import sys

VARIABLE = "PLANESPLIT_POD"
ROUNDS = 20  # a pod that forks while it is being killed loses the race within a few


def kill_marked(mark: str) -> int:
    """SIGKILL every process whose mark starts with `mark`, until none is left.

    Returns:
        How many signals were sent.
    """
    needle = f"{VARIABLE}={mark}".encode()
    killed = 0
    for _ in range(ROUNDS):
        found = [pid for pid in _processes() if _carries(pid, needle)]
        if not found:
            break
        killed += sum(_kill(pid) for pid in found)
    return killed


def _processes() -> list[int]:
    return [
        int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()
    ]


def _carries(pid: int, needle: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environ = file.read()
    except OSError:  # it has ended (a zombie's is empty), or it is another user's
        return False
    return environ.startswith(needle) or b"\0" + needle in environ


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    """Wait for the end of the parent, then kill what is marked with the first argument."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    kill_marked(sys.argv[1])


if __name__ == "__main__":
    main()
