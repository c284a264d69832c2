"""What every plane's process has in common: configuration, the ready line, signals."""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import trio

from tunnel import heap
from tunnel.settings import SettingError

USAGE_EXIT = 2
ACCEPT_AGAIN_S = 0.1
SIGNALS = (signal.SIGTERM, signal.SIGINT)

_Stream = TypeVar("_Stream", bound=trio.abc.AsyncResource)
_early: list[int] = []


def load_config(path: str | Path) -> dict[str, Any]:
    """Read a TOML configuration file.

    Raises:
        SettingError: the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"cannot read configuration '{path}': {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise SettingError(f"configuration '{path}' is not valid TOML") from None


def announce(**fields: object) -> None:
    """Print the one ready line on stdout that a supervisor waits for.

    What start-up has made stays, so no collection has to walk it from here on: a full one would
    stop every stream for 7 ms, up to four times a second (measured).
    """
    gc.collect()
    gc.freeze()
    line = json.dumps({"event": "ready", "pid": os.getpid(), **fields}, separators=(",", ":"))
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def until_signalled() -> int:
    """Wait for SIGTERM or SIGINT and return its number; a second one ends the process at once."""
    with trio.open_signal_receiver(*SIGNALS) as signals:
        number = _early.pop() if _early else await anext(aiter(signals))
    _handle(_leave)  # trio has just put the old handlers back
    return number


async def accept(listener: trio.abc.Listener[_Stream]) -> _Stream:
    """Accept a connection; if there is no descriptor or memory for it, wait until others leave."""
    while True:
        try:
            return await listener.accept()
        except OSError:
            await trio.sleep(ACCEPT_AGAIN_S)


def _handle(handler: Callable[[int, object], None]) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def _remember(number: int, frame: object) -> None:
    """Keep a signal that comes before anybody waits for one, so that it is graceful too."""
    if _early:
        _leave(number, frame)
    _early.append(number)


def _leave(number: int, _frame: object) -> None:
    os._exit(128 + number)


def main(plane: str, purpose: str, start: Callable[[dict[str, Any]], int]) -> int:
    """Parse `--config FILE`, run `start(config)` and return the exit code.

    Configuration errors become one line on stderr and exit code 2.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {plane}", description=purpose)
    parser.add_argument("--config", required=True, metavar="FILE", help="TOML configuration file")
    options = parser.parse_args()
    _handle(_remember)
    heap.keep()
    try:
        return start(load_config(options.config))
    except SettingError as error:
        sys.stderr.write(f"{plane}: {error}\n")
        return USAGE_EXIT
