"""`python -m relay --config FILE`."""

from __future__ import annotations

import sys
from typing import Any

from tunnel.journal import tame_loggers
from tunnel.process import main
from tunnel.settings import load

PURPOSE = (
    "The relay of the control plane: forwards exchanges between viewers and agents in memory only. "
    "It accepts connections and never opens one."
)
UNUSABLE_EXIT = 3


def start(table: dict[str, Any]) -> int:
    """Run the relay with a configuration table; returns the exit code."""
    import trio

    from relay.seal.level import SealRefused
    from relay.server import run
    from relay.settings import RelayConfig

    try:
        trio.run(run, load(RelayConfig, table))
    except SealRefused as error:
        sys.stderr.write(f"relay: {error}\n")
        return UNUSABLE_EXIT
    return 0


if __name__ == "__main__":
    tame_loggers()
    sys.exit(main("relay", PURPOSE, start))
