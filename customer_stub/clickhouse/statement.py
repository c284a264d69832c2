"""From a request to a job of the engine: statement, data, rights and settings together."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from customer_stub.clickhouse import errors, formats, policy
from customer_stub.clickhouse.engine import Job
from customer_stub.clickhouse.policy import Policy
from customer_stub.clickhouse.request import Request
from customer_stub.clickhouse.settings import ClickHouseSettings, UserSettings
from customer_stub.clickhouse.sql import READS, Statement, parse

TAG_BYTES = 12
_KILL = re.compile(
    r"""\s*KILL\s+QUERY\s+WHERE\s+query_id\s*=\s*
    (?:'(?P<text>[^'\\]*)'|\{\s*(?P<name>\w+)\s*:\s*String\s*\})
    (?:\s+(?:ASYNC|SYNC))?(?:\s+FORMAT\s+\w+)?\s*;?\s*""",
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job, the format of its answer, and what it may take."""

    job: Job
    format: str
    limit_s: float


@dataclass(frozen=True, slots=True)
class Kill:
    """A request to kill the caller's own query."""

    query_id: str


@contextmanager
def prepared(
    request: Request, user: UserSettings, rules: Policy, settings: ClickHouseSettings
) -> Iterator[Prepared | Kill]:
    """Make the job of a request; inside the context its data exist as a file.

    Raises:
        QueryError: not a statement, not allowed, or not supported.
    """
    source, inline = _source(request, settings)
    if (kill := _kill(source, request)) is not None:
        yield kill
        return
    statement = parse(source)
    if len(statement.text) > settings.max_query_bytes:
        raise errors.syntax(f"Max query size exceeded ({settings.max_query_bytes} bytes)")
    get = request.method != "POST"
    rules.check(user, statement, reading=get)
    reading = get or (statement.kind in READS and not user.admin)
    if statement.data_at is None:
        yield _prepared(request, user, statement, settings, _text(statement), reading=reading)
        return
    with _data(request, source, statement.data_at, inline) as file:
        sql = statement.from_file(f"/proc/{os.getpid()}/fd/{file.fileno()}")
        yield _prepared(request, user, statement, settings, sql, reading=reading)


def _source(request: Request, settings: ClickHouseSettings) -> tuple[bytes, int]:
    """Return what to parse, and how many bytes of it are not from the body."""
    query = request.fields.get("query", "").encode()
    head = query + b"\n" if query else b""
    if len(head) > settings.max_query_bytes:
        raise errors.syntax(f"Max query size exceeded ({settings.max_query_bytes} bytes)")
    source = head + request.body.read(settings.max_query_bytes + 1)
    return source, len(head)


def _kill(source: bytes, request: Request) -> Kill | None:
    match = _KILL.fullmatch(source.decode("utf-8", "replace"))
    if match is None:
        return None
    if match["name"] is None:
        return Kill(match["text"])
    if match["name"] not in request.parameters:
        text = f"Substitution `{match['name']}` is not set."
        raise errors.QueryError(456, "UNKNOWN_QUERY_PARAMETER", text)
    return Kill(request.parameters[match["name"]])


def _text(statement: Statement) -> str:
    try:
        return statement.text.decode()
    except UnicodeDecodeError:
        raise errors.syntax("the query is not UTF-8") from None


def _prepared(
    request: Request,
    user: UserSettings,
    statement: Statement,
    settings: ClickHouseSettings,
    sql: str,
    *,
    reading: bool,
) -> Prepared:
    changes = statement.kind == "INSERT"
    name = request.default_format if changes else statement.format or request.default_format
    stream = statement.kind == "SELECT" and formats.streams(name)
    wanted = policy.engine_settings(
        user,
        statement,
        request.settings,
        reading=reading,
        whole_bytes=None if stream else settings.whole_bytes,
    )
    job = Job(
        sql,
        name,
        secrets.token_hex(TAG_BYTES),
        stream,
        policy.database(user, request.database),
        request.parameters,
        wanted,
        changes,
    )
    return Prepared(job, name, policy.limit_s(wanted))


@contextmanager
def _data(request: Request, source: bytes, start: int, inline: int) -> Iterator[IO[bytes]]:
    """Yield a file that holds the data of an INSERT and nothing else."""
    with tempfile.TemporaryFile() as file:
        file.write(source[start:inline])
        request.body.seek(max(0, start - inline))
        shutil.copyfileobj(request.body, file)
        file.flush()
        yield file
