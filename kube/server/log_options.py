"""What a reader of `pods/log` may ask for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What of a log is wanted.

    Args:
        follow: go on until the container has ended.
        timestamps: put the time before each line.
        tail_lines: only so many of the last lines that are there; None for all.
        since: nothing older than this RFC 3339 time in UTC; empty for all.
        limit_bytes: most bytes; None for all.
    """

    follow: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since: str = ""
    limit_bytes: int | None = None
