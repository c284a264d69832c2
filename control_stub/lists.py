"""Filters, order and pages of list RPCs, as SQL with bound parameters only."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.common import list_pb2

MAX_FILTERS = 16  # the CLI sends five at most
MAX_VALUES = 32  # more than there are phases

_OPERATORS = {
    list_pb2.Filter.EQUAL: "{0} = ?",
    list_pb2.Filter.NOT_EQUAL: "{0} != ?",
    list_pb2.Filter.GREATER_THAN: "{0} > ?",
    list_pb2.Filter.GREATER_THAN_OR_EQUAL: "{0} >= ?",
    list_pb2.Filter.LESS_THAN: "{0} < ?",
    list_pb2.Filter.LESS_THAN_OR_EQUAL: "{0} <= ?",
    list_pb2.Filter.CONTAINS: "instr({0}, ?) > 0",
}
_SETS = {list_pb2.Filter.VALUE_IN: "IN", list_pb2.Filter.VALUE_NOT_IN: "NOT IN"}

Convert = Callable[[str], int | str]


class Page(NamedTuple):
    """One page of rows and the token of the next one, empty at the end."""

    rows: list[sqlite3.Row]
    token: str


class Listing(NamedTuple):
    """What may be listed: a table whose rows are told apart by a time and a name.

    Args:
        fields: what can be filtered by, with the conversion of a filter's text.
        time, name: columns of the order; `time` is the only sort key.
    """

    table: str
    time: str
    name: str
    fields: Mapping[str, tuple[str, Convert]]


def nanoseconds(text: str) -> int:
    """Read an ISO 8601 time as nanoseconds since the epoch."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1e9)


def invalid(message: str) -> ConnectError:
    """Return the error of a malformed request."""
    return ConnectError(Code.INVALID_ARGUMENT, message)


def page(
    db: sqlite3.Connection,
    listing: Listing,
    scope: Mapping[str, str],
    request: list_pb2.ListRequest,
    max_rows: int,
) -> Page:
    """Return one page of a listing within a scope of exact column values.

    Raises:
        ConnectError: INVALID_ARGUMENT for a filter, order or token that is not supported.
    """
    clauses = [f"{column} = ?" for column in scope]
    values: list[Any] = list(scope.values())
    for clause, bound in _filters(listing, request.filters):
        clauses.append(clause)
        values += bound
    down = _descending(listing, request.sort_by)
    if request.token:
        clauses.append(f"({listing.time}, {listing.name}) {'<' if down else '>'} (?, ?)")
        values += _position(request.token)
    rows = min(request.limit or max_rows, max_rows)
    way = "DESC" if down else "ASC"
    found = db.execute(
        f"SELECT * FROM {listing.table} WHERE {' AND '.join(clauses)}"  # noqa: S608 - our own names
        f" ORDER BY {listing.time} {way}, {listing.name} {way} LIMIT ?",
        (*values, rows + 1),
    ).fetchall()
    more = len(found) > rows
    last = found[rows - 1] if more else None
    token = "" if last is None else f"{last[listing.time]}:{last[listing.name]}"
    return Page(found[:rows], token)


def _filters(
    listing: Listing, filters: Iterable[list_pb2.Filter]
) -> Iterable[tuple[str, list[int | str]]]:
    filters = list(filters)
    if len(filters) > MAX_FILTERS:
        raise invalid(f"more than {MAX_FILTERS} filters")
    for wanted in filters:
        if wanted.field not in listing.fields:
            raise invalid(f"can filter by: {', '.join(listing.fields)}")
        column, convert = listing.fields[wanted.field]
        if not 1 <= len(wanted.values) <= MAX_VALUES:
            raise invalid(f"a filter has 1 to {MAX_VALUES} values")
        try:
            bound = [convert(value) for value in wanted.values]
        except ValueError:
            raise invalid(f"filter by {column}: malformed value") from None
        yield _clause(column, wanted.function, len(bound)), bound


def _clause(column: str, function: int, values: int) -> str:
    if function in _SETS:
        return f"{column} {_SETS[function]} ({', '.join('?' * values)})"
    if function in _OPERATORS and values == 1:
        return _OPERATORS[function].format(column)
    raise invalid(f"filter by {column}: function not supported")


def _descending(listing: Listing, sort: list_pb2.Sort) -> bool:
    if sort.key not in ("", "created_at", listing.time):
        raise invalid("can sort by: created_at")
    return bool(sort.direction == list_pb2.Sort.DESCENDING)


def _position(token: str) -> tuple[int, str]:
    moment, _, name = token.partition(":")
    if not moment.isascii() or not moment.isdigit() or len(moment) > 19:
        raise invalid("malformed page token")
    return int(moment), name
