"""What was seen of a run from outside: plain data, which the checker judges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Ending = Literal["open", "end", "torn", "left"]


@dataclass
class Seen:
    """What one viewer asked for and got.

    Args:
        tenant: whose viewer it is.
        kind: tail, watch, query, secret, stale, trespass.
        ident: of the exchange.
        lines: how many the source has; their numbers begin at 0.
        secret: the value that was written.
        status, body: of the answer.
        ending: how its framing ended.
        excused: why it need not be complete, "" if it has to be.
    """

    tenant: int
    kind: str
    ident: int
    lines: int = 0
    secret: bytes = b""
    status: int = 0
    body: bytearray = field(default_factory=bytearray)
    ending: Ending = "open"
    excused: str = ""


@dataclass
class Evidence:
    """What was seen of a whole run.

    Args:
        marks: of each tenant: bytes that all its payload has, and nobody else's.
        seen: by viewers.
        heard: by agents: (tenant, request).
        holes: lines that the source itself lost, by exchange.
        said: (where, text): journals, loggers, stdout, pages.
        wrote: attempts to write, connect or start something, as audit events.
        ahead: most bytes of one exchange between agent and viewer at a time; their bound.
        bound: of `ahead`, by the windows.
        left: tasks that are still there when all is closed.
    """

    marks: tuple[bytes, ...]
    secret: str
    seen: list[Seen] = field(default_factory=list)
    heard: list[tuple[int, bytes]] = field(default_factory=list)
    holes: dict[int, set[int]] = field(default_factory=dict)
    said: list[tuple[str, str]] = field(default_factory=list)
    wrote: list[str] = field(default_factory=list)
    ahead: int = 0
    bound: int = 0
    left: list[str] = field(default_factory=list)
