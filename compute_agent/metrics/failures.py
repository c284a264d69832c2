"""What went wrong in ClickHouse, in our own words. Its text is dropped: it quotes values."""

from __future__ import annotations

import re

from connectrpc.code import Code

from compute_agent.metrics.engine import QueryFailed

# Numbers: ClickHouse's src/Common/ErrorCodes.cpp.
_LIMIT = "the result is over a limit of the agent; ask for less: a shorter time, a longer step"
_SLOW = "the query took too long; ask for less: a shorter time, a longer step"
_LOGIN = "ClickHouse refuses the agent's user"
FAILURES: dict[int, tuple[Code, str]] = {
    158: (Code.RESOURCE_EXHAUSTED, _LIMIT),  # TOO_MANY_ROWS
    159: (Code.DEADLINE_EXCEEDED, _SLOW),  # TIMEOUT_EXCEEDED
    160: (Code.DEADLINE_EXCEEDED, _SLOW),  # TOO_SLOW
    202: (Code.RESOURCE_EXHAUSTED, "ClickHouse runs too many queries already"),
    241: (Code.RESOURCE_EXHAUSTED, "the query needs more memory than it may have"),
    307: (Code.RESOURCE_EXHAUSTED, _LIMIT),  # TOO_MANY_BYTES
    394: (Code.ABORTED, "the query was cancelled in ClickHouse"),
    396: (Code.RESOURCE_EXHAUSTED, _LIMIT),  # TOO_MANY_ROWS_OR_BYTES
    497: (Code.INTERNAL, _LOGIN),  # ACCESS_DENIED
    516: (Code.INTERNAL, _LOGIN),  # AUTHENTICATION_FAILED
}
REFUSED_LOGIN = 516

# The block that ends a body whose head said 200 (ClickHouse 25.11 and newer); before it was the
# error's text alone, at the end. An error's text is cut to 16 KiB by the server.
HELD_BYTES = 16_640
_OPEN = b"__exception__\r\n"
_CODE = re.compile(rb"Code: (\d{1,6})")
_OLD = re.compile(
    rb"Code: (\d{1,6})\. DB::Exception: [^\0]{0,16384}\(version [^\0\n]{1,100}\)\s*\Z"
)


def failure(code: int) -> QueryFailed:
    """Return what a viewer is told about an error of ClickHouse."""
    found = FAILURES.get(code)
    return QueryFailed(*found) if found else QueryFailed(Code.INTERNAL, f"ClickHouse: error {code}")


def unreachable() -> QueryFailed:
    """Return what a viewer is told when there is no answer, or it breaks off."""
    return QueryFailed(Code.UNAVAILABLE, "ClickHouse cannot be reached, or broke off; try again")


def cut_exception(tail: bytes, tag: str | None) -> tuple[bytes, int | None]:
    """Cut an error off the end of a body.

    Args:
        tail: the last `HELD_BYTES` of it, or all.
        tag: of the header X-ClickHouse-Exception-Tag; None: an older server.

    Returns:
        The data before it, and the error's code: None without an error, 0 if it has none.
    """
    if tag is None:
        old = _OLD.search(tail)
        return (tail[: old.start()], int(old[1])) if old else (tail, None)
    at = tail.find(_OPEN + tag.encode())
    if at < 0:
        return tail, None
    code = _CODE.search(tail, at)
    return tail[:at].removesuffix(b"\r\n"), int(code[1]) if code else 0
