"""Keeps over a restart how far each log was collected. Identifiers and numbers, never content."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from customer_stub.collector.follower import LogSource, Reached

Kept = tuple[LogSource, Reached]


def save(path: Path, logs: Iterable[Kept]) -> None:
    """Write the positions, all or none.

    Raises:
        OSError: the file system refuses.
    """
    rows = [
        [source.resource, str(source.directory), source.restart, *_fields(reached)]
        for source, reached in logs
    ]
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"version": 1, "logs": rows}), encoding="utf-8")
    temporary.replace(path)


def load(path: Path) -> list[Kept]:
    """Read the positions; a damaged file counts as none."""
    try:
        state: Any = json.loads(path.read_text(encoding="utf-8"))
        return [
            (
                LogSource({str(k): str(v) for k, v in resource.items()}, Path(where), int(restart)),
                Reached(int(sequence), str(stamp), int(offset)),
            )
            for resource, where, restart, sequence, stamp, offset in state["logs"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _fields(reached: Reached) -> tuple[int, str, int]:
    return reached.sequence, reached.stamp, reached.offset
