"""Listens to this process while a program runs: audit events, log records, what is printed."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from audit import SENDS, STORES, audited
from evidence import Evidence


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
    level = root.level
    root.addHandler(records)
    root.setLevel(logging.DEBUG)
    try:
        with (
            audited(evidence.wrote.append, STORES | SENDS),
            redirect_stdout(printed),
            redirect_stderr(printed),
        ):
            yield
    finally:
        root.setLevel(level)
        root.removeHandler(records)
        evidence.said.append(("stdout and stderr", printed.getvalue()))
