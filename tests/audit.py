"""Hears of what this process does to the world, by Python's audit events, and which code did it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Heard = Callable[[str], None]
ROOT = Path(__file__).parent.parent
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
STORES = frozenset(
    [
        "os.mkdir",
        "os.rename",
        "os.link",
        "os.symlink",
        "os.truncate",
        "os.setxattr",
        "os.exec",
        "os.fork",
        "os.posix_spawn",
        "os.system",
        "sqlite3.connect",
        "tempfile.mkstemp",
        "tempfile.mkdtemp",
        "subprocess.Popen",
    ]
)
SENDS = frozenset(["socket.connect", "socket.sendto", "socket.bind"])
_listeners: list[tuple[Heard, frozenset[str]]] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _listeners:
        return
    heard, events = _listeners[-1]
    if event == "open":
        _, mode, flags = arguments
        writes = isinstance(mode, str) and set(mode) & set("wax+")
        if not writes and not (isinstance(flags, int) and flags & WRITING):
            return
    elif event not in events:
        return
    heard(event)


sys.addaudithook(_hook)  # for good: a process cannot take one back


@contextmanager
def audited(heard: Heard, events: frozenset[str] = STORES) -> Iterator[None]:
    """Tell `heard` of every open for writing and every other such event, until the end.

    Python's own writing of bytecode is switched off meanwhile.
    """
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    _listeners.append((heard, events))
    try:
        yield
    finally:
        _listeners.pop()
        sys.dont_write_bytecode = bytecode


def within(*packages: str) -> bool:
    """Whether code of these packages is running, or has called what runs."""
    places = tuple(f"{ROOT / package}{os.sep}" for package in packages)
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.startswith(places):
            return True
        frame = frame.f_back
    return False
