"""Parameters of named queries: typed, checked here before anything is sent to ClickHouse."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tunnel.messages.planesplit_v1_pb2 import QueryParameter

MAX_TEXT_CHARS = 256  # of a string: names of actions have 63 at most
MAX_DIGITS = 20  # of UInt64
DATE_TIME_FORMAT = "%Y-%m-%d %H:%M:%S.%f"
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2261, 1, 1, tzinfo=UTC)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


class BadParameter(ValueError):
    """A parameter cannot be used; the message names it and what is allowed, never its value."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a named query.

    Args:
        name: as in the query's `{name:Type}`.
        type: ClickHouse's, one of `READERS`.
        description: one line for people.
        default: its text when it is not given; None: it must be given.
        low, high: bounds of a number.
    """

    name: str
    type: str
    description: str
    default: str | None = None
    low: int = 0
    high: int = 2**32 - 1

    def read(self, text: str) -> str:
        """Return the value as ClickHouse reads it.

        Raises:
            BadParameter: the text is no value of this type.
        """
        return READERS[self.type](self, text)

    def describe(self) -> QueryParameter:
        """Return what ListQueries says of it."""
        return QueryParameter(
            name=self.name,
            type=self.type,
            description=self.description,
            default=self.default or "",
            required=self.default is None,
        )


def bind(parameters: Sequence[Parameter], given: Mapping[str, str]) -> dict[str, str]:
    """Return the value of every parameter.

    Args:
        parameters: of the query.
        given: what the caller says.

    Raises:
        BadParameter: one is unknown, missing or malformed.
    """
    known = {parameter.name for parameter in parameters}
    for name in given:
        if name not in known:
            shown = f"'{name}'" if _NAME.fullmatch(name) else "that is no identifier"
            raise BadParameter(f"parameter {shown} is unknown; known: {', '.join(sorted(known))}")
    values = {}
    for parameter in parameters:
        text = given.get(parameter.name, parameter.default)
        if text is None:
            raise BadParameter(f"parameter '{parameter.name}' is missing")
        values[parameter.name] = parameter.read(text)
    return values


def _text(parameter: Parameter, text: str) -> str:
    if len(text) > MAX_TEXT_CHARS or not text.isprintable():
        raise BadParameter(
            f"parameter '{parameter.name}' must be at most {MAX_TEXT_CHARS} printable characters"
        )
    return text


def _number(parameter: Parameter, text: str) -> str:
    plain = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    if not plain or not parameter.low <= int(text) <= parameter.high:
        raise BadParameter(
            f"parameter '{parameter.name}' must be a number from {parameter.low} "
            f"to {parameter.high}"
        )
    return str(int(text))


def _time(parameter: Parameter, text: str) -> str:
    """Read RFC 3339, or seconds since the epoch."""
    bad = BadParameter(
        f"parameter '{parameter.name}' must be a time: RFC 3339 with a zone, or epoch seconds"
    )
    try:
        if re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,9})?", text):
            at = EARLIEST + timedelta(seconds=float(text))
        else:
            at = datetime.fromisoformat(text)
        if at.tzinfo is None or not EARLIEST <= at <= LATEST:
            raise bad
        return at.astimezone(UTC).strftime(DATE_TIME_FORMAT)
    except (ValueError, OverflowError):
        raise bad from None


READERS: dict[str, Callable[[Parameter, str], str]] = {
    "String": _text,
    "UInt32": _number,
    "UInt64": _number,
    "DateTime64(6, 'UTC')": _time,
}
TIME = "DateTime64(6, 'UTC')"
