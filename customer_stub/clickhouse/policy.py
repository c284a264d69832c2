"""What a user may say, and the settings that a query runs with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from customer_stub.clickhouse import errors
from customer_stub.clickhouse.settings import UserSettings
from customer_stub.clickhouse.sql import READS, Statement

# Table functions that read and write nothing but tables of this database. Every other one that the
# engine has (file, url, s3, remote, …) is refused to everybody but an admin.
_HARMLESS_WORDS = """
    numbers numbers_mt zeros zeros_mt generate_series generateseries generaterandom primes
    values null view viewifpermitted viewexplain format merge input sqlstandardvalues
    mergetreeindex mergetreetextindex mergetreeprojection mergetreeanalyzeindexes
    mergetreeanalyzeindexesuuid
"""
HARMLESS = frozenset(_HARMLESS_WORDS.split())
# What the engine's list may lack, and scalar functions that reach out of the database.
_ALWAYS_REFUSED_WORDS = """
    file filesystem filecluster url urlcluster s3 s3cluster gcs oss cosn hdfs hdfscluster
    azureblobstorage azureblobstoragecluster remote remotesecure cluster
    clusterallreplicas executable python mysql postgresql mongodb sqlite redis jdbc odbc
    hudi iceberg deltalake ytsaurus arrowflight dictionary loop catboostevaluate
    addresstoline addresstosymbol readfile sleep sleepeachrow
"""
ALWAYS_REFUSED = frozenset(_ALWAYS_REFUSED_WORDS.split())
_LIMITS = {
    "max_execution_time": "max_execution_s",
    "max_result_rows": "max_result_rows",
    "max_result_bytes": "max_result_bytes",
    "max_memory_usage": "max_memory_bytes",
    "max_threads": "max_threads",
}
MAX_BLOCK_ROWS = 65_409  # the engine's default; a block is what an answer holds in memory
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")
# `readonly = 1` shows every setting as unchangeable, though the HTTP interface takes them, this
# one too; clients that ask first would send none. So this one statement runs without it.
_SETTINGS_QUERY = re.compile(
    rb"\s*SELECT [a-z, *]+ FROM system\.settings( LIMIT [0-9]+)?(\s+FORMAT \w+)?\s*", re.IGNORECASE
)

Settings = list[tuple[str, str]]


class Policy:
    """The rules of one ClickHouse.

    Args:
        table_functions: names of the table functions that the engine has.
    """

    def __init__(self, table_functions: Iterable[str]) -> None:
        found = {name.lower() for name in table_functions}
        self._refused = (found - HARMLESS) | ALWAYS_REFUSED

    def check(self, user: UserSettings, statement: Statement, *, reading: bool) -> None:
        """Raise QueryError unless the user may run the statement.

        Args:
            user: who asks.
            statement: what.
            reading: the request's method allows no change (GET), whoever asks.
        """
        if ("INTO", "OUTFILE") in statement.phrases or ("FROM", "INFILE") in statement.phrases:
            raise errors.denied("INTO OUTFILE and FROM INFILE have no meaning over HTTP")
        if statement.kind in ("SET", "USE"):
            raise errors.not_implemented("A session that keeps settings or a database")
        changes = statement.kind not in READS
        if changes and (reading or user.readonly):
            raise errors.read_only()
        if user.admin:
            return
        if changes and statement.kind != "INSERT":
            raise errors.denied(f"{statement.kind} needs an admin")
        for name in sorted(statement.calls & self._refused):
            raise errors.denied(f"{name}() needs an admin")
        if statement.kind == "INSERT" and "function" in statement.names:
            raise errors.denied("INSERT INTO FUNCTION needs an admin")
        if changes and "default" in statement.names:
            raise errors.denied("the database 'default' shows files and needs an admin")


def database(user: UserSettings, wanted: str) -> str:
    """Return the current database of a query: `otel` unless the request names another.

    Raises:
        QueryError: 81 for what is no name.
    """
    if not wanted or (wanted == "default" and not user.admin):
        return "otel"  # the engine's own default shows files as tables
    if not _NAME.fullmatch(wanted):
        raise errors.QueryError(81, "UNKNOWN_DATABASE", "Database does not exist.")
    return wanted


def engine_settings(
    user: UserSettings,
    statement: Statement,
    wanted: Mapping[str, str],
    *,
    reading: bool,
    whole_bytes: int | None,
) -> Settings:
    """Return the settings to apply, in this order: `readonly` has to be the last.

    Args:
        user: whose limits hold; a request can only lower them.
        statement: what will run.
        wanted: settings of the request.
        reading: whether the engine has to refuse every change.
        whole_bytes: further bound of an answer that is made as a whole; None for a stream.

    Raises:
        QueryError: a name that is none, or a limit that is no number.
    """
    settings = {name: str(getattr(user, field)) for name, field in _LIMITS.items()}
    settings["max_block_size"] = str(MAX_BLOCK_ROWS)
    if whole_bytes is not None:
        settings["max_result_bytes"] = str(min(whole_bytes, user.max_result_bytes))
    for name, value in wanted.items():
        if not _NAME.fullmatch(name):
            raise errors.QueryError(115, "UNKNOWN_SETTING", "Unknown setting.")
        settings[name] = _lower(name, value, settings[name]) if name in settings else value
    settings.pop("readonly", None)
    ordered = list(settings.items())
    only_reads = reading or user.readonly or wanted.get("readonly", "0") != "0"
    if only_reads and not _SETTINGS_QUERY.fullmatch(statement.text):
        ordered.append(("readonly", "1"))
    return ordered


def limit_s(settings: Settings) -> float:
    """Return how long a query with these settings may take, seconds."""
    return float(dict(settings)["max_execution_time"])


def _lower(name: str, value: str, limit: str) -> str:
    if not _NUMBER.fullmatch(value):
        raise errors.bad_arguments(f"Setting {name} is not a number")
    return value if 0 < float(value) < float(limit) else limit
