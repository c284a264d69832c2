"""Tries one way out: `python seal_cage.py WAY sealed|unsealed REACH`, REACH as JSON.

It says how it was sealed, then `done` and whatever error there was, and stays until its stdin ends.
"""

from __future__ import annotations

import json
import os
import sys

import seal_ways_files  # noqa: F401 - declares its ways
import seal_ways_network  # noqa: F401
import seal_ways_processes  # noqa: F401
from seal_ways import WAYS, Reach

from relay.seal import apply
from relay.seal.level import Seal, SealRefused


def tell(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def main(name: str, sealed: str, reach: Reach) -> None:
    os.chdir(reach.directory)
    way = WAYS[name]
    attempt = way.attempt(reach)
    next(attempt)
    if way.before == "overlooked":
        apply.check_descriptors = lambda: None
    try:
        tell(f"seal {apply.seal_process() if sealed == 'sealed' else Seal()}")
    except SealRefused:
        tell("seal refused")
        return
    error = ""
    try:
        next(attempt, None)
    except OSError as refusal:
        error = str(refusal.errno or refusal)
    tell(f"done {error}")
    sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Reach(**json.loads(sys.argv[3])))
