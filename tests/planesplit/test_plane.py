"""A plane's process: ready line, deadline, journal ring, signals, and no orphan."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from planesplit.split.plane import PlaneFailed, PlaneProcess
from planesplit.split.ring import Ring

READY = "import json,sys,time; print(json.dumps({'event':'ready','port':7}), flush=True)\n"
JOURNAL = 'print(\'{"event": "tunnel_open", "n": 1}\', file=sys.stderr, flush=True)\n'
FOREVER = "time.sleep(60)\n"
READY_S = 10


def plane(script: str, *, died: list[str] | None = None) -> PlaneProcess:
    return PlaneProcess(
        "relay",
        Path("unused"),
        command=(sys.executable, "-c", script),
        on_exit=lambda gone: died.append(gone.name) if died is not None else None,
    )


@asynccontextmanager
async def started(one: PlaneProcess) -> AsyncIterator[PlaneProcess]:
    async with trio.open_nursery() as nursery:
        try:
            await one.start(nursery, ready_s=READY_S)
            yield one
        finally:
            one.kill()


async def test_ready_fields_and_journal_events() -> None:
    async with started(plane(READY + JOURNAL + FOREVER)) as one:
        assert one.ready["port"] == 7
        with trio.fail_after(READY_S):
            assert (await one.journal.event("tunnel_open"))["n"] == 1
        assert one.returncode is None


async def test_an_early_end_shows_the_last_lines() -> None:
    script = "import sys; print('key x is missing', file=sys.stderr); sys.exit(2)"
    with pytest.RaisesGroup(
        pytest.RaisesExc(PlaneFailed, match=r"relay ended with status 2.*\n  key x is missing")
    ):
        async with started(plane(script)):
            pytest.fail("it is not ready")


async def test_a_late_plane_is_killed_and_named() -> None:
    late = plane("import time; time.sleep(60)")
    async with trio.open_nursery() as nursery:
        with pytest.raises(PlaneFailed, match=r"relay was not ready within 0\.1 s"):
            await late.start(nursery, ready_s=0.1)
        assert await late.wait() == -signal.SIGKILL


async def test_an_unwanted_exit_is_reported_and_a_wanted_one_is_not() -> None:
    died: list[str] = []
    async with started(plane(READY + FOREVER, died=died)) as one:
        one.kill()
        await one.wait()
    assert died == []
    async with started(plane(READY, died=died)) as one:
        await one.wait()
    assert died == ["relay"]


async def test_stop_terminates_even_a_frozen_plane() -> None:
    async with started(plane(READY + FOREVER)) as one:
        one.signal(signal.SIGSTOP)
        assert await one.stop(grace_s=READY_S) == -signal.SIGTERM


async def test_a_cancelled_supervisor_can_still_stop_its_plane() -> None:
    async with trio.open_nursery() as nursery:
        one = plane(READY + FOREVER)
        await one.start(nursery, ready_s=READY_S)
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True), trio.fail_after(READY_S):
            assert await one.stop(grace_s=READY_S) == -signal.SIGTERM


async def test_stop_kills_what_ignores_sigterm() -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + FOREVER
    async with started(plane(stubborn)) as one:
        assert await one.stop(grace_s=0.05) == -signal.SIGKILL


async def test_kill_takes_the_whole_process_group() -> None:
    child = "import subprocess; c=subprocess.Popen(['sleep','60'])\n"
    tell = "print(json.dumps({'event':'ready','child':c.pid}), flush=True)\n"
    async with started(plane(child + "import json,time\n" + tell + FOREVER)) as one:
        grandchild = os.pidfd_open(one.ready["child"])
    with trio.fail_after(READY_S):
        await trio.lowlevel.wait_readable(grandchild)
    os.close(grandchild)


async def test_the_plane_dies_with_a_supervisor_killed_by_sigkill() -> None:
    inner = (
        "import sys, trio\nfrom pathlib import Path\n"
        "from planesplit.split.plane import PlaneProcess\n"
        "async def main():\n"
        f"    command = (sys.executable, '-c', {READY + FOREVER!r})\n"
        "    one = PlaneProcess('relay', Path('x'), command=command)\n"
        "    async with trio.open_nursery() as nursery:\n"
        "        await one.start(nursery, ready_s=10)\n"
        '        print(\'{"event":"ready","child":%d}\' % one.pid, flush=True)\n'
        "trio.run(main)\n"
    )
    async with started(plane(inner)) as supervisor:
        orphan = os.pidfd_open(supervisor.ready["child"])
        os.kill(supervisor.pid, signal.SIGKILL)  # only it: the child is in a group of its own
        with trio.fail_after(READY_S):
            await trio.lowlevel.wait_readable(orphan)
        os.close(orphan)


async def test_the_ring_is_bounded_and_numbers_lines() -> None:
    ring = Ring(max_lines=3)
    for number in range(5):
        ring.append(f'{{"event": "e{number}"}}')
    ring.append("x" * 9999)
    assert ring.count == 6
    assert [len(line) for line in ring.lines] == [15, 15, 4096]
    assert (await ring.event("e4", since=4))["event"] == "e4"


async def test_waiting_for_an_event_skips_the_past_and_ends_with_the_plane(
    autojump_clock: trio.testing.MockClock,
) -> None:
    ring = Ring()
    ring.append('{"event": "tunnel_open"}')
    with trio.move_on_after(1) as waited:
        await ring.event("tunnel_open", since=ring.count)
    assert waited.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_end, ring)
        await trio.testing.wait_all_tasks_blocked()
        ring.append("not json")
        ring.close()


async def expect_end(ring: Ring) -> None:
    with pytest.raises(EOFError, match="ended before tunnel_open"):
        await ring.event("tunnel_open", since=ring.count)
