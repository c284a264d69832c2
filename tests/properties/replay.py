"""Replays a program that a failed property test has printed: give it on stdin.

`PYTHONPATH=.:tests python tests/properties/replay.py < program.json`; exits with 1 if it fails
again.
"""

from __future__ import annotations

import sys

from checker import ended, violations
from program import Program
from world import play


def replay(text: str) -> int:
    """Run a program and print what was seen."""
    evidence = play(Program.of(text))
    for seen in evidence.seen:
        how = f"{ended(seen)}, {len(seen.body)} bytes"
        print(f"{seen.kind} {seen.ident} of tenant {seen.tenant}: {seen.status} {how}")
    found = violations(evidence)
    for name, what in found:
        print(f"VIOLATED {name}: {what}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(replay(sys.stdin.read()))
