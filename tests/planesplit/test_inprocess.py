"""A whole split in one process: the same objects, faults included, in simulated time."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from planesplit.connect_client import ConnectError
from planesplit.split.core import Split
from planesplit.split.options import SplitOptions
from planesplit.split.ring import parse
from planesplit.tail import Line

AGENT = "compute_agent"
CUTS = 200
RATE = 100.0

Fault = Callable[[Split], Awaitable[None]]


def options(*, insecure: bool = False) -> SplitOptions:
    return SplitOptions(mode="inprocess", insecure=insecure)


async def tailed(split: Split, seconds: float, fault: Fault) -> list[Line]:
    """Run a workload, fault it after its first line, assert that it was delivered exactly."""
    arguments = ["--lines", str(int(seconds * RATE)), "--rate", str(RATE), "--huge-bytes", "90000"]
    run = await split.run(workload="training", args=arguments)
    received: list[Line] = []
    async with trio.open_nursery() as nursery, split.tail(run) as lines:
        async for line in lines:
            received.append(line)
            if len(received) == 1:
                nursery.start_soon(fault, split)
    split.assert_delivered(run, received)
    return received


async def nothing(split: Split) -> None:
    pass


@pytest.mark.parametrize("insecure", [False, True], ids=["tokens", "insecure"])
async def test_run_and_tail(insecure: bool, autojump_clock: MockClock) -> None:
    async with Split(options(insecure=insecure)) as split:
        received = await tailed(split, 3, nothing)
        assert len(received) >= 300
        latency_s = max(line.received_ns - line.at_ns for line in received) / 1e9
        assert latency_s < 0.1
        (run,) = await split.viewer.runs()
        assert (await split.wait(run.name)).exit_code == 0
        assert autojump_clock.current_time() < 5


async def test_two_hundred_cuts_at_random_bytes(autojump_clock: MockClock) -> None:
    """Takes seconds: what is promised is promised for two hundred cuts."""
    rng = random.Random(20261122)

    async def cut_often(split: Split) -> None:
        for _ in range(CUTS):
            before, opened = split.link.cuts, split.journal(AGENT).count
            split.link.cut_after(rng.randrange(1, 4_000), rng.choice(["reset", "end"]))
            await split.link.wait_cut(before)
            await split.tunnel_open(opened)

    async with Split(options(insecure=True)) as split:
        await tailed(split, 60, cut_often)
        assert split.link.cuts == CUTS


async def test_the_agent_is_killed(autojump_clock: MockClock) -> None:
    async def kill(split: Split) -> None:
        await split.kill(AGENT)
        await trio.sleep(3)
        await split.restart(AGENT)

    async with Split(options()) as split:
        await tailed(split, 5, kill)


async def test_a_frozen_tunnel_is_noticed_and_replaced(autojump_clock: MockClock) -> None:
    async def freeze(split: Split) -> None:
        opened = split.journal(AGENT).count
        split.freeze(AGENT)
        await split.journal(AGENT).event("tunnel_lost", since=opened)
        split.thaw(AGENT)
        await split.tunnel_open(opened)

    async with Split(options()) as split:
        began = trio.current_time()
        await tailed(split, 5, freeze)
        assert 9 < trio.current_time() - began < 15  # half-open detection takes ten seconds


async def test_the_relay_is_killed_and_a_patient_viewer_goes_on(autojump_clock: MockClock) -> None:
    async def kill(split: Split) -> None:
        await split.kill("relay")
        await trio.sleep(1)
        await split.restart("relay")

    async with Split(options()) as split:
        await tailed(split, 5, kill)


async def test_an_agent_that_stays_away_ends_the_tail_for_an_impatient_viewer(
    autojump_clock: MockClock,
) -> None:
    async with Split(options(insecure=True)) as split:
        run = await split.run(workload="plain", args=["--lines", "1000", "--rate", "10"])
        async with split.tail(run, retry_for_s=0) as lines:
            await anext(lines)
            await split.kill(AGENT)
            killed_at = trio.current_time()
            with pytest.raises(ConnectError, match="unavailable"):
                async for _ in lines:
                    pass
        assert 29 < trio.current_time() - killed_at < 32  # the relay holds a tail for 30 s


async def test_the_control_plane_is_killed(autojump_clock: MockClock) -> None:
    async def kill(split: Split) -> None:
        await split.kill("control_stub")
        with pytest.raises(ConnectError, match="unavailable"):
            await split.viewer.runs()
        await split.restart("control_stub")

    async with Split(options()) as split:
        await tailed(split, 3, kill)


async def test_tokens_are_renewed_on_a_tunnel_that_stays(autojump_clock: MockClock) -> None:
    short = dataclasses.replace(options(), settings={"control_stub": {"limits": {"token_s": 60}}})
    async with Split(short) as split:
        await trio.sleep(600)
        events = [parse(line).get("event") for line in split.journal(AGENT).lines]
        assert events.count("token_rotated") >= 10
        assert events.count("tunnel_open") == 1
        await tailed(split, 1, nothing)


async def test_without_its_operator_the_tunnel_ends_with_its_token(
    autojump_clock: MockClock,
) -> None:
    short = dataclasses.replace(options(), settings={"control_stub": {"limits": {"token_s": 60}}})
    async with Split(short) as split:
        await split.kill("control_stub")  # who renews the token has nobody to ask
        with trio.fail_after(70):
            lost = await split.journal(AGENT).event("tunnel_lost")
        assert lost["code"] == "AUTH_EXPIRED"
        await split.heal()
        await tailed(split, 1, nothing)


async def test_faults_are_healed(autojump_clock: MockClock) -> None:
    async with Split(options(insecure=True)) as split:
        split.freeze(AGENT)
        split.link.refusing = True
        for plane in ("relay", "control_stub", AGENT):
            await split.kill(plane)
        await split.heal()
        await tailed(split, 1, nothing)


async def test_what_cannot_be_frozen_is_named(autojump_clock: MockClock) -> None:
    async with Split(options(insecure=True)) as split:
        with pytest.raises(ValueError, match="only compute_agent and relay can be frozen"):
            split.freeze("control_stub")
        with pytest.raises(ValueError, match="there is no plane 'moon'"):
            await split.kill("moon")


async def test_a_real_command_in_real_time() -> None:
    async with Split(options()) as split:
        run = await split.run(exec="echo one; echo two >&2; exit 4")
        async with split.tail(run) as lines:
            received = [line async for line in lines]
        split.assert_delivered(run, received)
        assert sorted(line.text for line in received) == ["one\n", "two\n"]
        assert (await split.wait(run)).exit_code == 4


async def test_an_image_is_pulled_and_counted_as_direct() -> None:
    async with Split(options(insecure=True)) as split:
        run = await split.run(image="registry.local/planesplit/workload:latest", args=["5"])
        assert (await split.wait(run)).exit_code == 0
        rows = {row.row.id: row for row in await split.assert_resident()}
        assert rows["A7"].direct > 0
        assert rows["A7"].relay == rows["A7"].control == 0
