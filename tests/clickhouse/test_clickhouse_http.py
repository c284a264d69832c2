"""The HTTP interface over a fake engine: heads, bodies, errors, users."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest
import trio
from clickhouse_cast import Script, front, user_settings

from customer_stub.clickhouse import errors
from customer_stub.clickhouse.errors import QueryError
from customer_stub.clickhouse.users import Users

UNKNOWN = QueryError(60, "UNKNOWN_TABLE", "No such table")


async def test_an_answer_has_the_heads_that_clients_look_for(tmp_path: Path) -> None:
    async with front(tmp_path, {"SELECT": Script([b"1\n", b"2\n"])}, display_name="d1") as made:
        got = await made.ask(b"SELECT 1", query_id="q-1")
    assert (got.status, got.body, got.whole) == (200, b"1\n2\n", True)
    assert got.headers["x-clickhouse-query-id"] == "q-1"
    assert got.headers["x-clickhouse-format"] == "TabSeparated"
    assert got.headers["x-clickhouse-timezone"] == "UTC"
    assert got.headers["x-clickhouse-server-display-name"] == "d1"
    assert len(got.headers["x-clickhouse-exception-tag"]) == 16
    assert json.loads(got.headers["x-clickhouse-summary"])["read_rows"] == "1"
    assert made.engine.open_cursors == 0


async def test_the_query_comes_by_url_body_or_both(tmp_path: Path) -> None:
    async with front(tmp_path) as made:
        await made.ask(method="GET", query="SELECT 1")
        await made.ask(b"SELECT 2 FORMAT JSONEachRow", default_format="CSV")
        await made.ask(b"FORMAT CSV", query="SELECT 3")
        await made.ask(b"SELECT 4", headers={"X-ClickHouse-Format": "CSV"}, param_a="x", final="1")
    jobs = made.engine.jobs
    assert [job.sql for job in jobs] == [
        "SELECT 1",
        "SELECT 2 FORMAT JSONEachRow",
        "SELECT 3\nFORMAT CSV",
        "SELECT 4",
    ]
    assert [job.format for job in jobs] == ["TabSeparated", "JSONEachRow", "CSV", "CSV"]
    assert jobs[3].parameters == {"a": "x"}
    assert ("final", "1") in jobs[3].settings
    assert all(job.stream and job.settings[-1] == ("readonly", "1") for job in jobs)


async def test_data_of_an_insert_reach_the_engine_as_they_came(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    async with front(tmp_path) as made:
        user = {"user": "collector"}
        await made.ask(data, query="INSERT INTO t FORMAT Native", **user)
        coded = {"Content-Encoding": "gzip"}
        await made.ask(gzip.compress(data), query="INSERT INTO t FORMAT X", headers=coded, **user)
        await made.ask(b"INSERT INTO t FORMAT CSV\n" + data, **user)
        await made.ask(b"3,4", query="INSERT INTO t FORMAT CSV 1,2", **user)
        got = await made.ask(b"INSERT INTO t VALUES (1)", **user)
    assert made.engine.data == [data, data, data, b"1,2\n3,4", b" (1)"]
    assert got.status == 200
    assert all(job.writes and not job.stream for job in made.engine.jobs)
    assert all(name != "readonly" for job in made.engine.jobs for name, _ in job.settings)


async def test_parameters_of_a_form(tmp_path: Path) -> None:
    body = (
        b'--B\r\nContent-Disposition: form-data; name="query"\r\n\r\nSELECT {a:String}\r\n'
        b'--B\r\nContent-Disposition: form-data; name="param_a"\r\n\r\nline\\n\xc3\xbc\r\n--B--\r\n'
    )
    file = body.replace(b'name="param_a"', b'name="t"; filename="t"')
    head = {"Content-Type": "multipart/form-data; boundary=B"}
    async with front(tmp_path) as made:
        got = await made.ask(body, headers=head)
        refused = await made.ask(file, headers=head)
    assert got.status == 200
    assert made.engine.jobs[0].sql == "SELECT {a:String}"
    assert made.engine.jobs[0].parameters == {"a": "line\\nü"}
    assert (refused.status, refused.code) == (501, 48)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UNKNOWN, 404),
        (errors.syntax("x"), 400),
        (errors.timed_out(1), 408),
        (QueryError(241, "MEMORY_LIMIT_EXCEEDED", "x"), 500),
    ],
)
@pytest.mark.parametrize("when", ["refused", "before the first piece"])
async def test_errors_before_the_answer(
    tmp_path: Path, error: QueryError, status: int, when: str
) -> None:
    script = Script(refused=error) if when == "refused" else Script(error=error)
    async with front(tmp_path, {"SELECT": script}) as made:
        got = await made.ask(b"SELECT 1")
        assert (got.status, got.code, got.whole) == (status, error.code, True)
        assert got.body.decode().startswith(f"Code: {error.code}. DB::Exception: ")
        assert got.body.endswith(f"({error.name}) (version 26.1.1.1)\n".encode())
    assert made.engine.open_cursors == 0


async def test_an_error_in_mid_answer_is_no_end(tmp_path: Path) -> None:
    async with front(tmp_path, {"SELECT": Script([b"1\n"], error=UNKNOWN)}) as made:
        got = await made.ask(b"SELECT 1 FORMAT TSV")
    tag = got.headers["x-clickhouse-exception-tag"].encode()
    message = UNKNOWN.message("26.1.1.1")
    block = b"\r\n__exception__\r\n%b\r\n%b%d %b\r\n__exception__\r\n"
    assert got.status == 200
    assert got.body == b"1\n" + block % (tag, message, len(message), tag)
    assert not got.whole
    assert got.headers["raised"] == "Broken"
    assert not any("internal_error" in line for line in made.journal)


async def test_wait_end_of_query_turns_it_into_an_http_error(tmp_path: Path) -> None:
    script = Script([b"1\n"] * 10, error=UNKNOWN)
    async with front(tmp_path, {"SELECT": script}, wait_bytes=100) as made:
        got = await made.ask(b"SELECT 1", wait_end_of_query="1")
        assert (got.status, got.code, got.whole) == (404, 60, True)
        script.pieces[:] = [b"x" * 60] * 2  # more than is held back
        late = await made.ask(b"SELECT 1", wait_end_of_query="1")
    assert late.status == 200
    assert not late.whole


async def test_answers_are_compressed_when_asked(tmp_path: Path) -> None:
    async with front(tmp_path, {"SELECT": Script([b"1\n", b"2\n"])}) as made:
        accept = {"Accept-Encoding": "gzip"}
        got = await made.ask(b"SELECT 1", headers=accept, enable_http_compression="1")
        plain = await made.ask(b"SELECT 1", headers=accept)
    assert got.headers["content-encoding"] == "gzip"
    assert gzip.decompress(got.body) == b"1\n2\n"
    assert plain.body == b"1\n2\n"


@pytest.mark.parametrize("path", ["/ping", "/replicas_status", "/"])
async def test_health_needs_no_password(tmp_path: Path, path: str) -> None:
    async with front(tmp_path) as made:
        got = await made.ask(method="GET", path=path, user=None)
        other = await made.ask(method="GET", path="/play", user=None)
    assert (got.status, got.body) == (200, b"Ok.\n")
    assert other.status == 404


def test_three_ways_to_give_a_password(tmp_path: Path) -> None:
    def asked(name: str, password: str) -> list[str]:
        users = Users([user_settings(tmp_path, "agent")])
        basic = base64.b64encode(f"{name}:{password}".encode()).decode()
        ways = [
            ({"x-clickhouse-user": name, "x-clickhouse-key": password}, {}),
            ({"authorization": f"Basic {basic}"}, {}),
            ({}, {"user": name, "password": password}),
        ]
        results = []
        for headers, fields in ways:
            try:
                results.append(users.authenticate(headers, fields).name)
            except QueryError as error:
                results.append(str(error.code))
        return results

    assert asked("agent", "pw") == ["agent"] * 3
    assert asked("agent", "pW") == asked("nobody", "pw") == asked("agent", "") == ["516"] * 3


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer x"},
        {"authorization": "Basic !"},
        {"authorization": "Basic /w=="},
        {"x-clickhouse-user": "agent", "x-clickhouse-key": "pw", "authorization": "Basic x"},
    ],
)
async def test_other_credentials_are_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    async with front(tmp_path) as made:
        got = await made.ask(b"SELECT 1", user=None, headers=headers)
    assert (got.status, got.code) == (403, 516)
    assert made.engine.jobs == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"compress": "1"}, 48),
        ({"decompress": "1"}, 48),
        ({"role": "x"}, 48),
        ({"session_check": "1"}, 372),
        ({"query_id": "a b"}, 36),
        ({"query_id": "\n"}, 36),
        ({"default_format": "A-B"}, 73),
        ({"database": "a`b"}, 81),
        ({"max_execution_time": "x"}, 36),
        ({"a=b": "x"}, 115),
    ],
)
async def test_bad_fields(tmp_path: Path, fields: dict[str, str], code: int) -> None:
    async with front(tmp_path) as made:
        got = await made.ask(b"SELECT 1", **fields)
    assert got.code == code
    assert made.engine.jobs == []


async def test_bounds_of_a_request(tmp_path: Path) -> None:
    limits = {"max_query_bytes": 1024, "max_insert_bytes": 65_536, "max_parameters": 8}
    async with front(tmp_path, **limits) as made:
        long = await made.ask(b"SELECT '" + b"x" * 2000 + b"'")
        data = await made.ask(bytes(70_000), query="INSERT INTO t FORMAT X", user="collector")
        many = await made.ask(b"SELECT 1", **{f"s{n}": "1" for n in range(9)})
        method = await made.ask(b"SELECT 1", method="PUT")
        get = await made.ask(method="GET", query="INSERT INTO t VALUES (1)", user="collector")
    assert [got.code for got in (long, data, many, method, get)] == [62, 229, 36, 48, 164]
    assert made.engine.jobs == []


async def test_a_session_is_taken_and_keeps_nothing(tmp_path: Path) -> None:
    async with front(tmp_path) as made:
        assert (await made.ask(b"SELECT 1", session_id="s", session_timeout="60")).status == 200
        assert (await made.ask(b"SET max_threads = 1", session_id="s")).code == 48


async def test_the_journal_knows_numbers_only(tmp_path: Path) -> None:
    canary = "canary-" + tmp_path.name[:8]
    script = Script([canary.encode()], error=QueryError(60, "UNKNOWN_TABLE", canary))
    async with front(tmp_path, {"SELECT": script}) as made:
        await made.ask(f"SELECT '{canary}'".encode(), param_a=canary)
        await made.ask(b"SELECT 1", user=canary, password=canary)
        await made.ask(canary.encode())
    lines = [json.loads(line) for line in made.journal]
    assert [line["code"] for line in lines if line["event"] == "query"] == [60, 516, 62]
    assert canary not in "".join(made.journal)


async def test_a_client_that_leaves_ends_its_query(tmp_path: Path) -> None:
    async with front(tmp_path, {"SELECT": Script([b"1\n"], endless=True)}) as made:
        left, begun = trio.Event(), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: made.ask(b"SELECT 1", left=left, begun=begun))
            await begun.wait()
            left.set()
        await made.settled()
        assert made.engine.killed == [made.engine.jobs[0].tag]
    assert json.loads(made.journal[0])["code"] == 394
