"""Errors as ClickHouse names them: a number, a name, a text, and the HTTP status of the number."""

from __future__ import annotations

import re

_CODE = re.compile(r"Code: ([0-9]{1,5})\. (?:DB::)?(?:Exception: )?")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]{2,})\)(?: \(version [^)]*\))?\s*$")
_COMMENT = re.compile(r"/\*planesplit:[0-9a-f]+\*/ ?")  # ours, in front of every statement
_VERSION = re.compile(r"\(version [^)]*\)\s*$")
MAX_TEXT = 4096  # characters of an engine's message that go on to the client

# The statuses of a ClickHouse server (its exceptionCodeToHTTPStatus); any other code is 500.
# 202 is 503 here, so that clients come again.
_STATUS_CODES = {
    400: (6, 10, 12, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 69, 72, 117, 167, 168, 376, 427),
    401: (194,),
    403: (192, 193, 497, 512, 516),
    404: (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 336, 511),
    408: (159,),
    411: (381,),
    413: (229,),
    501: (48,),
    503: (76, 202, 209, 439),
}
STATUS = {code: status for status, codes in _STATUS_CODES.items() for code in codes}


class QueryError(Exception):
    """A query or request that failed, with ClickHouse's code, its name and a text for the client.

    The text can quote the query: it goes to the client that sent it, and nowhere else.
    """

    def __init__(self, code: int, name: str, text: str) -> None:
        super().__init__(f"{name} ({code})")
        self.code, self.name, self.text = code, name, text

    @property
    def status(self) -> int:
        """The HTTP status that a ClickHouse server gives this code."""
        return STATUS.get(self.code, 500)

    def message(self, version: str) -> bytes:
        """Return the body of the answer, a line that every client knows how to parse."""
        text = f"Code: {self.code}. DB::Exception: {self.text} ({self.name}) (version {version})\n"
        return text.encode(errors="replace")


def from_engine(text: str) -> QueryError:
    """Make an error from the text of an exception of the engine."""
    text = _COMMENT.sub("", text)
    code = _CODE.search(text)
    body = _VERSION.sub("", text[code.end() :] if code else text).strip()
    name = _NAME.search(body)
    if name:
        body = body[: name.start()].strip()
    return QueryError(
        int(code[1]) if code else 1001, name[1] if name else "STD_EXCEPTION", body[:MAX_TEXT]
    )


def syntax(text: str) -> QueryError:
    """62: not a statement."""
    return QueryError(62, "SYNTAX_ERROR", f"Syntax error: {text}.")


def bad_arguments(text: str) -> QueryError:
    """36: a parameter of the request can't be used."""
    return QueryError(36, "BAD_ARGUMENTS", f"{text}.")


def not_implemented(text: str) -> QueryError:
    """48: ClickHouse knows it, this stand-in doesn't."""
    return QueryError(48, "NOT_IMPLEMENTED", f"{text} is not supported.")


def read_only(text: str = "Cannot execute query in readonly mode") -> QueryError:
    """164: a statement that changes something, by somebody who may only read."""
    return QueryError(164, "READONLY", f"{text}.")


def denied(text: str) -> QueryError:
    """497: what this user may not say."""
    return QueryError(497, "ACCESS_DENIED", f"Not enough privileges: {text}.")


def unauthenticated() -> QueryError:
    """516: the same whether the user or the password is wrong."""
    text = "Authentication failed: password is incorrect, or there is no user with such name."
    return QueryError(516, "AUTHENTICATION_FAILED", text)


def too_many_queries() -> QueryError:
    """202: no place became free in time."""
    text = "Too many simultaneous queries; try again later."
    return QueryError(202, "TOO_MANY_SIMULTANEOUS_QUERIES", text)


def timed_out(limit_s: float) -> QueryError:
    """159: the query took longer than its user may."""
    return QueryError(159, "TIMEOUT_EXCEEDED", f"Timeout exceeded: maximum: {limit_s * 1000:g} ms.")


def cancelled() -> QueryError:
    """394: killed by its user or by the end of the process."""
    return QueryError(394, "QUERY_WAS_CANCELLED", "Query was cancelled.")


def too_large(limit_bytes: int) -> QueryError:
    """229: the statement or its data is larger than allowed."""
    return QueryError(229, "QUERY_IS_TOO_LARGE", f"The limit is {limit_bytes} bytes.")
