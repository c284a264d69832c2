"""A query's result through relay, tunnel and agent, beside the same read from ClickHouse itself."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import tomli_w
import trio

from compute_agent.clickhouse import ClickHouse, ClickHouseSettings
from compute_agent.metrics.catalogue import CATALOGUE
from compute_agent.metrics.parameters import bind
from compute_agent.metrics.settings import MetricsLimits
from planesplit.connect_client import ConnectClient
from planesplit.measure.access import push_access
from planesplit.measure.lab import Lab, MeasureError, open_lab
from planesplit.measure.procfs import cpu_s
from planesplit.measure.rounds import Progress
from planesplit.measure.spread import Spread
from planesplit.measure.subjects import SCOPE, start_plain_relay
from planesplit.split.plane import PlaneProcess
from tunnel.capabilities import QUERY
from tunnel.messages import planesplit_v1_pb2 as wire

RUN, NAME, FORMAT = "measured", "samples", "Native"
USER = "measure"
READ_BYTES = 262_144
MEMORY_BYTES = 2_147_483_648  # making the rows takes 600 MB
UP_S = 20.0
NOBODY = "http://127.0.0.1:1"  # a Kubernetes API that is not needed here
_INSERT = """INSERT INTO otel.otel_metrics_gauge
  (ResourceAttributes, MetricName, Attributes, TimeUnix, Value)
SELECT map('planesplit.org', {org:String}, 'planesplit.project', {project:String},
    'planesplit.domain', {domain:String}, 'planesplit.run', {run:String},
    'planesplit.action', 'a0', 'planesplit.attempt', '1', 'k8s.node.name', 'node-1',
    'k8s.pod.uid', toString(number % 4), 'k8s.pod.name', concat('pod-', toString(number % 4)),
    'k8s.container.name', 'main'),
  ['container.cpu.usage', 'container.memory.usage', 'gpu.utilization'][number % 3 + 1],
  map('gpu', toString(number % 8)), toDateTime64('2026-01-01 00:00:00', 9, 'UTC') + number / 100,
  cityHash64(number) % 10000 / 100
FROM numbers({rows:UInt64})"""


@dataclass(frozen=True, slots=True)
class Turn:
    """One result, read to its end."""

    bytes: int
    seconds: float


@dataclass(slots=True)
class Queries:
    """The figures.

    Args:
        rows: of one result.
        direct, path: a turn of each in every round.
        cpu_s: of each process of the path, in all its turns.
    """

    rows: int
    direct: list[Turn] = field(default_factory=list)
    path: list[Turn] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)

    @property
    def share(self) -> Spread:
        """What is left of the rows a second, round by round."""
        turns = zip(self.direct, self.path, strict=True)
        return Spread.of(direct.seconds / path.seconds for direct, path in turns)

    def rows_per_s(self, turns: list[Turn]) -> Spread:
        """Summarise the speed of some turns."""
        return Spread.of(self.rows / turn.seconds for turn in turns)

    @property
    def cpu_s_per_gb(self) -> dict[str, float]:
        """What the path's processes cost."""
        payload = sum(turn.bytes for turn in self.path)
        return {name: seconds / payload * 1e9 for name, seconds in self.cpu_s.items()}

    def as_json(self) -> dict[str, Any]:
        """Return every figure with its spread."""
        return {
            "query": NAME,
            "format": FORMAT,
            "rows": self.rows,
            "rounds": len(self.path),
            "payload_bytes": self.path[0].bytes,
            "direct_rows_per_s": self.rows_per_s(self.direct),
            "path_rows_per_s": self.rows_per_s(self.path),
            "share": self.share,
            "cpu_s_per_gb": self.cpu_s_per_gb,
        }


async def measure_queries(*, rows: int, rounds: int, progress: Progress) -> Queries:
    """Read the same result directly and through the whole path, in turns.

    Args:
        rows: of the result.
        rounds: how often each is read, after one warm-up.
        progress: told what is going on.

    Raises:
        MeasureError: it failed, or the results differ in size.
    """
    async with open_lab() as lab:
        progress(f"a query of {rows} rows: starting")
        path = await start_path(lab, rows)
        return await compare(path, rounds=rounds, progress=progress)


async def compare(path: Path, *, rounds: int, progress: Progress) -> Queries:
    """Read the result directly and through a path that is up, in turns; see `measure_queries`."""
    figures = Queries(path.rows)
    for number in range(rounds + 1):
        progress(f"a query of {path.rows} rows: round {number} of {rounds}")
        direct, through = path.direct, path.through
        order = (direct, through) if number % 2 else (through, direct)
        turns = {turn: await _timed(turn) for turn in order}
        if turns[direct].bytes != turns[through].bytes:
            raise MeasureError("the result through the relay is not as long as ClickHouse's")
        if number == 0:
            path.started = path.cpu_s()
            continue
        figures.direct.append(turns[direct])
        figures.path.append(turns[through])
    spent = path.cpu_s()
    figures.cpu_s = {name: spent[name] - path.started[name] for name in spent}
    return figures


async def _timed(read: Callable[[], Awaitable[int]]) -> Turn:
    began = time.perf_counter()
    size = await read()
    return Turn(size, time.perf_counter() - began)


@dataclass(slots=True)
class Path:
    """The processes, and both ways to a result of so many rows."""

    rows: int
    agent: PlaneProcess
    relay: PlaneProcess
    clickhouse: ClickHouse
    started: dict[str, float] = field(default_factory=dict)

    def cpu_s(self) -> dict[str, float]:
        """Return what the processes of the path have used; reading directly uses none of it."""
        return {"agent": cpu_s(self.agent.pid), "relay": cpu_s(self.relay.pid)}

    async def direct(self) -> int:
        """Read from ClickHouse, as any program on the customer's side would."""
        return await trio.to_thread.run_sync(self._read)

    def _read(self) -> int:
        query = CATALOGUE[NAME]
        values = bind(query.parameters, {}) | _scope()
        settings = {"max_threads": MetricsLimits().max_threads, "readonly": 1}
        response = self.clickhouse.client().raw_stream(query.sql, values, settings, fmt=FORMAT)
        return sum(map(len, cast("Any", response).stream(READ_BYTES, decode_content=False)))

    async def through(self) -> int:
        """Read as a viewer of the relay."""
        request = wire.QueryRequest(
            name=NAME, scope=wire.RunScope(**_scope()), format=wire.RESULT_FORMAT_NATIVE
        )
        url = f"http://127.0.0.1:{self.relay.ready['viewer_port']}{SCOPE.prefix}{QUERY}"
        size = 0
        async with (
            httpx.AsyncClient(trust_env=False) as http,
            ConnectClient(http).stream(url, request, wire.QueryResponse) as messages,
        ):
            async for message in messages:
                size += len(message.chunk)
        return size


def _scope() -> dict[str, str]:
    return {"org": SCOPE.org, "project": SCOPE.project, "domain": SCOPE.domain, "run": RUN}


async def start_path(lab: Lab, rows: int) -> Path:
    """Start ClickHouse with the rows of one run, a relay and an agent.

    Raises:
        MeasureError: one failed, or the rows cannot be made.
    """
    started = []

    async def start_relay() -> None:
        started.append(await start_plain_relay(lab))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start_relay)
        access = await _start_clickhouse(lab, rows)
    (relay,) = started
    log_root, state = lab.path("logs"), lab.path("state")
    log_root.mkdir()
    state.mkdir()
    settings = {
        "org": SCOPE.org,
        "cluster": SCOPE.cluster,
        "relay_url": f"ws://127.0.0.1:{relay.ready['agent_port']}/tunnel",
        "kubernetes_url": NOBODY,
        "log_root": str(log_root),
        "state_dir": str(state),
        "clickhouse": {
            "url": access.url,
            "user": access.user,
            "password_file": access.password_file,
        },
    }
    agent = await lab.start("compute_agent", "compute_agent", "--config", _file(lab, settings))
    path = Path(rows, agent, relay, ClickHouse(access, UP_S))
    await push_access(relay.ready["control_port"])
    return path


async def _start_clickhouse(lab: Lab, rows: int) -> ClickHouseSettings:
    """Start a ClickHouse with one run's samples.

    Raises:
        MeasureError: the rows cannot be made.
    """
    password = lab.path("password")
    password.write_text("only on loopback", encoding="ascii")
    user = {
        "name": USER,
        "password_file": str(password),
        "readonly": False,
        "admin": True,
        "max_memory_bytes": MEMORY_BYTES,
    }
    settings = {"insecure": True, "memory_bytes": MEMORY_BYTES, "users": [user]}
    module = "customer_stub.clickhouse"
    process = await lab.start("clickhouse", module, "--config", _file(lab, settings))
    url = f"http://127.0.0.1:{process.ready['port']}"
    access = ClickHouseSettings(url=url, user=USER, password_file=str(password))
    client = await trio.to_thread.run_sync(ClickHouse(access, UP_S).client)
    values = {**_scope(), "rows": rows}
    await trio.to_thread.run_sync(lambda: client.command(_INSERT, parameters=values))
    return access


def _file(lab: Lab, settings: dict[str, Any]) -> str:
    file: pathlib.Path = lab.path("config.toml")
    file.write_text(tomli_w.dumps(settings), encoding="utf-8")
    return str(file)
