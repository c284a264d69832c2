"""The real process: chdb behind HTTP, with clickhouse-connect and curl, good and bad clients."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clickhouse_cast import Server, ask, client, server, until
from clickhouse_connect import get_client
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from planesplit.pki import Authority

pytestmark = pytest.mark.integration

ROWS = 150_000
FOR_EVER = "SELECT count() FROM numbers(100000000000000) WHERE sipHash64(number) = 1"
BREAKS = "SELECT number, throwIf(number = 400000) AS t FROM numbers(500000)"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = f"generate_rows = {ROWS}\n"
    with server(tmp_path_factory.mktemp("clickhouse"), config) as made:
        yield made


def exit_code(running: Server, *arguments: str) -> tuple[int, bytes]:
    command = ["curl", "-sS", "--max-time", "30", *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    return done.returncode, done.stdout


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_clickhouse_connect_reads(running: Server, compress: bool | str) -> None:
    with client(running, compress=compress) as reader:
        values = {"n": 5, "s": "it's\t\\ü\n", "a": ["x'", "y"]}
        asked = "SELECT {n:UInt64}, {s:String}, {a:Array(String)}, NULL, toLowCardinality('c')"
        rows = reader.query(asked, parameters=values).result_rows
        assert rows == [(5, "it's\t\\ü\n", ["x'", "y"], None, "c")]
        counted = reader.query("SELECT count() FROM otel_metrics_gauge")
        assert counted.result_rows == [(ROWS,)]
        assert reader.command("SELECT timezone()") == "UTC"
        assert reader.command("SHOW TABLES FROM otel") == "otel_logs\notel_metrics_gauge"
        names = reader.query("SELECT MetricName, Value FROM otel_metrics_gauge LIMIT 0")
        assert names.column_names == ("MetricName", "Value")
        long = reader.query("SELECT length({s:String})", parameters={"s": "x" * 200_000})
        assert long.result_rows == [(200_000,)]


SELECT = "SELECT MetricName, TimeUnix, Value FROM otel_metrics_gauge"


@pytest.mark.parametrize(
    "name",
    ["query_row_block_stream", "query_df_stream", "query_arrow_stream", "query_df_arrow_stream"],
)
def test_clickhouse_connect_streams(running: Server, name: str) -> None:
    with client(running) as reader, getattr(reader, name)(SELECT) as stream:
        sizes = [len(block) for block in stream]
    assert sum(sizes) == ROWS
    assert len(sizes) > 1


def test_clickhouse_connect_streams_columns_and_raw_bytes(running: Server) -> None:
    with client(running) as reader:
        with reader.query_column_block_stream(SELECT) as stream:
            assert sum(len(block[0]) for block in stream) == ROWS
        raw = reader.raw_stream(SELECT, fmt="JSONEachRow").read()
        assert raw.count(b"\n") == ROWS
        assert "Value" in json.loads(raw.partition(b"\n")[0])
        frame = reader.query_df(f"{SELECT} LIMIT 7")
        assert frame.shape == (7, 3)
        assert reader.query_arrow(SELECT).num_rows == ROWS
        text = reader.raw_query("SELECT number FROM numbers(200000)", fmt="CSVWithNames")
        assert text.split(b"\n")[:2] == [b'"number"', b"0"]
        assert text.count(b"number") == 1


def test_clickhouse_connect_inserts(running: Server) -> None:
    import pandas
    import pyarrow

    for compress in (False, "lz4", "zstd", "gzip"):
        with client(running, "collector", compress=compress) as writer:
            mark = f"mark-{compress}"
            rows = [[f"{mark}-{n}", {"k": "v'\n"}] for n in range(1000)]
            done = writer.insert("otel_logs", rows, column_names=["Body", "LogAttributes"])
            assert done.written_rows == 1000
            frame = pandas.DataFrame({"Body": [f"{mark}-df"], "ServiceName": ["s"]})
            assert writer.insert_df("otel_logs", frame).written_rows == 1
            table = pyarrow.table({"Body": [f"{mark}-arrow"]})
            assert writer.insert_arrow("otel_logs", table).written_rows == 1
            asked = "SELECT count() FROM otel_logs WHERE startsWith(Body, {m:String})"
            assert writer.query(asked, parameters={"m": mark}).result_rows == [(1002,)]


def test_the_same_batch_again_is_one_insert(running: Server) -> None:
    for _ in range(2):
        row = '{"Body": "once", "Timestamp": "2026-01-01 00:00:00.000000001"}'
        answer = ask(running, f"INSERT INTO otel_logs FORMAT JSONEachRow\n{row}", "collector")
        assert answer.status_code == 200
    counted = ask(running, "SELECT count(), any(Timestamp) FROM otel_logs WHERE Body = 'once'")
    assert counted.text == "1\t2026-01-01 00:00:00.000000001\n"


@pytest.mark.parametrize(
    ("sql", "fields", "code", "status"),
    [
        ("SELECT * FROM nosuch", {}, 60, 404),
        ("SELECT nosuch", {}, 47, 404),
        ("SELECT (", {}, 62, 400),
        ("selec 1", {}, 62, 400),
        ("SELECT 1 FORMAT NoSuch", {}, 73, 404),
        ("SELECT {a:UInt8}", {"param_a": "x"}, 457, 500),
        ("SELECT 1", {"nosuch": "1"}, 115, 404),
        (FOR_EVER, {"max_execution_time": "0.3"}, 159, 408),
        ("SELECT number FROM numbers(1000)", {"max_result_rows": "10"}, 396, 500),
        ("SELECT groupArray(number) FROM numbers(90000000)", {"max_memory_usage": "50000000"},
         241, 500),
        ("SELECT '" + "x" * 300_000 + "'", {}, 62, 400),
        ("INSERT INTO otel_logs (Body) VALUES ('x')", {}, 164, 500),
        ("SELECT 1 SETTINGS max_execution_time = 0", {}, 164, 500),
    ],
)  # fmt: skip
def test_bad_queries(
    running: Server, sql: str, fields: dict[str, str], code: int, status: int
) -> None:
    answer = ask(running, sql, **fields)
    assert (int(answer.headers["x-clickhouse-exception-code"]), answer.status_code) == (
        code,
        status,
    )
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert "planesplit:" not in answer.text
    assert ask(running, "SELECT 1").text == "1\n"


REACHING_OUT = [
    "SELECT * FROM file('{path}', 'LineAsString')",
    "DESCRIBE TABLE file('{path}', 'LineAsString')",
    "SELECT * FROM default.`{path}`",
    "SELECT * FROM '{path}'",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1:1/a/b', 'CSV')",
    "SELECT * FROM remote('127.0.0.1', system.one)",
    "SELECT * FROM filesystem('/etc')",
    "SELECT 1 INTO OUTFILE '{path}.out'",
    "INSERT INTO FUNCTION file('{path}.out', 'CSV') SELECT 1",
    "INSERT INTO otel.otel_logs (Body) SELECT * FROM default.`{path}`",
    "INSERT INTO otel.otel_logs (Body) FROM INFILE '{path}' FORMAT LineAsString",
    "CREATE TABLE otel.f (l String) ENGINE = File('LineAsString', '{path}')",
    "BACKUP TABLE otel.otel_logs TO File('{path}.out')",
    "KILL QUERY WHERE 1",
    "SYSTEM SHUTDOWN",
]


@pytest.mark.parametrize("sql", REACHING_OUT)
@pytest.mark.parametrize("user", ["agent", "collector"])
def test_nobody_reaches_out_of_the_database(
    running: Server, tmp_path: Path, user: str, sql: str
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("canary\n")
    for database in ("otel", "default"):
        answer = ask(running, sql.format(path=secret), user, database=database)
        assert answer.status_code >= 400
        assert "canary" not in answer.text
    assert [file.name for file in tmp_path.iterdir()] == ["secret.txt"]


def test_an_admin_may(running: Server, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("seen\n")
    sql = f"SELECT * FROM file('{tmp_path}/a.txt', 'LineAsString')"
    assert ask(running, sql, "root").text == "seen\n"


def test_a_reader_can_set_limits_and_be_stricter(running: Server) -> None:
    limits = {
        "max_execution_time": 5,
        "max_threads": 1,
        "readonly": 1,
        "date_time_output_format": "iso",
    }
    with client(running, autogenerate_session_id=False) as reader:
        assert reader.raw_query("SELECT 1", fmt="JSONEachRow", settings=limits) == b'{"1":1}\n'


def test_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "pki")
    leaf = authority.server("clickhouse")
    config = f'[tls]\ncert_file = "{leaf.cert_file}"\nkey_file = "{leaf.key_file}"\n'
    with server(tmp_path, config) as made:
        options: Any = {"interface": "https", "ca_cert": str(authority.ca_file)}
        with client(made, "collector", **options) as writer:
            writer.insert("otel_logs", [["a"], ["b"]], column_names=["Body"])
            assert writer.query("SELECT count() FROM otel_logs").result_rows == [(2,)]
        until(lambda: len(made.journal()) >= 5, "no journal")
        assert {line["code"] for line in made.journal()} == {0}


def test_typed_errors(running: Server) -> None:
    with client(running) as reader:
        with pytest.raises(DatabaseError) as caught:
            reader.query("SELECT * FROM nosuch")
        assert caught.value.code == 60
    with pytest.raises(DatabaseError) as refused:
        get_client(host="127.0.0.1", port=running.port, username="agent", password="wrong")
    assert refused.value.code == 516


def test_an_error_in_mid_stream_is_seen_by_every_api(running: Server) -> None:
    with client(running) as reader:
        with (
            pytest.raises(StreamFailureError) as caught,
            reader.query_row_block_stream(BREAKS) as stream,
        ):
            list(stream)
        assert caught.value.code == 395
        with pytest.raises(DatabaseError):
            reader.query(BREAKS)
        with (
            pytest.raises(Exception, match="Connection broken"),
            reader.query_arrow_stream(BREAKS) as stream,
        ):
            list(stream)
        with pytest.raises(Exception, match="Connection broken"):
            reader.raw_stream(BREAKS, fmt="JSONEachRow").read()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl(running: Server) -> None:
    login = ("-u", "agent:pw")
    assert exit_code(running, f"{running.url}/ping") == (0, b"Ok.\n")
    assert exit_code(running, *login, f"{running.url}/?query=SELECT+1") == (0, b"1\n")
    accepted = (*login, "--compressed", f"{running.url}/?enable_http_compression=1")
    assert exit_code(running, *accepted, "-d", "SELECT 2") == (0, b"2\n")
    code, body = exit_code(running, *login, running.url, "-d", BREAKS)
    assert code == 18  # "transfer closed with outstanding read data remaining"
    assert b"__exception__" in body
    code, body = exit_code(running, "-f", *login, running.url, "-d", "SELECT * FROM nosuch")
    assert code == 22


def test_generate_into_a_running_one(running: Server) -> None:
    command = [sys.executable, "-m", "customer_stub.clickhouse.generate", "--url", running.url]
    options = ["--password-file", str(running.directory / "password"), "--rows", "1200"]
    for _ in range(2):  # other times, the same values
        done = subprocess.run(
            [*command, *options, "--org", "o'2", "--runs", "2", "--seed", "7"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
    asked = "SELECT count(), uniq(Value) FROM otel_metrics_gauge WHERE {k} = 'o\\'2' AND {m}"
    key, metric = "ResourceAttributes['planesplit.org']", "MetricName = 'gpu.utilization'"
    answer = ask(running, asked.format(k=key, m=metric))
    assert answer.text == "400\t200\n"
    refused = subprocess.run(
        [*command, *options, "--user", "agent"], capture_output=True, check=False
    )
    assert refused.returncode == 1


def test_no_statement_and_no_data_in_the_journal(running: Server) -> None:
    canary = "canary-in-sql"
    ask(running, f"SELECT '{canary}'")
    ask(running, f"SELECT {canary} FROM")
    ask(running, f"INSERT INTO otel_logs FORMAT JSONEachRow {canary}", "collector")
    text = (running.directory / "journal").read_text()
    assert canary not in text
    assert "internal_error" not in text
    assert '"event":"query"' in text


def test_the_process_leaves_nothing_behind(tmp_path: Path) -> None:
    with server(tmp_path) as first:
        left = [path.name for path in tmp_path.glob("planesplit-clickhouse-*")]
        assert len(left) == 1
        first.process.kill()
        first.process.wait()
    with server(tmp_path) as second:
        now = [path.name for path in tmp_path.glob("planesplit-clickhouse-*")]
        assert len(now) == 1
        assert now != left
        ask(second, "SELECT 1")
        second.process.send_signal(signal.SIGTERM)
        assert second.process.wait(20) == 0
    assert list(tmp_path.glob("planesplit-clickhouse-*")) == []


def test_data_of_a_directory_outlive_the_process(tmp_path: Path) -> None:
    config = f'data_dir = "{tmp_path}/data"\n'
    with server(tmp_path, config) as first:
        inserted = ask(first, "INSERT INTO otel_logs (Body) VALUES ('kept')", "collector")
        assert inserted.status_code == 200
        with pytest.raises(AssertionError, match="no other process uses"), server(tmp_path, config):
            pass
    with server(tmp_path, config) as second:
        assert ask(second, "SELECT Body FROM otel_logs").text == "kept\n"
