"""Prints decision 28's table from a whole run: `planesplit prove --sabotage all --json > FILE`.

`PYTHONPATH=. python tests/proof/sabotage_table.py FILE`
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from planesplit.proof.sabotage.catalogue import Leak, all_leaks
from planesplit.proof.sabotage.outcome import CLEAN

Trial = Mapping[str, Any]


def table(trials: Sequence[Trial]) -> Iterator[str]:
    """Yield the lines of the table, in the catalogue's order."""
    made = {(trial["leak"], trial["sealed"]): trial for trial in trials}
    yield "| leak | where | what it does | sealed | unsealed |"
    yield "|---|---|---|---|---|"
    for leak in all_leaks().values():
        said = " | ".join(_said(made[leak.name, sealed]) for sealed in (True, False))
        yield f"| `{leak.name}` | {_where(leak)} | {leak.text} | {said} |"


def _where(leak: Leak) -> str:
    return "+".join(leak.planes)


def _said(trial: Trial) -> str:
    """Return who caught it: the kernel, which stopped every try, or detectors."""
    if not trial["started"]:
        return "not started"
    stopped = 0 < trial["tries"] == trial["refused"]
    parts = (["stopped"] if stopped else []) + trial["detectors"]
    return ", ".join(parts) or f"**{trial['outcome'].lower()}**"


def main(file: str) -> None:
    """Print the table, then how often each outcome was."""
    matrix = json.loads(Path(file).read_text(encoding="utf-8"))
    print("\n".join(table(matrix["trials"])))
    trials = [trial for trial in matrix["trials"] if trial["leak"] != CLEAN]
    caught = sum(trial["caught"] for trial in trials)
    print(f"\n{caught} of {len(trials)} trials caught in {matrix['seconds']:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1])
