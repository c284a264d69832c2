"""`python -m relay.seal [PROVER_FD]`: seal this throw-away process, try the lock, tell as JSON.

With a descriptor it hands its memory over first, and stays until its stdin ends.

What a machine allows is best known by doing it: containers, sandboxes and boot options take parts
away that the kernel's version promises.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable

from relay.seal.apply import seal_process
from relay.seal.level import SealRefused
from tunnel.handover import NOTHING, hand_over_memory

UNUSABLE_EXIT = 3


def main() -> int:
    """Print one JSON object; 3 if this process cannot be sealed at all."""
    prover_fd = int(sys.argv[1]) if len(sys.argv) > 1 else NOTHING
    try:
        hand_over_memory(prover_fd)
        seal = seal_process()
    except (SealRefused, OSError) as error:
        sys.stderr.write(f"relay.seal: {error}\n")
        return UNUSABLE_EXIT
    refused = {name: _refused(attempt) for name, attempt in ATTEMPTS.items()}
    known = {"level": str(seal.level), **seal.parts, "missing": dict(seal.missing)}
    sys.stdout.write(json.dumps({**known, "refused": refused}) + "\n")
    sys.stdout.flush()
    if prover_fd != NOTHING:
        sys.stdin.read()
    return 0


def _refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return True
    return False


# Refused by EPERM before anything happens, or else without effect.
ATTEMPTS: dict[str, Callable[[], object]] = {
    "open for writing": lambda: os.close(os.open(os.devnull, os.O_WRONLY)),
    "open a socket": lambda: socket.socket().close(),
    "open memory by descriptor": lambda: os.close(os.memfd_create("doctor")),
    "start a process": lambda: os._exit(0) if os.fork() == 0 else os.wait(),
}

if __name__ == "__main__":
    sys.exit(main())
