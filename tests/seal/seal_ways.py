"""Ways out of a process, as data: each is tried in a child, sealed and unsealed.

A way is a generator: what is before its `yield` happens before the seal (imports, what was open
already), what is after it is the attempt. It may raise OSError; only what landed counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

LANDED = "LANDED"


@dataclass(frozen=True)
class Reach:
    """What a way is given to reach for; the same for the child that tries and who judges."""

    directory: str  # also its working directory
    text: str  # what is to get out
    tcp_port: int
    udp_port: int
    unix_path: str
    datagram_path: str
    abstract: str
    fifo: str
    free_port: int
    victim_pid: int
    victim_address: int
    victim_fd: int
    key: int
    name: str  # unique, an identifier

    @property
    def data(self) -> bytes:
        return self.text.encode()

    def file(self, name: str = "new") -> Path:
        return Path(self.directory) / name


Attempt = Callable[[Reach], Iterator[None]]


@dataclass(frozen=True)
class Way:
    """One way out.

    Args:
        name: what is tried.
        judge: how it shows that it landed; see `seal_scene`.
        attempt: the generator.
        before: of a way that starts from something that was open already, whether the audit has
            to refuse it, or is told to look away so that the layers behind it have to hold.
        optional: the machine may not have it (privileges, kernel options).
    """

    name: str
    judge: str
    attempt: Attempt
    before: Literal["", "refused", "overlooked"] = ""
    optional: bool = False


WAYS: dict[str, Way] = {}


def way(judge: str, **more: Any) -> Callable[[Attempt], Attempt]:
    """Declare a way; its name is its function's."""

    def declare(attempt: Attempt) -> Attempt:
        name = attempt.__name__.replace("_", "-")
        assert name not in WAYS
        WAYS[name] = Way(name, judge, attempt, **more)
        return attempt

    return declare


def as_table(reach: Reach) -> dict[str, object]:
    return dataclasses.asdict(reach)
