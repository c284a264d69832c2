"""Retries are attempts; phases only go forward, whatever is lost, repeated or restarted."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
import trio
from control_cast import (
    RUNS,
    Cast,
    RpcError,
    create_request,
    event,
    phase_of,
    report,
    run_id,
    running,
    settings,
    until,
)
from fake_relay import FakeRelay
from flyteidl2.common import identifier_pb2
from flyteidl2.workflow import run_service_pb2 as wire
from hypothesis import given
from hypothesis import strategies as st

from control_stub import runs, schema
from control_stub.phases import ABORTED, FAILED, QUEUED, RUNNING, SUCCEEDED, Report
from control_stub.runs import NewRun, RunKey
from control_stub.settings import Limits
from tunnel.capabilities import ABORT, ASSIGN
from tunnel.messages import planesplit_v1_pb2 as v1

KEY = RunKey("acme", "p1", "development", "r")
CLUSTER = ("acme", "c1")
ATTEMPTS = 3
STEPS = 40  # of a play; the last ten tell everything


async def _create(caller: Any, retries: int = ATTEMPTS - 1, **changes: Any) -> RunKey:
    request = create_request("r")
    request.task_spec.task_template.metadata.retries.retries = retries
    for name, value in changes.items():
        getattr(request, name).CopyFrom(value)
    await caller.call(RUNS, "CreateRun", request)
    return KEY


def _assigned(relay: FakeRelay, path: str = ASSIGN) -> list[int]:
    request = v1.AssignRequest if path == ASSIGN else v1.AbortRequest
    return [request.FromString(body).action.attempt for p, body in relay.calls if p.endswith(path)]


async def _fail(cast: Cast, attempt: int) -> None:
    ended = event(KEY, FAILED, 6, attempt=attempt, exit_code=1, has_exit_code=True)
    await report(cast, ended)


async def test_a_failed_attempt_has_another_until_it_succeeds(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        await _create(alice)
        for attempt in (1, 2):
            await until(lambda attempt=attempt: len(_assigned(cast.relay)) == attempt)
            await report(cast, event(KEY, RUNNING, 4, attempt=attempt, pod=f"r-a0-{attempt}"))
            await trio.sleep(10)
            await _fail(cast, attempt)
            details = await alice.details(KEY)
            assert (details.status.phase, details.status.attempts) == (QUEUED, attempt + 1)
            assert not details.HasField("error_info")
        await until(lambda: _assigned(cast.relay) == [1, 2, 3])
        await report(cast, event(KEY, SUCCEEDED, 5, attempt=3))
        details = await alice.details(KEY)
        assert [a.phase for a in details.attempts] == [FAILED, FAILED, SUCCEEDED]
        assert [a.attempt for a in details.attempts] == [1, 2, 3]
        assert details.attempts[0].error_info.code == "ExitCode:1"
        assert all(a.end_time.seconds >= a.start_time.seconds > 0 for a in details.attempts)
        assert [t.phase for t in details.attempts[0].phase_transitions] == [QUEUED, RUNNING, FAILED]


async def test_the_last_attempt_that_fails_ends_the_run(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        await _create(alice, retries=1)
        await _fail(cast, 1)
        await until(lambda: _assigned(cast.relay) == [1, 2])
        await _fail(cast, 2)
        details = await alice.details(KEY)
        assert (details.status.phase, len(details.attempts)) == (FAILED, 2)
        await trio.sleep(60)
        assert _assigned(cast.relay) == [1, 2]


async def test_too_many_retries_are_refused(autojump_clock: Any) -> None:
    async with running(settings(limits=Limits(attempts=4))) as cast:
        alice = await cast.caller("alice")
        with pytest.raises(RpcError, match="at most 3 retries"):
            await _create(alice, retries=4)
        await _create(alice, retries=3)


async def test_an_abort_ends_the_current_attempt_and_no_other_begins(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        await _create(alice)
        await until(lambda: _assigned(cast.relay) == [1])
        await _fail(cast, 1)
        await until(lambda: _assigned(cast.relay) == [1, 2])
        await report(cast, event(KEY, RUNNING, 4, attempt=2))
        await alice.call(RUNS, "AbortRun", wire.AbortRunRequest(run_id=run_id(KEY), reason="x"))
        await until(lambda: _assigned(cast.relay, ABORT) == [2])
        await report(cast, event(KEY, ABORTED, 7, attempt=2))
        await trio.sleep(60)
        details = await alice.details(KEY)
        assert (details.status.phase, _assigned(cast.relay)) == (ABORTED, [1, 2])


async def test_a_refused_task_is_not_tried_again(autojump_clock: Any) -> None:
    async def refusing(path: str, body: bytes) -> tuple[int, bytes]:
        return 400, b'{"code": "invalid_argument"}'

    async with running(relay=FakeRelay(refusing)) as cast:
        alice = await cast.caller("alice")
        await _create(alice)
        await trio.sleep(60)
        details = await alice.details(KEY)
        assert (details.status.phase, _assigned(cast.relay)) == (FAILED, [1])
        assert details.error_info.message == "the cluster refused the task: invalid_argument"


async def test_an_attempt_whose_pod_is_gone_has_another(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        await _create(alice, retries=1)
        await until(lambda: _assigned(cast.relay) == [1])
        await _fail(cast, 1)
        await until(lambda: _assigned(cast.relay) == [1, 2])
        await trio.sleep(120)
        await report(cast, event(KEY, FAILED, 6, attempt=1), full=True)  # names only the first
        details = await alice.details(KEY)
        assert details.status.phase == FAILED
        texts = [attempt.error_info.message for attempt in details.attempts]
        assert texts == ["the container ended with exit code 1", "the pod is gone"]


async def test_attempts_outlive_the_control_plane(autojump_clock: Any, tmp_path: Any) -> None:
    config = settings(db_file=str(tmp_path / "control.db"))
    relay = FakeRelay()
    async with running(config, relay) as cast:
        await _create(await cast.caller("alice"))
        await until(lambda: _assigned(relay) == [1])
        relay.leave()  # the next attempt cannot be handed over any more
        await trio.sleep(1)
    relay.away = False
    async with running(config, relay) as cast:
        await _fail(cast, 1)
        await until(lambda: _assigned(relay) == [1, 2])
        assert await phase_of(await cast.caller("alice"), KEY) == QUEUED


async def test_what_an_assignment_says(autojump_clock: Any) -> None:
    inputs = "s3://planesplit-metadata/acme/p1/development/inputs/x1/inputs.pb"
    async with running() as cast:
        alice = await cast.caller("alice")
        request = create_request("r")
        request.offloaded_input_data.uri = inputs
        secrets = request.task_spec.task_template.security_context.secrets
        secrets.add(key="hf-token", env_var="HF_TOKEN")
        secrets.add(key="db-password", group="prod")
        secrets.add(key="cert", mount_requirement=2)
        await alice.call(RUNS, "CreateRun", request)
        await until(lambda: bool(cast.relay.calls))
        told = v1.AssignRequest.FromString(cast.relay.calls[0][1])
        assert told.inputs_uri == inputs
        assert (told.task_name, told.task_version) == ("ml.train", "v1")
        assert told.created_at == (await alice.details(KEY)).status.start_time
        mounts = [(s.key, s.env_var, s.mount_path) for s in told.container.secrets]
        assert mounts == [
            ("hf-token", "HF_TOKEN", ""),
            ("db-password", "PROD_DB_PASSWORD", ""),
            ("cert", "", "/etc/flyte/secrets/cert"),
        ]


async def test_where_inputs_and_outputs_lie(autojump_clock: Any) -> None:
    inputs = "s3://planesplit-metadata/acme/p1/development/inputs/x1/inputs.pb"
    action = identifier_pb2.ActionIdentifier(run=run_id(KEY), name="a0")
    async with running() as cast:
        alice = await cast.caller("alice")
        request = create_request("r")
        request.offloaded_input_data.uri = inputs
        await alice.call(RUNS, "CreateRun", request)
        found = await alice.call(
            RUNS, "GetActionDataURIs", wire.GetActionDataURIsRequest(action_id=action)
        )
        prefix = "s3://planesplit-metadata/acme/p1/development/r/a0/1/"
        assert (found.inputs_uri, found.outputs_uri) == (inputs, prefix + "outputs.pb")


ELSEWHERE = [
    "s3://planesplit-metadata/globex/p1/development/inputs/x/inputs.pb",
    "s3://planesplit-metadata/acme/p2/development/inputs/x/inputs.pb",
    "s3://planesplit-metadata/acme/p1/production/inputs/x/inputs.pb",
    "s3://another-bucket/acme/p1/development/inputs/x/inputs.pb",
    "s3://planesplit-metadata/acme/p1/development",
    "s3://planesplit-metadata/acme/p1/development/../../../globex/p1/development/inputs.pb",
    "s3://planesplit-metadata/acme/p1/development//inputs.pb",
    "s3://planesplit-metadata/acme/p1/development/a b",
    "s3://planesplit-metadata/acme/p1/development/x?versionId=1",
    "https://planesplit-metadata/acme/p1/development/inputs.pb",
    "s3://planesplit-metadata/acme/p1/development/" + "x" * 1100,
]


@pytest.mark.parametrize("uri", ELSEWHERE, ids=range(len(ELSEWHERE)))
async def test_inputs_of_somewhere_else_are_refused(autojump_clock: Any, uri: str) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        request = create_request("r")
        request.offloaded_input_data.uri = uri
        with pytest.raises(RpcError, match=r"invalid_argument: offloaded_input_data.uri"):
            await alice.call(RUNS, "CreateRun", request)


async def test_inline_inputs_are_refused_with_a_remedy(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        request = create_request("r")
        request.inputs.literals.add(name="x")
        with pytest.raises(RpcError, match="upload them with UploadInputs"):
            await alice.call(RUNS, "CreateRun", request)


# A run as its cluster sees it: attempts begin when assigned and end one way or another. Its agent
# tells events in any order, more than once, in part; the control plane restarts in between.

Merge = Callable[[sqlite3.Connection, list[Report]], None]


def _database() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.row_factory = sqlite3.Row
    for statement in schema.statements():
        connection.execute(statement)
    runs.create(connection, NewRun(KEY, "c1", "t", "v", "d", "alice", "", ATTEMPTS), 0)
    return connection


def _restarted(connection: sqlite3.Connection) -> sqlite3.Connection:
    made = sqlite3.connect(":memory:", isolation_level=None)
    made.row_factory = sqlite3.Row
    connection.backup(made)
    return made


def _history(attempt: int, end: int) -> list[Report]:
    phases = (QUEUED, 3, RUNNING, end)
    return [Report(attempt, phase, phase, attempt * 10 + phase) for phase in phases]


def _merged(connection: sqlite3.Connection, told: list[Report]) -> None:
    runs.record(connection, CLUSTER, [(KEY, report) for report in told], 1)


def _last_writer_wins(connection: sqlite3.Connection, told: list[Report]) -> None:
    """Planted mutant: the newest message is believed."""
    _merged(connection, told)
    for last in told[-1:]:
        connection.execute(
            "UPDATE runs SET attempt = ?, phase = ?, done = ?",
            (last.attempt, last.phase, last.done),
        )


def _forgets_the_attempt(connection: sqlite3.Connection, told: list[Report]) -> None:
    """Planted mutant: phases of every attempt are taken for the first one's."""
    _merged(connection, [report._replace(attempt=1) for report in told])


def _no_retry(connection: sqlite3.Connection, told: list[Report]) -> None:
    """Planted mutant: a failed attempt ends the run."""
    connection.execute("UPDATE runs SET max_attempts = attempt")
    _merged(connection, told)


class _Violation(Exception):
    pass


def _play(ends: list[int], seed: int, merge: Merge) -> None:
    """Live through a run whose attempts end so; raise where a viewer would see something false."""
    chance, connection = random.Random(seed), _database()
    pending: list[Report] = []
    seen, known = (0, 0), 0
    for step in range(STEPS):
        run = runs.get(connection, KEY)
        assert run is not None
        rank = (run.attempt, 5 if run.done or run.phase == FAILED else run.phase)
        if rank < seen:
            raise _Violation("backwards")
        seen = rank
        if not run.done and run.attempt > known:  # the assigner hands the attempt over
            known = run.attempt
            pending += _history(known, ends[known - 1])
            runs.assigned(connection, KEY, known, 1)
        told = [chance.choice(pending) for _ in range(chance.randint(0, 3)) if pending]
        merge(connection, told)
        if chance.random() < 0.2 or step > STEPS - 10:
            merge(connection, sorted(pending, key=lambda _: chance.random()))  # after a reconnect
        if chance.random() < 0.05:
            connection = _restarted(connection)
    _check_end(connection, ends)


def _check_end(connection: sqlite3.Connection, ends: list[int]) -> None:
    run = runs.get(connection, KEY)
    assert run is not None
    tried = next((n for n, end in enumerate(ends, 1) if end != FAILED), len(ends))
    if (run.attempt, run.phase, run.done) != (tried, ends[tried - 1], True):
        raise _Violation("the end")
    known = {(report.attempt, report.phase) for report in runs.reports(connection, KEY)}
    lived = {(r.attempt, r.phase) for n in range(1, tried + 1) for r in _history(n, ends[n - 1])}
    if known != lived:
        raise _Violation("phases lost or invented")


ENDS = st.lists(
    st.sampled_from([FAILED, FAILED, SUCCEEDED, ABORTED]), min_size=ATTEMPTS, max_size=ATTEMPTS
)


@hypothesis.settings(max_examples=40)
@given(ends=ENDS, seed=st.integers(0, 2**32))
def test_no_interleaving_shows_a_viewer_anything_false(ends: list[int], seed: int) -> None:
    _play(ends, seed, _merged)


@pytest.mark.parametrize("mutant", [_last_writer_wins, _forgets_the_attempt, _no_retry])
def test_the_play_catches(mutant: Merge) -> None:
    caught = 0
    for seed in range(10):
        try:
            _play([FAILED, FAILED, SUCCEEDED], seed, mutant)
        except (_Violation, IndexError):
            caught += 1
    assert caught == 10
