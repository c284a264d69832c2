"""How a session comes up and how it ends: refusals, expiry, drain, cuts, freezes, cancellation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from cast import AGENT, ANSWER, REQUEST, SETTINGS, TOKEN, auth, goaway, hello, ping
from trio.testing import MockClock, wait_all_tasks_blocked
from wires import (
    agent_session,
    body,
    read_all,
    refuse_all,
    relay_session,
    sit,
    tunnel,
    websocket_pair,
)

from tunnel.errors import AuthRefused, Code, LocalError, StreamReset, TransportClosed
from tunnel.events import Closed, End, Head, Reset
from tunnel.hello import Hello
from tunnel.memory import MAX_IN_FLIGHT_BYTES, memory_transport_pair
from tunnel.payload import Payload
from tunnel.stream import Stream

GIVE_UP_S = 10.0  # half-open detection, on either side


# Coming up.


@pytest.mark.parametrize(
    "code", [Code.AUTH_REFUSED, Code.AUTH_EXPIRED, Code.NOT_READY, Code.REVOKED]
)
async def test_a_refused_dialer_is_told_why(code: Code, autojump_clock: MockClock) -> None:
    def refuse(_hello: Hello, _token: Payload) -> float:
        raise AuthRefused(code=code)

    near, far, _ = memory_transport_pair()
    closed = []
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            closed.append(await relay_session(far, authenticate=refuse).serve(refuse_all))

        with pytest.raises(RuntimeError):  # it ended without having started
            await nursery.start(agent_session(near).serve, refuse_all)
    assert closed == [Closed(code, by_peer=False)]


async def test_the_refused_dialers_own_account(autojump_clock: MockClock) -> None:
    def refuse(_hello: Hello, _token: Payload) -> float:
        raise AuthRefused

    near, far, _ = memory_transport_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay_session(far, authenticate=refuse).serve, refuse_all)
        closed = await agent_session(near).serve(refuse_all)
    assert closed == Closed(Code.AUTH_REFUSED, by_peer=True)


async def test_the_judge_sees_hello_and_token(autojump_clock: MockClock) -> None:
    seen = []

    def judge(who: Hello, token: Payload) -> float:
        seen.append((who, token.reveal()))
        return 60.0

    async with tunnel(authenticate=judge) as pair:
        assert pair.agent.valid_s == 60.0
    assert seen == [(AGENT, TOKEN)]


async def test_a_peer_that_says_nothing_is_cut_off(autojump_clock: MockClock) -> None:
    near, far, _ = memory_transport_pair()
    closed = await relay_session(far).serve(refuse_all)
    assert closed == Closed(Code.TIMEOUT, by_peer=False)
    assert trio.current_time() <= GIVE_UP_S
    with pytest.raises(TransportClosed):
        await receive_until_closed(near)


async def receive_until_closed(transport: object) -> list[bytes]:
    frames: list[bytes] = []
    while True:
        frames += [bytes(f) for f in await transport.receive()]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([b"garbage"], Code.PROTOCOL),
        ([ping(bytes(8))], Code.PROTOCOL),
        ([hello(AGENT), auth(), b"junk"], Code.PROTOCOL),
        ([hello(replace(AGENT, min_version=9, max_version=9))], Code.VERSION),
        ([bytes(70_000)], Code.FRAME_TOO_LARGE),
    ],
)
async def test_a_peer_that_talks_nonsense_is_told_so(
    frames: list[bytes], code: Code, autojump_clock: MockClock
) -> None:
    near, far, _ = memory_transport_pair()
    await near.send([[frame] for frame in frames])
    assert await relay_session(far).serve(refuse_all) == Closed(code, by_peer=False)
    assert bytes((await near.receive())[-1]) == goaway(code)


# Tokens.


async def test_an_expired_token_ends_the_tunnel_and_a_fresh_one_prolongs_it(
    autojump_clock: MockClock,
) -> None:
    async with tunnel(sit, authenticate=lambda _hello, _token: 100.0) as pair:
        stream = pair.relay.open(REQUEST)
        await trio.sleep(90.0)
        pair.agent.reauthenticate(Payload(b"fresh"))
        await trio.sleep(90.0)
        assert pair.agent.is_open
        assert stream.reset_code is None
        await pair.over()
    assert pair.closed == {
        "relay": Closed(Code.AUTH_EXPIRED, by_peer=False),
        "agent": Closed(Code.AUTH_EXPIRED, by_peer=True),
    }
    assert 190.0 <= pair.closed_at["relay"] < 191.0
    assert stream.reset_code is Code.TUNNEL_LOST


async def test_a_revoked_refresh_ends_the_tunnel(autojump_clock: MockClock) -> None:
    def judge(_hello: Hello, token: Payload) -> float:
        if token.reveal() != TOKEN:
            raise AuthRefused(code=Code.REVOKED)
        return 100.0

    async with tunnel(authenticate=judge) as pair:
        pair.agent.reauthenticate(Payload(b"other"))
        await pair.over()
    assert pair.closed["agent"] == Closed(Code.REVOKED, by_peer=True)


# Ends on purpose.


async def test_close_tells_the_peer(autojump_clock: MockClock) -> None:
    async with tunnel(sit) as pair:
        stream = pair.relay.open(REQUEST)
        pair.relay.close(Code.REPLACED)
        pair.relay.close(Code.REPLACED)
        await pair.over()
        with pytest.raises(LocalError):
            pair.relay.open(REQUEST)
    assert pair.closed == {
        "relay": Closed(Code.REPLACED, by_peer=False),
        "agent": Closed(Code.REPLACED, by_peer=True),
    }
    assert pair.agent.goaway_code is Code.REPLACED
    assert await read_all(stream) == [Reset(Code.TUNNEL_LOST)]


async def test_drain_lets_exchanges_finish(autojump_clock: MockClock) -> None:
    finish = trio.Event()

    async def handler(stream: Stream) -> None:
        stream.head(ANSWER)
        await finish.wait()
        await stream.send(b"the end")
        stream.end()

    async with tunnel(handler) as pair:
        stream = pair.relay.open(REQUEST)
        stream.end()
        await wait_all_tasks_blocked()
        pair.relay.goaway(Code.DRAINING)
        await pair.agent.goaway_received.wait()
        assert pair.agent.goaway_code is Code.DRAINING
        assert not pair.agent.is_open
        for session in (pair.agent, pair.relay):
            with pytest.raises(LocalError) as caught:
                session.open(REQUEST)
            assert caught.value.code is Code.DRAINING
        await trio.sleep(30.0)
        finish.set()
        assert body(await read_all(stream)) == b"the end"
        await pair.over()
    assert {closed.code for closed in pair.closed.values()} == {Code.NO_ERROR}


async def test_drain_of_an_idle_tunnel_ends_it(autojump_clock: MockClock) -> None:
    async with tunnel() as pair:
        pair.agent.goaway()
        with trio.fail_after(1.0):
            await pair.over()


# Ends by accident.


@pytest.mark.parametrize("side", ["agent", "relay"])
async def test_a_cut_is_noticed_at_once(side: str, autojump_clock: MockClock) -> None:
    async with tunnel(sit) as pair:
        assert pair.link is not None
        stream = pair.relay.open(REQUEST)
        await stream.ready()
        pair.link.cut()
        await pair.over()
        assert await read_all(stream) == [Head(ANSWER), Reset(Code.TUNNEL_LOST)]
        with pytest.raises(StreamReset) as caught:
            await stream.ready()
    assert caught.value.code is Code.TUNNEL_LOST
    assert pair.closed[side] == Closed(Code.TUNNEL_LOST, by_peer=True)
    assert pair.closed_at[side] < 0.1
    assert pair.relay.granted_bytes == 0


async def test_a_silent_link_is_noticed_within_ten_seconds(autojump_clock: MockClock) -> None:
    async with tunnel(sit) as pair:
        assert pair.link is not None
        stream = pair.relay.open(REQUEST)
        await trio.sleep(20.0)
        frozen_at = trio.current_time()
        pair.link.freeze()
        await pair.over()
    for side in ("agent", "relay"):
        assert pair.closed[side] == Closed(Code.TIMEOUT, by_peer=False)
        assert pair.closed_at[side] - frozen_at <= GIVE_UP_S
    assert stream.reset_code is Code.TUNNEL_LOST


async def test_a_blocked_writer_does_not_delay_the_verdict(autojump_clock: MockClock) -> None:
    settings = replace(SETTINGS, window_bytes=4_194_304, send_queue_bytes=4_194_304)
    async with tunnel(sit, settings=settings) as pair:
        assert pair.link is not None
        stream = pair.relay.open(REQUEST)
        await stream.ready()
        frozen_at = trio.current_time()
        pair.link.freeze()
        await stream.send(bytes(2 * MAX_IN_FLIGHT_BYTES))
        with pytest.raises(StreamReset):
            await stream.flushed()
        await pair.over()
    assert pair.closed["relay"] == Closed(Code.TIMEOUT, by_peer=False)
    assert pair.closed_at["relay"] - frozen_at <= GIVE_UP_S


async def test_a_close_that_cannot_be_sent_ends_in_time(autojump_clock: MockClock) -> None:
    settings = replace(SETTINGS, window_bytes=4_194_304, send_queue_bytes=4_194_304)
    async with tunnel(sit, settings=settings) as pair:
        assert pair.link is not None
        stream = pair.relay.open(REQUEST)
        await stream.ready()
        pair.link.freeze()
        await stream.send(bytes(2 * MAX_IN_FLIGHT_BYTES))
        await wait_all_tasks_blocked()
        asked_at = trio.current_time()
        pair.relay.close(Code.DRAINING)
        await pair.over()
    assert pair.closed_at["relay"] - asked_at <= SETTINGS.close_s + 0.1


async def test_a_short_freeze_harms_nobody(autojump_clock: MockClock) -> None:
    async with tunnel(sit) as pair:
        assert pair.link is not None
        stream = pair.relay.open(REQUEST)
        for _ in range(5):
            pair.link.freeze()
            await trio.sleep(SETTINGS.dead_after_s - SETTINGS.ping_interval_s - 0.1)
            pair.link.thaw()
            await trio.sleep(SETTINGS.ping_interval_s + 0.1)
        assert stream.reset_code is None
        assert not pair.closed


async def test_a_process_that_was_stopped_reads_before_it_judges(mock_clock: MockClock) -> None:
    async with tunnel(sit) as pair:
        stream = pair.relay.open(REQUEST)
        await stream.ready()
        for jump_s in (15.0, 100.0):
            mock_clock.jump(jump_s)
            for _ in range(10):
                await wait_all_tasks_blocked()
            assert not pair.closed
            mock_clock.jump(1.0)
            await wait_all_tasks_blocked()
        assert stream.reset_code is None


async def test_an_idle_tunnel_lives_for_a_day(autojump_clock: MockClock) -> None:
    calm = replace(SETTINGS, ping_interval_s=30.0, dead_after_s=90.0)
    async with tunnel(sit, settings=calm, authenticate=lambda _hello, _token: 1e6) as pair:
        await trio.sleep(86_400.0)
        assert not pair.closed
        assert pair.relay.rtt_s is not None
        assert 0.0 <= pair.relay.rtt_s < 0.1


@pytest.mark.parametrize("kind", ["memory", "websocket"])
async def test_cancelling_from_outside_leaves_nothing_behind(
    kind: str, autojump_clock: MockClock
) -> None:
    ended = []

    async def handler(stream: Stream) -> None:
        try:
            await sit(stream)
        finally:
            ended.append(stream.id)

    near, far = await websocket_pair() if kind == "websocket" else memory_transport_pair()[:2]
    agent, relay = agent_session(near), relay_session(far)
    results = []
    tasks_before = trio.lowlevel.current_statistics().tasks_living
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _() -> None:
            results.append(await agent.serve(handler))

        with trio.CancelScope() as scope:
            async with trio.open_nursery() as inner:
                await inner.start(relay.serve, refuse_all)
                stream = relay.open(REQUEST)
                await stream.ready()
                scope.cancel()
        assert stream.reset_code is Code.TUNNEL_LOST
    assert trio.lowlevel.current_statistics().tasks_living == tasks_before
    assert results == [Closed(Code.TUNNEL_LOST, by_peer=True)]
    assert ended == [stream.id]
    with pytest.raises(TransportClosed):
        await far.send([[b"x" * 8]])


async def test_nothing_is_left_of_a_hundred_tunnels(autojump_clock: MockClock) -> None:
    async def handler(stream: Stream) -> None:
        stream.head(ANSWER)
        stream.end()

    tasks_before = trio.lowlevel.current_statistics().tasks_living
    for _ in range(100):
        async with tunnel(handler) as pair:
            stream = pair.relay.open(REQUEST)
            stream.end()
            assert await read_all(stream) == [Head(ANSWER), End()]
    assert trio.lowlevel.current_statistics().tasks_living == tasks_before
