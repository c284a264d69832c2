"""`python -P -m planesplit.proof.sabotage.plant LEAK -- PLANE --config FILE`: a plane with a leak.

The plane knows nothing of it: it is imported, patched and run as usual, its seal included. LEAK is
the name of a negative control, or a reviewer's own file, see `own.py`.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Sequence

from planesplit.proof.sabotage.catalogue import UnknownLeak, find_leak
from planesplit.proof.sabotage.own import BadModule, is_file, load
from planesplit.proof.sabotage.tries import Tries

USAGE_EXIT = 2


def main(arguments: Sequence[str]) -> int:
    """Plant a leak and run the plane; returns its exit code."""
    if len(arguments) < 3 or arguments[1] != "--":
        sys.stderr.write("usage: plant LEAK -- PLANE --config FILE\n")
        return USAGE_EXIT
    name, _, plane, *options = arguments
    sys.argv = [plane, *options]
    try:
        leak = load(name) if is_file(name) else find_leak(name)
        if plane not in leak.parts:
            raise UnknownLeak(f"leak '{name}' is one of {', '.join(leak.planes)}, not of {plane}")
    except (UnknownLeak, BadModule) as error:
        sys.stderr.write(f"plant: {error}\n")
        return USAGE_EXIT
    leak.parts[plane](Tries(plane))
    runpy.run_module(plane, run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
