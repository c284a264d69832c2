"""Scripts: a stream's life, credit, order of sending, growth."""

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
    answering,
    credit,
    data,
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

from tunnel.connection import Connection, Role
from tunnel.errors import Code, LocalError
from tunnel.events import Closed, Data, End, Head, Mark, Opened, Reset
from tunnel.frames import MAX_DATA_BYTES, MAX_FRAME_BYTES, MIN_FRAME_BYTES
from tunnel.scheduler import QUANTUM_BYTES

BLOB = bytes(range(256)) * 1024


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
    core = answering(room=3 * len(BLOB))
    core.head(2, ANSWER)
    for _ in range(3):
        core.data(2, BLOB)
    size = sum(len(p) for f in core.frames_to_send(10_000) for p in f)
    assert 10_000 <= size <= 10_000 + QUANTUM_BYTES
    assert core.wants_write


# Credit.


def test_a_stream_that_is_not_there_has_nothing_unsent() -> None:
    assert established(Role.DIALER).unsent(99) == 0


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
