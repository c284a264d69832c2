"""Scripts: how streams and tunnels end, and how many there may be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cast import (
    AGENT,
    ANSWER,
    REQUEST,
    SETTINGS,
    answering,
    credit,
    data,
    dialer,
    end,
    established,
    goaway,
    head,
    mark,
    open_,
    opened,
    reset,
)
from playbook import Playbook

from tunnel.connection import Phase, Role
from tunnel.errors import Code, LocalError
from tunnel.events import Closed, Data, End, Going, Head, Opened, Reset
from tunnel.frames import MAX_CURSOR_BYTES
from tunnel.scheduler import MAX_CONTROL_FRAMES
from tunnel.stream_table import MAX_STREAM_ID


@pytest.mark.parametrize("code", list(Code))
def test_a_reset_from_either_side_ends_both_halves(code: Code) -> None:
    core, stream_id = opened()
    core.data(stream_id, b"never sent")
    with Playbook(core) as play:
        play.does("reset", stream_id, code).says(reset(2, code))
        play.does("reset", stream_id, code)
        play.hears(head(2), data(2, b"crossing"), credit(2), mark(2), end(2), reset(2, code))
        play.fails(LocalError, Code.CANCELLED, "data", stream_id, b"x")
    core, stream_id = opened()
    core.data(stream_id, b"never sent")
    with Playbook(core) as play:
        play.hears(reset(2, code)).tells((2, Reset(code)))
        play.fails(LocalError, Code.CANCELLED, "end", stream_id)
    assert core.streams_open == core.unsent(2) == core.granted_bytes == 0


def test_an_unknown_code_reads_as_internal() -> None:
    core, _ = opened()
    with Playbook(core) as play:
        play.hears(reset(2, 999)).tells((2, Reset(Code.INTERNAL)))
        play.hears(goaway(999))
        play.tells((0, Going(0, Code.INTERNAL)), (0, Closed(Code.INTERNAL, by_peer=True)))


def test_reset_drops_credit_that_waits() -> None:
    core, stream_id = opened()
    core.receive([memoryview(head(2)), memoryview(data(2, bytes(60_000)))], 0.0)
    core.consumed(stream_id, 60_000, 0.0)
    with Playbook(core) as play:
        play.does("reset", stream_id, Code.CANCELLED).says(reset(2, Code.CANCELLED))


def test_bytes_held_by_a_consumer_outlive_their_stream() -> None:
    core, stream_id = opened()
    core.receive([memoryview(f) for f in (head(2), data(2, bytes(100)), reset(2, 11))], 0.0)
    assert (core.streams_open, core.granted_bytes) == (0, 100)
    core.consumed(stream_id, 60, 0.0)
    assert core.granted_bytes == 40
    core.consumed(stream_id, 40, 0.0)
    assert core.granted_bytes == 0
    with Playbook(core) as play:
        play.fails(LocalError, Code.INTERNAL, "consumed", stream_id, 1)


def test_ended_streams_count_until_their_bytes_are_gone() -> None:
    core = established(Role.DIALER, settings=replace(SETTINGS, max_streams=1))
    core.receive([memoryview(f) for f in (open_(2), data(2, b"held"), reset(2, 11))], 0.0)
    with Playbook(core) as play:
        play.hears(open_(4)).says(reset(4, Code.REFUSED))
        play.does("consumed", 2, 4)
        play.hears(open_(6)).tells((6, Opened(REQUEST, b"")))


def test_a_stream_may_have_ended_before_its_last_byte_left() -> None:
    core = answering(room=2)
    core.head(2, ANSWER)
    core.data(2, b"abc")
    core.end(2)
    core.frames_to_send()
    with Playbook(core) as play:
        play.hears(end(2)).tells((2, End()))
        play.hears(credit(2, 1)).says(data(2, b"c"), end(2))
    assert core.streams_open == 0


# Limits.


def test_a_peer_may_not_open_more_streams_than_it_was_told() -> None:
    core = established(Role.DIALER, settings=replace(SETTINGS, max_streams=1))
    with Playbook(core) as play:
        play.hears(open_(2)).tells((2, Opened(REQUEST, b"")))
        play.hears(open_(4)).says(reset(4, Code.REFUSED))
        play.hears(data(4, b"sent before the reset came"))
        play.hears(reset(2, Code.CANCELLED)).tells((2, Reset(Code.CANCELLED)))
        play.hears(open_(6)).tells((6, Opened(REQUEST, b"")))


@pytest.mark.parametrize(("ours", "theirs"), [(1, 9), (9, 1)])
def test_we_open_no_more_streams_than_both_ends_allow(ours: int, theirs: int) -> None:
    settings = replace(SETTINGS, max_streams=ours)
    core = established(Role.ACCEPTOR, settings, peer=replace(AGENT, max_streams=theirs))
    core.open(REQUEST, 0.0)
    core.frames_to_send()
    with Playbook(core) as play:
        play.fails(LocalError, Code.REFUSED, "open", REQUEST)
        play.hears(reset(2, Code.CANCELLED)).tells((2, Reset(Code.CANCELLED)))
        play.does("open", REQUEST).says(open_(4), credit(4))


def test_ids_end_before_they_wrap() -> None:
    core = established(Role.ACCEPTOR)
    core._streams._next_id = MAX_STREAM_ID - 1
    assert core.open(REQUEST, 0.0) == MAX_STREAM_ID - 1
    with pytest.raises(LocalError, match="every stream id"):
        core.open(REQUEST, 0.0)


def test_cursors_are_short() -> None:
    core = answering()
    core.head(2, ANSWER)
    core.frames_to_send()
    longest, longer = bytes(MAX_CURSOR_BYTES), bytes(MAX_CURSOR_BYTES + 1)
    with Playbook(core) as play:
        play.does("mark", 2, longest).says(mark(2, longest))
        play.fails(LocalError, Code.INTERNAL, "mark", 2, longer)
        play.does("open", REQUEST, cursor=longest).says(open_(1, cursor=longest), credit(1))
    with pytest.raises(LocalError):
        core.open(REQUEST, 0.0, longer)


def test_opening_waits_for_the_peer_to_read() -> None:
    settings = replace(SETTINGS, max_streams=MAX_CONTROL_FRAMES)
    core = established(Role.ACCEPTOR, settings, peer=replace(AGENT, max_streams=65_536))
    while core._scheduler._control.__len__() < MAX_CONTROL_FRAMES:
        core.reset(core.open(REQUEST, 0.0), Code.CANCELLED)
    with pytest.raises(LocalError):
        core.open(REQUEST, 0.0)
    assert core.phase is Phase.OPEN


def test_a_queue_that_nobody_reads_ends_the_tunnel() -> None:
    core = established(Role.ACCEPTOR)
    keep = core.open(REQUEST, 0.0)
    while core.phase is Phase.OPEN:
        core.goaway(Code.DRAINING)
        core._control(goaway(Code.DRAINING))
    core.reset(keep, Code.CANCELLED)
    assert core.receive([], 0.0) == [
        (keep, Reset(Code.TUNNEL_LOST)),
        (0, Closed(Code.REFUSED, by_peer=False)),
    ]


def test_resetting_into_a_full_queue_ends_the_tunnel() -> None:
    core = established(Role.ACCEPTOR)
    keep = core.open(REQUEST, 0.0)
    while not core._scheduler.full:
        core._control(goaway(Code.DRAINING))
    core.reset(keep, Code.CANCELLED)
    assert core.lost() == [(0, Closed(Code.REFUSED, by_peer=False))]


def test_accepting_into_a_full_queue_ends_the_tunnel() -> None:
    core = established(Role.ACCEPTOR)
    while not core._scheduler.full:
        core._control(goaway(Code.DRAINING))
    assert core.accept(60.0, 0.0) == [(0, Closed(Code.REFUSED, by_peer=False))]
    assert core.phase is Phase.CLOSED


# Drain and end.


def test_drain_lets_streams_finish_and_takes_no_new_ones() -> None:
    core = established(Role.DIALER)
    with Playbook(core) as play:
        play.hears(open_(2)).tells((2, Opened(REQUEST, b"")))
        play.does("goaway", Code.DRAINING).says(goaway(Code.DRAINING, last_stream=2))
        play.does("goaway", Code.DRAINING)
        play.hears(open_(4)).says(reset(4, Code.DRAINING))
        play.fails(LocalError, Code.DRAINING, "open", REQUEST)
        play.hears(end(2)).tells((2, End()))
    assert not core.idle
    with Playbook(core) as play:
        play.does("head", 2, ANSWER).says(head(2))
        play.does("end", 2).says(end(2))
    assert core.idle


def test_a_peer_that_drains_gets_no_new_streams() -> None:
    core, _ = opened()
    with Playbook(core) as play:
        play.hears(goaway(Code.DRAINING, 2)).tells((0, Going(2, Code.DRAINING)))
        play.fails(LocalError, Code.DRAINING, "open", REQUEST)
        play.hears(head(2), data(2, b"x")).tells((2, Head(ANSWER)), (2, Data(memoryview(b"x"))))
    assert not core.idle
    core.reset(2, Code.CANCELLED)
    assert core.idle


@pytest.mark.parametrize("code", [c for c in Code if c is not Code.DRAINING])
def test_any_other_goaway_ends_the_tunnel(code: Code) -> None:
    core, _ = opened()
    with Playbook(core) as play:
        play.hears(goaway(code, 2), data(2, b"not read any more"))
        play.tells((0, Going(2, code)), (2, Reset(Code.TUNNEL_LOST)))
        play.tells((0, Closed(code, by_peer=True)))
        play.hears(open_(1))
        play.at(99.0)
        play.does("goaway", Code.DRAINING)
    assert core.streams_open == 0


def test_close_tells_the_peer_and_happens_once() -> None:
    core, _ = opened()
    with Playbook(core) as play:
        play.does("close", Code.REPLACED)
        play.tells((2, Reset(Code.TUNNEL_LOST)), (0, Closed(Code.REPLACED, by_peer=False)))
        play.says(goaway(Code.REPLACED))
        play.does("close", Code.REPLACED)
        play.does("lost")


def test_a_lost_transport_ends_every_stream() -> None:
    core, stream_id = opened()
    core.receive([memoryview(head(2)), memoryview(data(2, b"abc"))], 0.0)
    with Playbook(core) as play:
        play.does("lost")
        play.tells((2, Reset(Code.TUNNEL_LOST)), (0, Closed(Code.TUNNEL_LOST, by_peer=True)))
        play.does("consumed", stream_id, 3)
    assert core.granted_bytes == 0


def test_nothing_is_opened_before_the_tunnel_is() -> None:
    core = dialer()
    core.frames_to_send()
    with Playbook(core) as play:
        play.fails(LocalError, Code.TUNNEL_LOST, "open", REQUEST)
