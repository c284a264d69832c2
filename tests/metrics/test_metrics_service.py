"""Named queries: what is refused, what is bound, how results stream."""

from __future__ import annotations

import json
import re

import pytest
import trio
import trio.testing
from metrics_stage import IN_SCOPE, ScriptedEngine, metrics_stage

from compute_agent.metrics.catalogue import CATALOGUE
from compute_agent.metrics.engine import Format
from compute_agent.metrics.failures import FAILURES, failure
from compute_agent.metrics.settings import MetricsLimits
from tunnel.capabilities import LIST_QUERIES
from tunnel.errors import Code as Ending
from tunnel.messages import planesplit_v1_pb2 as wire
from tunnel.settings import TunnelSettings

ROWS = b'{"time":"2026-01-01T00:00:00Z","cores":1.5}\n'
INJECTION = "x' OR 1=1; DROP TABLE otel_metrics_gauge --"


def error_of(end: bytes) -> tuple[str, str]:
    error = json.loads(end)["error"]
    return error["code"], error.get("message", "")


async def test_a_result_arrives_whole_and_ends_well() -> None:
    engine = ScriptedEngine(ROWS, ROWS * 2)
    async with metrics_stage(engine) as stage:
        answer = await (await stage.ask()).finish()
    assert (answer.status, answer.data, answer.end) == (200, ROWS * 3, b"{}")
    assert engine.running == []


async def test_an_empty_result_ends_well() -> None:
    async with metrics_stage(ScriptedEngine()) as stage:
        answer = await (await stage.ask()).finish()
    assert (answer.data, answer.end) == (b"", b"{}")


async def test_messages_are_cut_at_their_limit() -> None:
    data = bytes(range(256)) * 1000
    async with metrics_stage(ScriptedEngine(data), MetricsLimits(message_bytes=50_000)) as stage:
        answer = await (await stage.ask(result_format=wire.RESULT_FORMAT_NATIVE)).finish()
    assert [len(chunk) for chunk in answer.chunks()] == [50_000] * 5 + [6_000]
    assert answer.data == data


async def test_values_are_bound_to_the_authorised_scope() -> None:
    engine = ScriptedEngine()
    async with metrics_stage(engine) as stage:
        await (await stage.ask("cpu_usage", action=INJECTION, step_s="060")).finish()
    (statement,) = engine.statements
    assert statement.sql == CATALOGUE["cpu_usage"].sql
    assert statement.format is Format.JSON
    assert statement.values == {
        "org": "acme",
        "project": "proj",
        "domain": "dev",
        "run": "run1",
        "action": INJECTION,
        "attempt": "0",
        "step_s": "60",
        "since": "1970-01-01 00:00:00.000000",
        "until": "2261-01-01 00:00:00.000000",
    }
    assert INJECTION not in repr(statement)


@pytest.mark.parametrize("field", ["org", "project", "domain"])
async def test_another_scope_is_refused(field: str) -> None:
    scope = wire.RunScope()
    scope.CopyFrom(IN_SCOPE)
    setattr(scope, field, "other")
    engine = ScriptedEngine()
    async with metrics_stage(engine) as stage:
        answer = await (await stage.ask(scope=scope)).finish()
    assert error_of(answer.end)[0] == "permission_denied"
    assert engine.statements == []


@pytest.mark.parametrize("run", ["", "a b", "x" * 64, INJECTION])
async def test_a_run_has_a_name(run: str) -> None:
    scope = wire.RunScope(org="acme", project="proj", domain="dev", run=run)
    async with metrics_stage(ScriptedEngine()) as stage:
        answer = await (await stage.ask(scope=scope)).finish()
    assert error_of(answer.end) == (
        "invalid_argument",
        "run must be 1 to 63 letters, digits and . _ - between them",
    )


@pytest.mark.parametrize("name", ["", "cpu", "SELECT 1", "system.users", "CPU_USAGE"])
async def test_only_named_queries_exist(name: str) -> None:
    engine = ScriptedEngine()
    async with metrics_stage(engine) as stage:
        answer = await (await stage.ask(name)).finish()
    code, message = error_of(answer.end)
    assert code == "not_found"
    assert not name or name not in message
    assert engine.statements == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step_s", "0"),
        ("step_s", "-1"),
        ("step_s", "86401"),
        ("step_s", "1e3"),
        ("step_s", "7; DROP TABLE x"),
        ("step_s", "٣"),
        ("attempt", "4294967296"),
        ("since", "yesterday-ish"),
        ("since", "2026-01-01T00:00:00"),
        ("since", "9999-12-31T23:59:59-23:59"),
        ("until", "1e9"),
        ("until", "'2026'"),
        ("action", "a\0b-secret"),
        ("action", "secret" * 100),
        ("org", "other-secret"),
        ("limit", "5"),
    ],
)
async def test_a_bad_parameter_is_named_and_its_value_is_not(name: str, value: str) -> None:
    engine = ScriptedEngine()
    async with metrics_stage(engine) as stage:
        answer = await (await stage.ask("cpu_usage", **{name: value})).finish()
    code, message = error_of(answer.end)
    assert code == "invalid_argument"
    assert f"parameter '{name}'" in message
    assert len(value) < 3 or value not in message
    assert engine.statements == []


async def test_an_unknown_name_that_is_no_identifier_is_not_repeated() -> None:
    async with metrics_stage(ScriptedEngine()) as stage:
        answer = await (await stage.ask("summary", **{INJECTION: "1"})).finish()
    code, message = error_of(answer.end)
    assert code == "invalid_argument"
    assert INJECTION not in message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-01-01T01:00:00+01:00", "2026-01-01 00:00:00.000000"),
        ("2026-01-01T00:00:00.5Z", "2026-01-01 00:00:00.500000"),
        ("1767225600", "2026-01-01 00:00:00.000000"),
        ("1767225600.25", "2026-01-01 00:00:00.250000"),
    ],
)
async def test_times_are_rfc_3339_or_epoch_seconds(text: str, value: str) -> None:
    engine = ScriptedEngine()
    async with metrics_stage(engine) as stage:
        answer = await (await stage.ask("cost", since=text)).finish()
    assert answer.end == b"{}"
    assert engine.statements[0].values["since"] == value


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (159, "deadline_exceeded"),
        (396, "resource_exhausted"),
        (241, "resource_exhausted"),
        (394, "aborted"),
        (60, "internal"),
        (0, "internal"),
    ],
)
async def test_errors_of_clickhouse_end_the_stream(number: int, code: str) -> None:
    engine = ScriptedEngine(ROWS, failure(number))
    async with metrics_stage(engine) as stage:
        answer = await (await stage.ask()).finish()
    assert error_of(answer.end)[0] == code
    assert answer.data == ROWS  # what came before is delivered, and is no success
    assert engine.running == []


def test_every_known_failure_has_words_for_people() -> None:
    assert all(len(text) > 20 for _, text in FAILURES.values())


async def test_a_cluster_without_clickhouse_says_so() -> None:
    async with metrics_stage(None) as stage:
        answer = await (await stage.ask()).finish()
    assert error_of(answer.end) == ("unavailable", "ClickHouse is not configured at this cluster")


async def test_too_many_queries_are_refused_and_a_slot_comes_back() -> None:
    engine = ScriptedEngine(3600.0, slots=1)
    async with metrics_stage(engine) as stage:
        first = await stage.ask()
        await trio.testing.wait_all_tasks_blocked()
        answer = await (await stage.ask()).finish()
        assert error_of(answer.end) == ("resource_exhausted", "busy")
        first.stream.reset(Ending.CANCELLED)
        await trio.testing.wait_all_tasks_blocked()
        assert engine.running == []
        engine.script = (ROWS,)
        assert (await (await stage.ask()).finish()).end == b"{}"


async def test_a_slow_query_is_kept_alive(autojump_clock: trio.testing.MockClock) -> None:
    engine = ScriptedEngine(35.0, ROWS)
    async with metrics_stage(engine, MetricsLimits(keepalive_s=10.0)) as stage:
        began = trio.current_time()
        answer = await (await stage.ask()).finish()
    assert answer.chunks() == [b"", b"", b"", ROWS]
    assert [round(at - began) for at in answer.at[:4]] == [10, 20, 30, 35]
    assert answer.end == b"{}"


async def test_a_viewer_that_does_not_read_holds_the_query_back() -> None:
    """Credit is what stops the agent: it reads no more than a window, a queue and a piece."""
    piece = bytes(262_144)
    engine = ScriptedEngine(piece, endless=True)
    async with metrics_stage(engine) as stage:
        answer = await stage.ask(result_format=wire.RESULT_FORMAT_NATIVE)
        await trio.testing.wait_all_tasks_blocked()
        (result,) = engine.running
        tunnel = TunnelSettings()
        bound = tunnel.window_default_bytes + tunnel.send_queue_bytes + 2 * len(piece)
        assert 0 < result.taken <= bound
        taken = result.taken
        await trio.testing.wait_all_tasks_blocked()
        assert result.taken == taken
        await answer.step()
        await trio.testing.wait_all_tasks_blocked()
        assert result.taken > taken, "it goes on when somebody reads"
        answer.stream.reset(Ending.CANCELLED)
        await trio.testing.wait_all_tasks_blocked()
        assert engine.closed == [result]


async def test_the_catalogue_is_listed() -> None:
    request = wire.ListQueriesRequest(org="acme", project="proj", domain="dev")
    async with metrics_stage(None) as stage:
        answer = await stage.call(LIST_QUERIES, request.SerializeToString())
    queries = wire.ListQueriesResponse.FromString(bytes(answer.body)).queries
    assert {query.name for query in queries} >= {
        "gpu_utilization",
        "cpu_usage",
        "memory_usage",
        "cpu_used_vs_allocated",
        "memory_used_vs_allocated",
        "cost",
        "summary",
        "samples",
    }
    cpu = next(query for query in queries if query.name == "cpu_usage")
    units = [(column.name, column.unit) for column in cpu.columns]
    assert units == [
        ("time", ""),
        ("cores", "cores"),
    ]
    assert {p.name: p.default for p in cpu.parameters}["step_s"] == "10"


@pytest.mark.parametrize("query", CATALOGUE.values(), ids=lambda query: query.name)
def test_every_statement_is_bound_to_its_run_and_to_its_parameters(query) -> None:
    used = set(re.findall(r"\{(\w+):[^}]+\}", query.sql))
    assert used == {p.name for p in query.parameters} | {"org", "project", "domain", "run"}
    for name in ("org", "project", "domain", "run"):
        assert f"ResourceAttributes['planesplit.{name}'] = {{{name}:String}}" in query.sql
    assert query.sql.count("otel_metrics_gauge") == query.sql.count("{run:String}")
    types = dict(re.findall(r"\{(\w+):([^}]+)\}", query.sql))
    assert all(types[p.name] == p.type for p in query.parameters)
