"""Who may say what, and with which settings it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from clickhouse_cast import user_settings

from customer_stub.clickhouse import policy
from customer_stub.clickhouse.errors import QueryError
from customer_stub.clickhouse.policy import Policy
from customer_stub.clickhouse.settings import UserSettings
from customer_stub.clickhouse.sql import parse

RULES = Policy(["numbers", "file", "futureSource"])


@pytest.fixture
def users(tmp_path: Path) -> dict[str, UserSettings]:
    return {
        "reader": user_settings(tmp_path, "reader"),
        "writer": user_settings(tmp_path, "writer", readonly=False),
        "admin": user_settings(tmp_path, "admin", readonly=False, admin=True),
    }


def refusal(user: UserSettings, source: bytes, *, reading: bool = False) -> int:
    try:
        RULES.check(user, parse(source), reading=reading)
    except QueryError as error:
        return error.code
    return 0


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        (b"SELECT * FROM numbers(3)", (0, 0, 0)),
        (b"SHOW TABLES", (0, 0, 0)),
        (b"INSERT INTO t VALUES (1)", (164, 0, 0)),
        (b"INSERT INTO t SELECT * FROM numbers(3)", (164, 0, 0)),
        (b"CREATE TABLE t (a Int8) ENGINE = File('CSV', '/etc/x')", (164, 497, 0)),
        (b"KILL QUERY WHERE 1", (164, 497, 0)),
        (b"SELECT * FROM file('/etc/passwd')", (497, 497, 0)),
        (b"SELECT * FROM futureSource('x')", (497, 497, 0)),
        (b"DESCRIBE TABLE url('http://x', 'CSV')", (497, 497, 0)),
        (b"INSERT INTO t SELECT * FROM s3('http://x')", (164, 497, 0)),
        (b"INSERT INTO FUNCTION file('x') SELECT 1", (164, 497, 0)),
        (b"INSERT INTO t SELECT * FROM `default`.`/etc/passwd`", (164, 497, 0)),
        (b"SELECT 1 INTO OUTFILE '/tmp/x'", (497, 497, 497)),
        (b"INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV", (497, 497, 497)),
        (b"SET readonly = 0", (48, 48, 48)),
    ],
)
def test_rights(users: dict[str, UserSettings], source: bytes, codes: tuple[int, int, int]) -> None:
    assert tuple(refusal(users[name], source) for name in ("reader", "writer", "admin")) == codes


def test_get_changes_nothing(users: dict[str, UserSettings]) -> None:
    assert refusal(users["admin"], b"INSERT INTO t VALUES (1)", reading=True) == 164
    assert refusal(users["admin"], b"SELECT 1", reading=True) == 0


def settings(user: UserSettings, source: bytes = b"SELECT 1", **wanted: str) -> dict[str, str]:
    found = policy.engine_settings(user, parse(source), wanted, reading=False, whole_bytes=None)
    assert [name for name, _ in found].count("readonly") == (1 if user.readonly else 0)
    if user.readonly:
        assert found[-1][0] == "readonly"
    return dict(found)


@pytest.mark.parametrize(
    ("wanted", "got"), [("5", "5"), ("0", "60.0"), ("9999", "60.0"), ("60", "60.0"), ("0.5", "0.5")]
)
def test_limits_can_only_be_lowered(users: dict[str, UserSettings], wanted: str, got: str) -> None:
    assert settings(users["reader"], max_execution_time=wanted)["max_execution_time"] == got


@pytest.mark.parametrize("wanted", ["x", "-1", "1e9", "nan", "inf", "", " 1"])
def test_a_limit_is_a_number(users: dict[str, UserSettings], wanted: str) -> None:
    with pytest.raises(QueryError) as caught:
        settings(users["reader"], max_result_rows=wanted)
    assert caught.value.code == 36


def test_other_settings_pass_and_names_are_checked(users: dict[str, UserSettings]) -> None:
    found = settings(users["reader"], date_time_output_format="iso", readonly="0")
    assert found["date_time_output_format"] == "iso"
    assert found["readonly"] == "1"
    wanted: Any = {"a = 1, readonly": "0"}
    with pytest.raises(QueryError) as caught:
        settings(users["reader"], **wanted)
    assert caught.value.code == 115


def test_only_the_clients_own_question_sees_settings_as_changeable(
    users: dict[str, UserSettings],
) -> None:
    asked = b"SELECT name, value, readonly FROM system.settings LIMIT 10000\n FORMAT Native"
    wanted: dict[str, str] = {}
    found = policy.engine_settings(
        users["reader"], parse(asked), wanted, reading=True, whole_bytes=None
    )
    assert "readonly" not in dict(found)
    sly = b"SELECT name FROM system.settings, file('x') LIMIT 1"
    assert settings(users["reader"], sly)["readonly"] == "1"


def test_an_answer_made_as_a_whole_is_bounded(users: dict[str, UserSettings]) -> None:
    statement = parse(b"SELECT 1 FORMAT JSON")
    found = policy.engine_settings(users["writer"], statement, {}, reading=True, whole_bytes=100)
    assert dict(found)["max_result_bytes"] == "100"


@pytest.mark.parametrize(
    ("name", "wanted", "got"),
    [("reader", "", "otel"), ("writer", "default", "otel"), ("admin", "default", "default")],
)
def test_the_current_database(
    users: dict[str, UserSettings], name: str, wanted: str, got: str
) -> None:
    assert policy.database(users[name], wanted) == got


def test_a_database_is_a_name(users: dict[str, UserSettings]) -> None:
    with pytest.raises(QueryError) as caught:
        policy.database(users["reader"], "a`; DROP")
    assert caught.value.code == 81
