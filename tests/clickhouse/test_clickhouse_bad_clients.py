"""Clients that leave, stall or send garbage; queries that are killed: nobody else notices."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator

import pytest
from clickhouse_cast import Server, ask, client, runs, server, until

pytestmark = pytest.mark.integration

FOR_EVER = "SELECT count() FROM numbers(100000000000000) WHERE sipHash64(number) = 1"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("clickhouse")) as made:
        yield made


def test_a_client_that_leaves_ends_its_query(running: Server) -> None:
    mark = "/* leaver */"
    login = "Basic YWdlbnQ6cHc="
    body = f"{FOR_EVER} AND 'leaver' != ''"
    head = f"POST / HTTP/1.1\r\nHost: a\r\nAuthorization: {login}\r\n"
    with socket.create_connection(("127.0.0.1", running.port)) as leaver:
        leaver.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        until(lambda: runs(running, "'lea" + "ver' !="), f"{mark} did not start")
    until(lambda: not runs(running, "'lea" + "ver' !="), f"{mark} was not killed")


def test_a_slow_reader_holds_up_nobody_and_its_query_ends(running: Server) -> None:
    body = "SELECT repeat('x', 1000), 'slow' FROM numbers(100000000)"
    head = "POST /?max_execution_time=2 HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWdlbnQ6cHc="
    with socket.create_connection(("127.0.0.1", running.port)) as slow:
        slow.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        assert slow.recv(10)  # and nothing more
        for _ in range(20):
            assert ask(running, "SELECT 1").elapsed.total_seconds() < 5
        until(lambda: not runs(running, "'sl" + "ow' FROM"), "the query outlived its deadline")


LOGIN = b"Authorization: Basic Y29sbGVjdG9yOnB3\r\n"  # collector
GARBAGE = [
    b"",
    b"\x16\x03\x01\x02\x00",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"a: " + b"x" * 100_000,
    b"POST /?query=%FF HTTP/1.1\r\nHost: a\r\n" + LOGIN + b"Content-Length: 0\r\n\r\n",
    b"POST /?" + b"a=1&" * 500 + b" HTTP/1.1\r\nHost: a\r\n" + LOGIN + b"\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\n" + LOGIN + b"Content-Length: 100\r\n\r\nINSERT",
    b"POST / HTTP/1.1\r\nHost: a\r\n" + LOGIN + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\n"
    + LOGIN
    + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    b"POST / HTTP/1.1\r\nHost: a\r\n"
    + LOGIN
    + b"Content-Type: multipart/form-data\r\nContent-Length: 4\r\n\r\nabcd",
]


def test_bad_clients_disturb_nobody(running: Server) -> None:
    with client(running) as reader:
        for sent in GARBAGE:
            for goes in ("at once", "after an answer"):
                with socket.create_connection(("127.0.0.1", running.port), timeout=0.3) as bad:
                    bad.sendall(sent)
                    if goes == "after an answer":
                        with contextlib.suppress(TimeoutError, ConnectionError):
                            bad.recv(4096)
            assert reader.command("SELECT 1") == 1
    assert not [line for line in running.journal() if line["event"] == "internal_error"]


def test_a_running_query_is_killed_by_its_id(running: Server) -> None:
    process = subprocess.Popen(
        ["curl", "-sS", "-u", "agent:pw", f"{running.url}/?query_id=mine", "-d", FOR_EVER],
        stdout=subprocess.PIPE,
    )
    with client(running) as reader:
        kill = "KILL QUERY WHERE query_id = {id:String} ASYNC"
        until(lambda: reader.command(kill, parameters={"id": "mine"}) != "", "nothing to kill")
    assert process.stdout
    assert b"QUERY_WAS_CANCELLED" in process.stdout.read()
    process.wait()
