"""What a viewer may ask of a tail, by headers, since TailLogsRequest has no fields for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from compute_agent.logs.cri import NANOS, epoch_ns

MAX_LINES = 1_000_000  # bounds the work of finding where the last lines begin
MAX_DIGITS = 12


class BadOption(ValueError):
    """A header's value is none of those allowed; the message names the header and the remedy."""


@dataclass(frozen=True, slots=True)
class TailOptions:
    """How much of a log to send.

    Args:
        since_ns: nothing older, ns since the epoch; 0 for everything.
        lines: only so many of the last lines; None for all.
        follow: go on until the attempt has ended; otherwise until what is there now was sent.
    """

    since_ns: int = 0
    lines: int | None = None
    follow: bool = True

    @classmethod
    def parse(cls, get: Callable[[str], str], now_s: Callable[[], float]) -> TailOptions:
        """Read the headers.

        Args:
            get: returns a header's value, "" if it is absent.
            now_s: wall clock, seconds since the epoch.

        Raises:
            BadOption: a value is not understood.
        """
        return cls(
            _since(get("planesplit-since"), now_s),
            _lines(get("planesplit-lines")),
            _follow(get("planesplit-follow")),
        )


def _since(value: str, now_s: Callable[[], float]) -> int:
    if not value:
        return 0
    if value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS:
        return max(int(now_s() * NANOS) - int(value) * NANOS, 0)
    try:
        return epoch_ns(value.encode())
    except ValueError:
        raise BadOption("planesplit-since must be RFC 3339 or a number of seconds") from None


def _lines(value: str) -> int | None:
    if not value:
        return None
    if value.isascii() and value.isdigit() and len(value) <= MAX_DIGITS:
        lines = int(value)
        if lines <= MAX_LINES:
            return lines
    raise BadOption(f"planesplit-lines must be a number from 0 to {MAX_LINES}")


def _follow(value: str) -> bool:
    if value not in ("", "true", "false"):
        raise BadOption("planesplit-follow must be true or false")
    return value != "false"
