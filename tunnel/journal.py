"""Structured log lines that structurally cannot carry payload, and third-party loggers silenced.

An event has an identifier for a name and values that are numbers or identifiers; all else raises.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import time
from collections.abc import Callable

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_IDENTIFIER = re.compile(r"[A-Za-z0-9._:/@+-]{0,128}")

# At DEBUG `websockets` logs frames and Authorization, `botocore` signatures; at INFO `httpx` logs
# URLs (measured).
NOISY_LOGGERS = (
    "websockets",
    "websockets.client",
    "websockets.server",
    "httpx",
    "httpcore",
    "h11",
    "h2",
    "hpack",
    "hypercorn",
    "anycorn",
    "connectrpc",
    "asyncio",
    "boto3",
    "botocore",
    "s3transfer",
    "urllib3",
)

Value = int | float | bool | str


def _write(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()


class Journal:
    """Writes one JSON object a line.

    Args:
        plane: name of the process, on every line.
        write: where a finished line goes; stderr by default.
        clock: wall clock, seconds since the epoch.
    """

    def __init__(
        self,
        plane: str,
        *,
        write: Callable[[str], None] = _write,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._plane, self._write, self._clock = plane, write, clock

    def event(self, name: str, **values: Value) -> None:
        """Log an event.

        Raises:
            ValueError: a name or text that is no identifier (so it might be payload), or a number
                that JSON does not know.
            TypeError: a value that is neither number nor text.
        """
        if not _NAME.fullmatch(name):
            raise ValueError("an event's name is a lower-case identifier")
        for key, value in values.items():
            _check(key, value)
        head: dict[str, Value] = {"t": round(self._clock(), 6), "plane": self._plane, "event": name}
        record = head | values | head  # no value takes the place of what every line says
        self._write(json.dumps(record, separators=(",", ":")) + "\n")


def _check(key: str, value: object) -> None:
    if isinstance(value, str):
        if not _IDENTIFIER.fullmatch(value):
            raise ValueError(f"journal value '{key}' is not an identifier")
    elif not isinstance(value, (int, float)):
        raise TypeError(f"journal value '{key}' must be a number or an identifier")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"journal value '{key}' is not a finite number")


def tame_loggers() -> None:
    """Cut every third-party logger off from all handlers, at any level."""
    for name in NOISY_LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [logging.NullHandler()]
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
