"""Scripts: a stream's life, credit, order of sending, endings, drain."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cast import (
    AGENT,
    ANSWER,
    RELAY,
    REQUEST,
    SETTINGS,
    WINDOW,
    credit,
    data,
    dialer,
    end,
    established,
    goaway,
    head,
    mark,
    open_,
    reset,
)
from playbook import Playbook

from tunnel.connection import Connection, Phase, Role
from tunnel.errors import Code, LocalError
from tunnel.events import Closed, Data, End, Going, Head, Mark, Opened, Reset
from tunnel.frames import MAX_CURSOR_BYTES, MAX_DATA_BYTES, MAX_FRAME_BYTES, MIN_FRAME_BYTES
from tunnel.scheduler import MAX_CONTROL_FRAMES
from tunnel.stream_table import MAX_STREAM_ID

BLOB = bytes(range(256)) * 1024


def opened(role: Role = Role.ACCEPTOR) -> tuple[Connection, int]:
    """An end that has opened one stream."""
    core = established(role)
    stream_id = core.open(REQUEST, 0.0)
    core.frames_to_send()
    return core, stream_id


def answering(room: int = WINDOW) -> Connection:
    """A dialer whose peer has opened stream 2 and granted `room` bytes."""
    core = established(Role.DIALER)
    core.receive([memoryview(open_(2)), memoryview(credit(2, room))], 0.0)
    return core


def test_a_whole_exchange_seen_by_its_opener() -> None:
    core = established(Role.ACCEPTOR)
    with Playbook(core) as play:
        play.does("open", REQUEST, cursor=b"at 7").says(open_(2, cursor=b"at 7"), credit(2))
        play.does("data", 2, b"body").says(data(2, b"body"))
        play.does("end", 2).says(end(2))
        play.hears(head(2)).tells((2, Head(ANSWER)))
        play.hears(data(2, b"line"), mark(2, b"at 8"), mark(2))
        play.tells((2, Data(memoryview(b"line"))), (2, Mark(b"at 8")), (2, Mark(b"")))
        play.hears(end(2)).tells((2, End()))
    assert core.streams_open == 0


def test_a_whole_exchange_seen_by_its_handler() -> None:
    core = established(Role.DIALER)
    with Playbook(core) as play:
        play.hears(open_(2, cursor=b"c")).tells((2, Opened(REQUEST, b"c")))
        play.hears(data(2, b"body"), end(2)).tells((2, Data(memoryview(b"body"))), (2, End()))
        play.does("head", 2, ANSWER).says(head(2))
        play.does("data", 2, b"line")
        play.does("mark", 2, b"at 8")
        play.does("end", 2)
        play.hears(credit(2)).says(data(2, b"line"), mark(2, b"at 8"), end(2))
    assert core.streams_open == 0
    assert core.granted_bytes == len(b"body")


def test_both_ends_number_their_streams() -> None:
    for role, ids in ((Role.DIALER, [1, 3, 5]), (Role.ACCEPTOR, [2, 4, 6])):
        core = established(role)
        assert [core.open(REQUEST, 0.0) for _ in ids] == ids


def test_empty_data_is_no_frame() -> None:
    core, stream_id = opened()
    with Playbook(core) as play:
        play.does("data", stream_id, b"")


def test_large_data_is_cut_into_frames_of_the_peers_size() -> None:
    core = established(Role.DIALER, peer=replace(RELAY, max_frame_bytes=MIN_FRAME_BYTES))
    core.open(REQUEST, 0.0)
    core.data(1, BLOB)
    frames = core.frames_to_send(1 << 20)[2:]
    assert max(len(b"".join(f)) for f in frames) == MIN_FRAME_BYTES
    assert b"".join(bytes(f[1]) for f in frames) == BLOB[:WINDOW]
    assert core.unsent(1) == len(BLOB) - WINDOW


def test_no_frame_is_larger_than_the_protocols_limit() -> None:
    core = answering(room=len(BLOB))
    core.head(2, ANSWER)
    core.data(2, BLOB)
    sizes = [len(b"".join(f)) for f in core.frames_to_send(1 << 20)]
    assert max(sizes) == MAX_FRAME_BYTES


def test_data_is_not_copied() -> None:
    core = answering(room=len(BLOB))
    core.head(2, ANSWER)
    core.data(2, BLOB)
    pieces = [f[1] for f in core.frames_to_send(1 << 20)[1:]]
    assert all(isinstance(p, memoryview) and p.obj is BLOB for p in pieces)


def test_the_batch_stops_near_its_budget() -> None:
    core = answering(room=len(BLOB))
    core.head(2, ANSWER)
    core.data(2, BLOB)
    size = sum(len(p) for f in core.frames_to_send(10_000) for p in f)
    assert 10_000 <= size <= 10_000 + MAX_FRAME_BYTES
    assert core.wants_write


# Credit.


def test_data_waits_for_credit() -> None:
    core = established(Role.DIALER)
    with Playbook(core) as play:
        play.hears(open_(2)).tells((2, Opened(REQUEST, b"")))
        play.does("head", 2, ANSWER).says(head(2))
        play.does("data", 2, b"abcdef")
        play.hears(credit(2, 4)).says(data(2, b"abcd"))
        play.hears(credit(2, 1)).says(data(2, b"e"))
        play.hears(credit(2, 9)).says(data(2, b"f"))
        play.does("data", 2, b"ghijklmnop").says(data(2, b"ghijklmn"))
    assert core.unsent(2) == 2
    assert not core.wants_write


def test_hello_gives_the_opener_its_first_credit() -> None:
    core = established(Role.ACCEPTOR, peer=replace(AGENT, window_bytes=3))
    with Playbook(core) as play:
        play.does("open", REQUEST).says(open_(2), credit(2))
        play.does("data", 2, b"abcd").says(data(2, b"abc"))


def test_credit_comes_back_in_eighths() -> None:
    core, stream_id = opened()
    core.receive([memoryview(head(2)), memoryview(data(2, bytes(30_000)))], 0.0)
    with Playbook(core) as play:
        play.does("consumed", stream_id, WINDOW // 8 - 1)
        play.does("consumed", stream_id, 1).says(credit(2, WINDOW // 8))
        play.does("consumed", stream_id, 100)


def test_credit_granted_while_nothing_can_be_sent_is_one_frame() -> None:
    core, stream_id = opened()
    core.receive([memoryview(head(2)), memoryview(data(2, bytes(60_000)))], 0.0)
    for _ in range(5):
        core.consumed(stream_id, 12_000, 0.0)
    assert core.wants_write
    frames = core.frames_to_send()
    assert [bytes(f[0]) for f in frames] == [credit(2, 60_000)]


def test_an_overrun_resets_that_stream_only() -> None:
    core = established(Role.DIALER)
    with Playbook(core) as play:
        play.hears(open_(2), open_(4)).tells((2, Opened(REQUEST, b"")), (4, Opened(REQUEST, b"")))
        play.hears(data(2, bytes(60_000))).tells((2, Data(memoryview(bytes(60_000)))))
        play.hears(data(2, bytes(WINDOW - 60_000 + 1)), data(4, b"fine"))
        play.tells((2, Reset(Code.FLOW_CONTROL)), (4, Data(memoryview(b"fine"))))
        play.says(reset(2, Code.FLOW_CONTROL))
        play.hears(data(2, b"late"))
    assert core.streams_open == 1


def test_a_window_may_be_filled_to_the_last_byte() -> None:
    core = established(Role.DIALER)
    core.receive([memoryview(open_(2))], 0.0)
    rest = WINDOW - MAX_DATA_BYTES
    events = core.receive(
        [memoryview(data(2, bytes(MAX_DATA_BYTES))), memoryview(data(2, bytes(rest)))], 0.0
    )
    assert [type(e) for _, e in events] == [Data, Data]
    assert core.granted_bytes == WINDOW


@pytest.mark.parametrize("count", [0, 2**31 - 1, 2**32 - 1])
def test_absurd_credit_ends_the_tunnel(count: int) -> None:
    core, stream_id = opened()
    with Playbook(core) as play:
        play.hears(credit(stream_id, count))
        play.tells((2, Reset(Code.TUNNEL_LOST)), (0, Closed(Code.PROTOCOL, by_peer=False)))
        play.says(goaway(Code.PROTOCOL))


def test_consuming_what_never_came_is_our_bug() -> None:
    core, stream_id = opened()
    with Playbook(core) as play:
        play.fails(LocalError, Code.INTERNAL, "consumed", stream_id, 1)
        play.fails(LocalError, Code.INTERNAL, "consumed", 99, 0)
        play.hears(head(2), data(2, b"abc")).tells((2, Head(ANSWER)), (2, Data(memoryview(b"abc"))))
        play.fails(LocalError, Code.INTERNAL, "consumed", stream_id, 4)
        play.fails(LocalError, Code.INTERNAL, "consumed", stream_id, -1)


def test_no_credit_for_a_half_that_has_ended() -> None:
    core, stream_id = opened()
    core.receive([memoryview(f) for f in (head(2), data(2, bytes(60_000)), end(2))], 0.0)
    with Playbook(core) as play:
        play.does("consumed", stream_id, 60_000)
    assert core.streams_open == 1


# Growth.


def grow(core: Connection, stream_id: int, window: int) -> None:
    """Let the peer use up `window` bytes of credit and the consumer take them all."""
    frames = [data(stream_id, bytes(n)) for n in cut(window)]
    core.receive([memoryview(f) for f in frames], 0.0)
    core.consumed(stream_id, window, 0.0)
    core.frames_to_send()


def cut(size: int) -> list[int]:
    return [MAX_DATA_BYTES] * (size // MAX_DATA_BYTES) + [size % MAX_DATA_BYTES]


def test_a_window_grows_for_a_consumer_that_keeps_up_and_shrinks_when_it_stalls() -> None:
    core, stream_id = opened()
    core.receive([memoryview(head(2))], 0.0)
    for window in (WINDOW, SETTINGS.window_default_bytes):
        assert core.granted_bytes == window
        grow(core, stream_id, window)
    assert core.granted_bytes == 2 * SETTINGS.window_default_bytes
    held = [data(2, bytes(n)) for n in cut(core.granted_bytes)]
    core.receive([memoryview(f) for f in held], 1.0)
    core.tick(1.0 + SETTINGS.stall_s)
    core.frames_to_send()
    with Playbook(core, now=7.0) as play:
        play.does("consumed", stream_id, 2 * SETTINGS.window_default_bytes - WINDOW)
        play.does("consumed", stream_id, WINDOW).says(credit(stream_id, WINDOW))
    assert core.granted_bytes == WINDOW


# Endings.


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
