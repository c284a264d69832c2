"""A neighbour of a relay that attacks nobody: `python neighbour.py NICENESS SHARE`.

It takes its share of a core, in short pieces as an attacker does, until it is killed or its
standard input ends.
"""

from __future__ import annotations

import os
import select
import sys
import time

PERIOD_S = 0.01


def burn(share: float) -> None:
    """Take a share of a core, 0 to 1, until standard input ends."""
    left = False
    while not left:
        began_s = time.perf_counter()
        while time.perf_counter() - began_s < share * PERIOD_S:
            pass
        rest_s = max(0.0, PERIOD_S * (1 - share))
        left = bool(select.select([sys.stdin], [], [], rest_s)[0])


if __name__ == "__main__":
    os.nice(int(sys.argv[1]))
    print("burning", flush=True)
    burn(float(sys.argv[2]))
