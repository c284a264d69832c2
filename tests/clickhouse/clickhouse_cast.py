"""An engine without chdb, requests without a network, and the real process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import trio

from customer_stub.clickhouse import errors
from customer_stub.clickhouse.app import ClickHouseApp
from customer_stub.clickhouse.engine import Chunk, Job
from customer_stub.clickhouse.errors import QueryError
from customer_stub.clickhouse.policy import Policy
from customer_stub.clickhouse.queries import Queries
from customer_stub.clickhouse.settings import ClickHouseSettings, UserSettings
from customer_stub.clickhouse.users import Users
from tunnel.journal import Journal

WAIT_S = 20.0


def chunk(data: bytes, rows: int = 1) -> Chunk:
    """A piece of an answer."""
    return Chunk(data, rows, rows, len(data))


@dataclass
class Script:
    """What the fake engine answers: pieces, then an error or the end; `endless` never ends."""

    pieces: list[bytes] = field(default_factory=list)
    error: QueryError | None = None
    endless: bool = False
    refused: QueryError | None = None


class FakeEngine:
    """Answers by scripts, keyed by a word of the statement; keeps what it was asked."""

    version, timezone = "26.1.1.1", "UTC"

    def __init__(self, scripts: Mapping[str, Script] | None = None) -> None:
        self.scripts = dict(scripts or {})
        self.jobs: list[Job] = []
        self.data: list[bytes] = []
        self.killed: list[str] = []
        self.open_cursors = 0
        self.cursors: dict[str, FakeCursor] = {}

    def open(self, job: Job) -> FakeCursor:
        """Start a script."""
        self.jobs.append(job)
        if "FROM INFILE '" in job.sql:
            path = job.sql.partition("FROM INFILE '")[2].partition("'")[0]
            self.data.append(Path(path).read_bytes())
        script = next((s for word, s in self.scripts.items() if word in job.sql), Script())
        if script.refused:
            raise script.refused
        self.open_cursors += 1
        cursor = self.cursors[job.tag] = FakeCursor(self, script)
        return cursor

    def kill(self, tag: str) -> None:
        """Let a blocked cursor fail."""
        self.killed.append(tag)
        if tag in self.cursors:
            self.cursors[tag].gone.set()


class FakeCursor:
    """Plays a script."""

    def __init__(self, engine: FakeEngine, script: Script) -> None:
        self._engine, self._script = engine, script
        self._left = list(script.pieces)
        self.gone = threading.Event()
        self.closed = False

    def fetch(self) -> Chunk | None:
        """The next piece; an endless script blocks here until it is killed."""
        if self._left:
            return chunk(self._left.pop(0))
        if self._script.endless:
            assert self.gone.wait(20), "nobody killed the query"
            raise errors.cancelled()
        if self._script.error:
            raise self._script.error
        return None

    def close(self) -> None:
        """Count it."""
        assert not self.closed
        self.closed = True
        self._engine.open_cursors -= 1


@dataclass
class Got:
    """An answer; `whole` tells whether it ended as a complete one."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False

    @property
    def code(self) -> int:
        """ClickHouse's error code, 0 without any."""
        return int(self.headers.get("x-clickhouse-exception-code", "0"))


@dataclass
class Front:
    """The application over a fake engine."""

    app: ClickHouseApp
    engine: FakeEngine
    queries: Queries
    journal: list[str]

    async def settled(self) -> None:
        """Wait until the engine runs nothing; its threads end by themselves, so look again."""
        while self.engine.open_cursors:
            await trio.sleep(0.001)

    async def ask(
        self,
        body: bytes = b"",
        *,
        user: str | None = "agent",
        password: str = "pw",
        method: str = "POST",
        path: str = "/",
        headers: Mapping[str, str] | None = None,
        left: trio.Event | None = None,
        begun: trio.Event | None = None,
        **fields: str,
    ) -> Got:
        """Send one request and read its answer.

        Args:
            left: when set, the client is gone.
            begun: set with the first byte of the answer.
        """
        named = {name.lower(): value for name, value in (headers or {}).items()}
        if user is not None:
            named |= {"x-clickhouse-user": user, "x-clickhouse-key": password}
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": urlencode(fields).encode(),
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        }
        messages = [{"type": "http.request", "body": body, "more_body": False}]
        got = Got()

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await (trio.Event() if left is None else left).wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            await trio.lowlevel.checkpoint()
            if message["type"] == "http.response.start":
                got.status = message["status"]
                got.headers = {k.decode(): v.decode() for k, v in message["headers"]}
                return
            got.body += message["body"]
            got.whole = not message["more_body"]
            if begun is not None and message["body"]:
                begun.set()

        try:
            await self.app(scope, receive, send)
        except Exception as error:  # what a server turns into a cut connection
            got.headers["raised"] = type(error).__name__
        return got


def user_settings(directory: Path, name: str, **values: Any) -> UserSettings:
    """A user whose password is `pw`."""
    file = directory / "password"
    file.write_text("pw\n")
    return UserSettings(name, str(file), **values)


@asynccontextmanager
async def front(
    directory: Path, scripts: Mapping[str, Script] | None = None, **settings: Any
) -> AsyncIterator[Front]:
    """The application with users agent (reads), collector (inserts) and root (all)."""
    users = settings.pop("users", None) or [
        user_settings(directory, "agent"),
        user_settings(directory, "collector", readonly=False),
        user_settings(directory, "root", readonly=False, admin=True),
    ]
    made = ClickHouseSettings(users, insecure=True, **settings).check()
    engine, journal = FakeEngine(scripts), []
    log = Journal("clickhouse", write=journal.append)
    queries = Queries(engine, made, log)
    rules = Policy(["numbers", "file", "s3", "futureSource"])
    app = ClickHouseApp(queries, Users(users), rules, settings=made, journal=log)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(queries.run)
            yield Front(app, engine, queries, journal)
            nursery.cancel_scope.cancel()


@dataclass
class Server:
    """The real process."""

    port: int
    process: subprocess.Popen[bytes]
    directory: Path
    scheme: str = "http"

    @property
    def url(self) -> str:
        """Of the HTTP interface."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def journal(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        text = (self.directory / "journal").read_text()
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


@contextmanager
def server(directory: Path, config: str = "") -> Iterator[Server]:
    """A running process with the users of `front`; insecure unless the config has TLS."""
    (directory / "password").write_text("pw\n")
    users = "".join(
        f'[[users]]\nname = "{name}"\npassword_file = "{directory}/password"\n{rights}\n'
        for name, rights in (
            ("agent", "max_execution_s = 20"),
            ("collector", "readonly = false"),
            ("root", "readonly = false\nadmin = true"),
        )
    )
    head = "" if "[tls]" in config else "insecure = true\n"
    (directory / "config.toml").write_text(head + config + users)
    command = [sys.executable, "-P", "-m", "customer_stub.clickhouse"]
    environment = {**os.environ, "TMPDIR": str(directory)}
    with (directory / "journal").open("wb") as journal:
        process = subprocess.Popen(
            [*command, "--config", str(directory / "config.toml")],
            stdout=subprocess.PIPE,
            stderr=journal,
            env=environment,
        )
    try:
        assert process.stdout
        line = process.stdout.readline()  # pytest's own timeout bounds it
        assert line, (directory / "journal").read_text()
        scheme = "https" if "[tls]" in config else "http"
        yield Server(json.loads(line)["port"], process, directory, scheme)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        finally:
            process.kill()
            process.wait()


def client(running: Server, user: str = "agent", **options: Any) -> Any:
    """clickhouse-connect's client of a running process."""
    from clickhouse_connect import get_client

    return get_client(host="127.0.0.1", port=running.port, username=user, password="pw", **options)


def ask(running: Server, sql: str, user: str = "agent", **fields: str) -> httpx.Response:
    """Post a statement."""
    return httpx.post(running.url, content=sql, params=fields, auth=(user, "pw"), timeout=30)


def until(check: Callable[[], bool], why: str) -> None:
    """Look again until something outside of this process has happened."""
    deadline = time.monotonic() + WAIT_S
    while not check():
        assert time.monotonic() < deadline, why
        time.sleep(0.02)


def runs(running: Server, word: str) -> bool:
    """Whether a query runs whose text holds the word."""
    asked = "SELECT count() FROM system.processes WHERE position(query, {w:String}) > 0"
    return ask(running, asked, param_w=word).text != "0\n"
