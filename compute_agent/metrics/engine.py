"""What the service asks of whoever runs statements."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from connectrpc.code import Code


class Format(enum.StrEnum):
    """How ClickHouse writes a result."""

    JSON = "JSONEachRow"
    NATIVE = "Native"


@dataclass(frozen=True, slots=True, repr=False)
class Statement:
    """One statement with its values; it has no repr, since values are the caller's.

    Args:
        sql: of the catalogue.
        values: by name, as ClickHouse reads them.
        format: of the result.
    """

    sql: str
    values: Mapping[str, str]
    format: Format


class QueryFailed(Exception):
    """A statement failed; the message is ours and holds nothing of ClickHouse's.

    Args:
        code: for the viewer.
        message: what it is, and the remedy where there is one.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class Result(Protocol):
    """The bytes of a result, as they come."""

    async def read(self) -> bytes:
        """Return what comes next, b"" at the end. It may be cancelled and called again.

        Raises:
            QueryFailed: what came before is no whole result.
        """
        ...

    def close(self) -> None:
        """Let go: a statement that still runs is cancelled. Returns at once."""
        ...


class Engine(Protocol):
    """Runs statements."""

    def start(self, statement: Statement) -> Result:
        """Start a statement.

        Raises:
            QueryFailed: too many are running (RESOURCE_EXHAUSTED).
        """
        ...
