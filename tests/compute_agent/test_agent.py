from __future__ import annotations

from pathlib import Path

import pytest
import trio
from crilog import CriLog
from fakes import ATTEMPT, SCOPE, World, pod_of

from compute_agent.attempts import Attempt
from compute_agent.settings import LogLimits
from tunnel.capabilities import ABORT, ASSIGN, REPORT
from tunnel.errors import Code
from tunnel.exchange import Scope
from tunnel.messages.planesplit_v1_pb2 import (
    AbortRequest,
    Action,
    AssignRequest,
    AssignResponse,
    Container,
)


@pytest.fixture
async def world(tmp_path: Path, nursery: trio.Nursery) -> World:
    return World(tmp_path, nursery)


def log_of(world: World, attempt: Attempt = ATTEMPT) -> CriLog:
    pod = f"{attempt.namespace}_{attempt.pod}_uid-{attempt.pod}"
    return CriLog(world.root / "logs", pod=pod)


def action(attempt: Attempt = ATTEMPT) -> Action:
    return Action(
        org=attempt.org,
        project=attempt.project,
        domain=attempt.domain,
        run=attempt.run,
        action=attempt.action,
        attempt=attempt.attempt,
    )


def assign_body(attempt: Attempt = ATTEMPT) -> bytes:
    container = Container(image="img", command=["sh"], args=["-c", "true"], env={"A": "b"})
    return AssignRequest(action=action(attempt), container=container).SerializeToString()


async def test_tail_follows_until_the_attempt_has_ended(world: World, autojump_clock):
    log = log_of(world)
    world.cluster.change(pod_of(phase="Running"))
    log.write(b"one")
    call = await (await world.relay.tail()).until_text("one\n")
    log.write(b"two")
    await call.until_text("two\n")
    log.write(b"three")
    world.cluster.change(pod_of(phase="Succeeded", exit_code=0))
    await call.finish()
    assert (call.status, call.text, call.ended, call.error) == (
        200,
        "one\ntwo\nthree\n",
        True,
        b"{}",
    )
    assert all(len(unit) <= 65_536 for unit in call.units)


async def test_tail_of_an_ended_attempt_needs_no_wait(world: World, autojump_clock):
    log = log_of(world)
    log.write_all([b"%d" % n for n in range(10_000)])
    world.cluster.change(pod_of(phase="Failed", exit_code=1))
    call = await (await world.relay.tail()).finish()
    assert call.text == "".join(f"{n}\n" for n in range(10_000))
    assert max(len(unit) for unit in call.units) <= 65_536


async def test_quiet_tail_opens_at_once_and_is_kept_alive(world: World, autojump_clock):
    log_of(world)
    world.cluster.change(pod_of(phase="Running"))
    call = await world.relay.tail()
    while len(call.units) < 4:
        await call.step()
    assert all(unit == bytes(5) for unit in call.units)
    gaps = [b - a for a, b in zip(call.arrivals, call.arrivals[1:], strict=False)]
    assert gaps == pytest.approx([10, 10, 10], abs=0.05)


async def test_first_line_goes_at_once_then_small_batches_pause(world: World, autojump_clock):
    log = log_of(world)
    world.cluster.change(pod_of(phase="Running"))
    call = await world.relay.tail()
    await call.step()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call.until_text, "49\n")
        for n in range(50):
            log.write(b"%d" % n)
            await trio.sleep(0.0005)
    assert call.arrivals[1] - start <= LogLimits().batching().poll_max_s + 1e-9
    pauses = [b - a for a, b in zip(call.arrivals[1:], call.arrivals[2:], strict=False)]
    assert min(pauses) >= 0.001 - 1e-9


async def test_tail_resumes_after_a_lost_tunnel_and_a_restart(world: World, autojump_clock):
    log = log_of(world)
    world.cluster.change(pod_of(phase="Running"))
    call = await world.relay.tail()
    text = ""
    for n in range(6):
        log.write(b"line %d" % n)
        await call.until_text(f"line {n}\n")
        text += call.text
        cursor, sessions = call.marks[-1], len(world.relay.sessions)
        if n % 2:
            world.relay.links[-1].cut()
        else:
            world.kill()
            world.start()
        log.write(b"meanwhile %d" % n)
        await world.relay.connected(sessions + 1)
        call = await world.relay.tail(cursor=cursor)
    world.cluster.change(pod_of(phase="Succeeded"))
    text += (await call.finish()).text
    assert text == "".join(f"line {n}\nmeanwhile {n}\n" for n in range(6))


async def test_pod_that_is_being_assigned_is_waited_for(world: World, autojump_clock):
    call = await world.relay.tail()
    await trio.sleep(1)
    world.cluster.change(pod_of(phase="Pending"))
    log = log_of(world)
    log.write(b"hello")
    await call.until_text("hello\n")


async def test_unknown_run_is_not_found(world: World, autojump_clock):
    start = trio.current_time()
    call = await (await world.relay.tail()).finish()
    assert b"not_found" in call.error
    assert trio.current_time() - start <= LogLimits().pod_wait_s + 0.1


async def test_logs_of_a_deleted_pod_stay_readable(world: World, autojump_clock):
    log_of(world).write(b"before the abort")
    world.cluster.change(pod_of(phase="Running"))
    await world.relay.until(lambda: any(r.phases for r in world.relay.reports))
    world.cluster.change(pod_of(phase="Running"), deleted=True)
    call = await (await world.relay.tail()).finish()
    assert call.text == "before the abort\n"


async def test_resume_of_a_pod_deleted_while_the_agent_was_down(world: World, autojump_clock):
    log = log_of(world)
    world.cluster.change(pod_of(phase="Running"))
    log.write(b"one")
    call = await (await world.relay.tail()).until_text("one\n")
    world.kill()
    log.write(b"two")
    world.cluster.change(pod_of(phase="Running"), deleted=True)
    world.start()
    await world.relay.connected(2)
    again = await (await world.relay.tail(cursor=call.marks[-1])).finish()
    assert again.text == "two\n"


async def test_same_pod_name_of_another_project_is_not_served(world: World, autojump_clock):
    """Project a-b, domain c and project a, domain b-c share a namespace."""
    theirs = Attempt("acme", "a-b", "c", "run1", "a0", 1)
    ours = Attempt("acme", "a", "b-c", "run1", "a0", 1)
    log_of(world, theirs).write(b"secret")
    world.cluster.change(pod_of(theirs, phase="Running"))
    call = await world.relay.tail(attempt=ours, scope=Scope("acme", "a", "b-c", "c1"))
    await call.finish()
    assert b"not_found" in call.error
    assert call.text == ""


@pytest.mark.parametrize(
    "scope",
    [
        Scope("acme", "other", "dev", "c1"),
        Scope("acme", "proj", "other", "c1"),
        Scope("acme", "-", "-", "c1"),
    ],
)
async def test_ids_outside_of_the_scope_are_refused(world: World, autojump_clock, scope: Scope):
    world.cluster.change(pod_of(phase="Running"))
    log_of(world).write(b"secret")
    call = await (await world.relay.tail(scope=scope)).finish()
    assert b"permission_denied" in call.error
    assert call.text == ""
    assigned = await (await world.relay.open(ASSIGN, assign_body(), scope=scope)).finish()
    assert assigned.status == 403
    assert world.cluster.specs == []


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        (ASSIGN, Scope("other", "proj", "dev", "c1")),
        (ASSIGN, Scope("acme", "proj", "dev", "c2")),
        (REPORT, SCOPE),
        ("/flyteidl2.dataproxy.DataProxyService/UploadInputs", SCOPE),
        ("/planesplit.v1.ExecutorService/Exec", SCOPE),
    ],
)
async def test_what_is_not_served_is_refused(world: World, autojump_clock, path: str, scope: Scope):
    call = await (await world.relay.open(path, assign_body(), scope=scope)).finish()
    assert call.code is Code.REFUSED
    assert world.cluster.specs == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("planesplit-since", "yesterday"),
        ("planesplit-lines", "-1"),
        ("planesplit-lines", "99999999"),
        ("planesplit-follow", "maybe"),
    ],
)
async def test_bad_options_are_named(world: World, autojump_clock, name: str, value: str):
    world.cluster.change(pod_of(phase="Running"))
    call = await (await world.relay.tail(headers=((name, value),))).finish()
    assert b"invalid_argument" in call.error
    assert name.encode() in call.error
    assert value.encode() not in call.error


async def test_bad_cursor_is_an_error(world: World, autojump_clock):
    world.cluster.change(pod_of(phase="Running"))
    call = await (await world.relay.tail(cursor=b'["x"]')).finish()
    assert b"invalid_argument" in call.error


async def test_options_work(world: World, autojump_clock):
    log = log_of(world)
    log.write_all([b"%d" % n for n in range(9)])
    world.cluster.change(pod_of(phase="Running"))
    headers = (("planesplit-lines", "2"), ("planesplit-follow", "false"))
    call = await (await world.relay.tail(headers=headers)).finish()
    assert call.text == "7\n8\n"
    none = await (await world.relay.tail(headers=(("planesplit-since", "1"), headers[1]))).finish()
    assert none.text == ""


async def test_tails_are_bounded(tmp_path: Path, nursery, autojump_clock):
    world = World(tmp_path, nursery, logs=LogLimits(max_tails=2))
    log_of(world).write(b"x")
    world.cluster.change(pod_of(phase="Running"))
    calls = [await (await world.relay.tail()).until_text("x\n") for _ in range(2)]
    third = await (await world.relay.tail()).finish()
    assert b"resource_exhausted" in third.error
    calls[0].stream.reset(Code.CANCELLED)
    await trio.sleep(1)
    await (await world.relay.tail()).until_text("x\n")


async def test_stalled_viewer_holds_nobody_up_and_nothing_piles_up(world: World, autojump_clock):
    log = log_of(world)
    log.write_all([b"x" * 1000] * 2000)
    world.cluster.change(pod_of(phase="Running"))
    stalled = await world.relay.tail()
    await stalled.stream.ready()
    quick = await world.relay.tail()
    while len(quick.text) < 2_002_000:
        await quick.step()
    arrived = sum(len(e.view) for e in stalled.stream.take() if hasattr(e, "view"))
    assert arrived <= 262_144


async def test_work_is_assigned_once(world: World, autojump_clock):
    first = await (await world.relay.open(ASSIGN, assign_body())).finish()
    again = await (await world.relay.open(ASSIGN, assign_body())).finish()
    answers = [AssignResponse.FromString(bytes(call.body)) for call in (first, again)]
    assert [a.already_assigned for a in answers] == [False, True]
    assert {a.pod for a in answers} == {"run1-a0-1"}
    (spec,) = world.cluster.specs
    assert (spec.image, spec.command, spec.args) == ("img", ("sh",), ("-c", "true"))
    assert spec.env["A"] == "b"
    assert spec.env["RUN_NAME"] == "run1", "flyte's runtime in the pod asks for it"


async def test_name_taken_by_another_attempt_is_told(world: World, autojump_clock):
    theirs = Attempt("acme", "a-b", "c", "run1", "a0", 1)
    ours = Attempt("acme", "a", "b-c", "run1", "a0", 1)
    world.cluster.change(pod_of(theirs))
    scope = Scope("acme", "a", "b-c", "c1")
    call = await (await world.relay.open(ASSIGN, assign_body(ours), scope=scope)).finish()
    assert b"already_exists" in call.body
    abort = AbortRequest(action=action(ours)).SerializeToString()
    assert (await (await world.relay.open(ABORT, abort, scope=scope)).finish()).status == 200
    assert len(world.cluster.pods) == 1, "and it is not ours to delete"


async def test_abort_deletes_the_pod_and_may_be_repeated(world: World, autojump_clock):
    world.cluster.change(pod_of(phase="Running"))
    abort = AbortRequest(action=action()).SerializeToString()
    for _ in range(2):
        assert (await (await world.relay.open(ABORT, abort)).finish()).status == 200
    assert world.cluster.pods == {}


async def test_cluster_that_is_down_is_unavailable(world: World, autojump_clock):
    world.cluster.fail = True
    call = await (await world.relay.open(ASSIGN, assign_body())).finish()
    assert b"unavailable" in call.body


async def test_bad_names_are_named(world: World, autojump_clock):
    bad = Attempt("acme", "proj", "dev", "run1", "", 1)
    call = await (await world.relay.open(ASSIGN, assign_body(bad))).finish()
    assert b"invalid_argument" in call.body
    assert b"action must be" in call.body


async def test_garbage_request_disturbs_nobody(world: World, autojump_clock):
    world.cluster.change(pod_of(phase="Running"))
    log_of(world).write(b"x")
    call = await (await world.relay.open(ASSIGN, b"\xff\xff\xff")).finish()
    assert b"invalid_argument" in call.body
    await (await world.relay.tail()).until_text("x\n")
