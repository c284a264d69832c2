"""What a statement is, before the engine sees it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer_stub.clickhouse.errors import QueryError
from customer_stub.clickhouse.sql import Statement, parse


@pytest.mark.parametrize(
    ("source", "kind", "name"),
    [
        (b"SELECT 1", "SELECT", ""),
        (b"select 1 format JSON", "SELECT", "JSON"),
        (b"SELECT 1 FORMAT CSVWithNames SETTINGS max_threads = 1;", "SELECT", "CSVWithNames"),
        (b"SELECT 1 SETTINGS max_threads = 1\n FORMAT Native -- end", "SELECT", "Native"),
        (b"/* a */ WITH 1 AS x SELECT x", "SELECT", ""),
        (b"(SELECT 1 FORMAT CSV)", "SELECT", ""),
        (b"SELECT 'FORMAT JSON'", "SELECT", ""),
        (b"SELECT 1 -- FORMAT JSON", "SELECT", ""),
        (b"SELECT format('{}', 1) AS a", "SELECT", ""),
        (b"EXISTS TABLE t", "EXISTS", ""),
        (b"show tables FORMAT TSV", "SHOW", "TSV"),
        (b"CREATE TABLE t (a Int8) ENGINE = Memory", "CREATE", ""),
    ],
)
def test_kind_and_format(source: bytes, kind: str, name: str) -> None:
    found = parse(source)
    assert (found.kind, found.format, found.data_at) == (kind, name, None)


@pytest.mark.parametrize(
    ("source", "data", "name", "sql"),
    [
        (b"INSERT INTO t VALUES (1);", b" (1);", "Values", "INSERT INTO t  FROM INFILE 'f'"),
        (b"INSERT INTO t (a, b) FORMAT CSV\n1,2", b"1,2", "CSV", "(a, b)  FROM INFILE 'f'"),
        (b"INSERT INTO t FORMAT Native\n\n\x00;'", b"\n\x00;'", "Native", "FROM INFILE"),
        (
            b"INSERT INTO t SETTINGS async_insert = 0 FORMAT TSV\r\na",
            b"a",
            "TSV",
            "INSERT INTO t  FROM INFILE 'f' SETTINGS async_insert = 0  FORMAT TSV",
        ),
        (b"INSERT INTO `values` FORMAT JSONEachRow {}", b"{}", "JSONEachRow", "`values`"),
        (b"INSERT INTO t FORMAT Native", b"", "Native", "FROM INFILE"),
    ],
)
def test_data_of_an_insert(source: bytes, data: bytes, name: str, sql: str) -> None:
    found = parse(source)
    assert found.data_at is not None
    assert source[found.data_at :] == data
    assert found.format == name
    assert sql in found.from_file("f")


@pytest.mark.parametrize(
    "source",
    [b"INSERT INTO t SELECT 1", b"WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x"],
)
def test_an_insert_that_selects_has_no_data(source: bytes) -> None:
    found = parse(source)
    assert (found.kind, found.selects, found.data_at) == ("INSERT", True, None)


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b" -- nothing",
        b"selec 1",
        b"SELECT 1; SELECT 2",
        b"SELECT 1;;",
        b"SELECT 'open",
        b"SELECT \xe2\x80\x9ca\xe2\x80\x9d",  # the engine takes typographic quotes as quotes
        b"SELECT * FROM `fi\\x6ce`('a')",
        b"SELECT 1\x00",
    ],
)
def test_what_is_not_understood_is_refused(source: bytes) -> None:
    with pytest.raises(QueryError) as caught:
        parse(source)
    assert caught.value.code == 62


@pytest.mark.parametrize(
    "source",
    [
        b"SELECT * FROM file('x')",
        b"SELECT * FROM FILE ('x')",
        b"SELECT * FROM `file`('x')",
        b"SELECT * FROM \"file\" /* c */ ('x')",
        b"DESCRIBE TABLE file\n('x')",
        b"SELECT 1 WHERE 1 IN (SELECT 1 FROM file('x'))",
    ],
)
def test_calls_are_found_however_they_are_written(source: bytes) -> None:
    assert "file" in parse(source).calls


def test_strings_and_comments_hide_nothing() -> None:
    found = parse(b"SELECT 'file(1)', 'it''s \\' file(', $a$ file( $a$ /* file( */ # file(\n, x")
    assert found.calls == set()
    assert "x" in found.names


def test_phrases() -> None:
    assert ("INTO", "OUTFILE") in parse(b"SELECT 1 INTO /**/ OUTFILE 'x'").phrases


_TEXT = rb"""SELECT INSERT_INTO VALUES FORMAT JSON t ' " ` ( ) ; -- /* */ \ $a$ {x:Int8} 1"""
_WORDS = [word.replace(b"_", b" ") for word in _TEXT.split()] + [b"\n", b"\xff"]


def parsed(source: bytes) -> Statement | QueryError:
    try:
        return parse(source)
    except QueryError as error:
        return error


@settings(max_examples=30)
@given(st.lists(st.sampled_from(_WORDS), max_size=12).map(b" ".join))
def test_any_text_is_a_statement_or_a_syntax_error(source: bytes) -> None:
    found = parsed(source)
    if isinstance(found, QueryError):
        assert found.code == 62
        return
    assert source.startswith(found.text)
    if found.data_at is not None:
        assert len(found.text) < found.data_at <= len(source)
        assert found.clauses_at <= len(found.text)
