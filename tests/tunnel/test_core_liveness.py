"""Scripts: pings, round-trip time, dead peers, and a process that was frozen."""

from __future__ import annotations

import math

import pytest
from cast import (
    AGENT,
    FIRST_PING,
    RELAY,
    REQUEST,
    SETTINGS,
    VALID_S,
    auth,
    auth_ok,
    credit,
    dialer,
    established,
    goaway,
    hello,
    open_,
    ping,
    pong,
)
from playbook import Playbook

from tunnel.connection import Connection, Role
from tunnel.errors import Code
from tunnel.events import Closed, Established, Reset
from tunnel.liveness import Liveness

PING_S, DEAD_S = SETTINGS.ping_interval_s, SETTINGS.dead_after_s
FIRST, SECOND, THIRD = ((n).to_bytes(8, "big") for n in (2, 3, 4))  # the 1st: below


@pytest.mark.parametrize("role", list(Role))
def test_a_silent_peer_is_asked_and_then_given_up(role: Role) -> None:
    with Playbook(established(role)) as play:
        play.at(PING_S - 0.1)
        play.at(PING_S).says(ping(FIRST))
        play.at(PING_S + 0.1)
        play.at(2 * PING_S).says(ping(SECOND))
        play.at(DEAD_S - 0.1)
        play.at(DEAD_S).tells((0, Closed(Code.TIMEOUT, by_peer=False)))
        play.says(goaway(Code.TIMEOUT))


def test_half_open_detection_is_within_ten_seconds() -> None:
    core = established(Role.DIALER)
    assert gives_up_at(core, start=0.0) <= 10.0


def gives_up_at(core: Connection, start: float) -> float:
    """Run a driver that only ticks when it must, until the connection gives up."""
    now = start
    for _ in range(100):
        now = max(now, core.deadline())
        if any(isinstance(event, Closed) for _, event in core.tick(now)):
            return now
    raise AssertionError("it never gave up")


def test_streams_hear_of_a_dead_peer() -> None:
    core = established(Role.DIALER)
    core.open(REQUEST, 0.0)
    with Playbook(core) as play:
        play.does("goaway", Code.DRAINING)
        play.says(open_(1), goaway(Code.DRAINING), credit(1))
        play.at(5.0).says(ping(FIRST))
        play.at(9.0).tells((1, Reset(Code.TUNNEL_LOST)), (0, Closed(Code.TIMEOUT, by_peer=False)))
        play.says(goaway(Code.TIMEOUT))


def test_the_answer_to_the_latest_ping_gives_the_round_trip_time() -> None:
    core = established(Role.DIALER)
    with Playbook(core) as play:
        play.at(PING_S).says(ping(FIRST))
        play.now = PING_S + 0.25
        play.hears(pong(b"not ours"))
        assert core.rtt_s is None
        play.hears(pong(FIRST))
        assert core.rtt_s == 0.25
        play.now += 1.0
        play.hears(pong(FIRST))
    assert core.rtt_s == 0.25


def test_the_round_trip_time_is_known_from_the_start() -> None:
    with Playbook(dialer()) as play:
        play.hears(hello(RELAY)).says(hello(AGENT), auth())
        play.hears(auth_ok()).tells((0, Established(RELAY, VALID_S))).says(FIRST_PING)
        play.now = 0.125
        play.hears(pong((1).to_bytes(8, "big")))
    assert play.core.rtt_s == 0.125


def test_the_least_of_the_latest_round_trip_times_counts() -> None:
    """A queue that a PONG waited in does not count; a link that has become longer does."""
    liveness, floors, now = Liveness(SETTINGS, 0.0), [], 0.0
    assert liveness.floor_s() == math.inf
    for rtt_s in (0.25, 0.5, 0.125, 2.0, 1.0, 0.5, 1.0):
        now += PING_S
        asked = liveness.ping(now)
        assert asked is not None
        liveness.pong(asked, now + rtt_s)
        floors.append(liveness.floor_s())
    assert floors == [0.25, 0.25, 0.125, 0.125, 0.125, 0.125, 0.5]


def test_a_busy_peer_is_measured_too() -> None:
    core = established(Role.DIALER)
    with Playbook(core) as play:
        play.now = PING_S - 0.1
        play.hears(ping(b"12345678")).says(pong(b"12345678"))
        play.at(PING_S).says(ping(FIRST))
        play.hears(pong(FIRST))
        play.at(2 * PING_S).says(ping(SECOND))


def test_anything_heard_keeps_the_peer_alive() -> None:
    with Playbook(established(Role.DIALER)) as play:
        for n in range(1, 8):
            play.now = n * PING_S - 0.5
            play.hears(pong(bytes(8)))
            play.at(n * PING_S).says(ping((n + 1).to_bytes(8, "big")))


def test_after_a_freeze_the_socket_is_read_before_the_peer_is_judged() -> None:
    core = established(Role.DIALER)
    with Playbook(core) as play:
        play.at(PING_S).says(ping(FIRST))
        play.at(PING_S + 15.0).says(ping(SECOND))
        play.hears(pong(FIRST))
        play.at(PING_S + 18.0).says(ping(THIRD))
    assert core.rtt_s is None


def test_after_a_freeze_a_peer_that_left_is_noticed_within_ten_seconds() -> None:
    core = established(Role.DIALER)
    thawed = 100.0
    assert core.tick(thawed) == []
    assert thawed + PING_S < gives_up_at(core, start=thawed) <= thawed + 10.0


def test_a_clock_that_jumps_back_harms_nobody() -> None:
    core = established(Role.DIALER)
    core.receive([], 1000.0)
    assert core.tick(999.0) == []
