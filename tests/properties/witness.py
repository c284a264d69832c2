"""Listens to this process while a program runs: audit events, log records, what is printed."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from evidence import Evidence

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
EVENTS = frozenset(
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
        "socket.connect",
        "socket.sendto",
        "socket.bind",
    ]
)
_listening: list[Evidence] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _listening:
        return
    if event == "open":
        _, mode, flags = arguments
        writes = isinstance(mode, str) and set(mode) & set("wax+")
        if not writes and not (isinstance(flags, int) and flags & WRITING):
            return
    elif event not in EVENTS:
        return
    _listening[-1].wrote.append(event)


sys.addaudithook(_hook)


class _Records(logging.Handler):
    def __init__(self, evidence: Evidence) -> None:
        super().__init__(logging.DEBUG)
        self._evidence = evidence

    def emit(self, record: logging.LogRecord) -> None:
        self._evidence.said.append((f"logger {record.name}", record.getMessage()))


@contextmanager
def listening(evidence: Evidence) -> Iterator[None]:
    """Add to `evidence` what this process says and does."""
    root, records, printed = logging.getLogger(), _Records(evidence), io.StringIO()
    level, bytecode = root.level, sys.dont_write_bytecode
    root.addHandler(records)
    root.setLevel(logging.DEBUG)
    sys.dont_write_bytecode = True
    _listening.append(evidence)
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            yield
    finally:
        _listening.pop()
        sys.dont_write_bytecode = bytecode
        root.setLevel(level)
        root.removeHandler(records)
        evidence.said.append(("stdout and stderr", printed.getvalue()))
