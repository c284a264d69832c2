"""Scripts: every way in which a frame can be wrong ends in a clear GOAWAY, in no exception."""

from __future__ import annotations

import json
import struct

import pytest
from cast import (
    AGENT,
    REQUEST,
    SETTINGS,
    acceptor,
    credit,
    data,
    end,
    established,
    goaway,
    head,
    hello,
    mark,
    open_,
    ping,
    pong,
    reset,
)
from playbook import Playbook

from tunnel.connection import Connection, Role
from tunnel.errors import Code
from tunnel.events import Closed, Data, End, Opened, Reset
from tunnel.frames import (
    HEADER,
    MAX_CURSOR_BYTES,
    MAX_FRAME_BYTES,
    MAX_HEAD_BYTES,
    RULES,
    FrameType,
    frame,
)
from tunnel.hello import OPTIONAL
from tunnel.scheduler import MAX_CONTROL_FRAMES

STREAM = 2


def with_stream() -> Connection:
    """A dialer with stream 2 opened by its peer."""
    core = established(Role.DIALER)
    core.receive([memoryview(open_(STREAM))], 0.0)
    return core


def ends_with(code: Code, *frames: bytes) -> None:
    """The last frame ends the tunnel with `code`, and the open stream hears of it."""
    core = with_stream()
    events = core.receive([memoryview(f) for f in frames], 0.0)
    assert events[-2:] == [(STREAM, Reset(Code.TUNNEL_LOST)), (0, Closed(code, by_peer=False))]
    last = core.frames_to_send()[-1]
    assert bytes(last[0]) == goaway(code, core._streams.last_peer_id)


def raw(kind: int, flags: int = 0, reserved: int = 0, stream_id: int = 0, size: int = 0) -> bytes:
    return HEADER.pack(kind, flags, reserved, stream_id) + bytes(size)


@pytest.mark.parametrize("size", range(HEADER.size))
def test_no_header(size: int) -> None:
    ends_with(Code.PROTOCOL, bytes(size))


@pytest.mark.parametrize("kind", [0, 13, 99, 255])
def test_unknown_type(kind: int) -> None:
    ends_with(Code.PROTOCOL, raw(kind, stream_id=STREAM, size=8))


@pytest.mark.parametrize("kind", list(FrameType))
def test_every_type_with_reserved_bits_flags_or_a_wrong_id(kind: FrameType) -> None:
    rule = RULES[kind]
    right = STREAM if rule.on_stream else 0
    size = rule.low_bytes
    ends_with(Code.PROTOCOL, raw(kind, 0, 1, right, size))
    ends_with(Code.PROTOCOL, raw(kind, 0x80, 0, right, size))
    ends_with(Code.PROTOCOL, raw(kind, 0, 0, 0 if right else STREAM, size))


@pytest.mark.parametrize("kind", list(FrameType))
def test_every_type_too_short_or_too_long(kind: FrameType) -> None:
    rule = RULES[kind]
    right = STREAM if rule.on_stream else 0
    if rule.low_bytes:
        ends_with(Code.PROTOCOL, raw(kind, 0, 0, right, rule.low_bytes - 1))
    too_long = raw(kind, 0, 0, right, rule.high_bytes + 1)
    code = Code.FRAME_TOO_LARGE if len(too_long) > MAX_FRAME_BYTES else Code.PROTOCOL
    ends_with(code, too_long)


def test_a_frame_over_the_limit() -> None:
    ends_with(Code.FRAME_TOO_LARGE, data(STREAM, bytes(MAX_FRAME_BYTES)))


@pytest.mark.parametrize("stream_id", [1, 3, 4, 99, 2**32 - 1])
@pytest.mark.parametrize(
    "make",
    [
        lambda i: head(i),
        lambda i: data(i, b"x"),
        lambda i: mark(i),
        lambda i: credit(i),
        lambda i: end(i),
        lambda i: reset(i, 0),
    ],
    ids=["HEAD", "DATA", "MARK", "CREDIT", "END", "RESET"],
)
def test_a_stream_that_was_never_opened(make: object, stream_id: int) -> None:
    assert callable(make)
    ends_with(Code.UNKNOWN_STREAM, make(stream_id))


@pytest.mark.parametrize("stream_id", [1, 2, 3])
def test_open_with_an_id_that_is_used_or_ours(stream_id: int) -> None:
    ends_with(Code.PROTOCOL, open_(stream_id))


def test_ids_only_rise() -> None:
    core = with_stream()
    with Playbook(core) as play:
        play.hears(open_(8)).tells((8, Opened(REQUEST, b"")))
        play.hears(data(4, b"skipped ids count as used"), end(6))
        play.hears(open_(6))
        play.tells((2, Reset(Code.TUNNEL_LOST)), (8, Reset(Code.TUNNEL_LOST)))
        play.tells((0, Closed(Code.PROTOCOL, by_peer=False))).says(goaway(Code.PROTOCOL, 8))


def test_the_id_of_a_reset_stream_is_not_reused() -> None:
    with Playbook(with_stream()) as play:
        play.hears(reset(STREAM, 0)).tells((STREAM, Reset(Code.NO_ERROR)))
        play.hears(open_(STREAM)).tells((0, Closed(Code.PROTOCOL, by_peer=False)))
        play.says(goaway(Code.PROTOCOL, STREAM))


@pytest.mark.parametrize(
    "late",
    [data(STREAM, b"x"), mark(STREAM), head(STREAM), end(STREAM)],
    ids=["DATA", "MARK", "HEAD", "END"],
)
def test_nothing_after_end(late: bytes) -> None:
    ends_with(Code.PROTOCOL, end(STREAM), late)


def test_an_answer_begins_with_its_head() -> None:
    for bad in (data(1, b"x"), mark(1), end(1)):
        core = established(Role.DIALER)
        core.open(REQUEST, 0.0)
        events = core.receive([memoryview(bad)], 0.0)
        assert events[-1] == (0, Closed(Code.PROTOCOL, by_peer=False))


def test_one_head_and_only_from_the_answering_side() -> None:
    ends_with(Code.PROTOCOL, head(STREAM))
    core = established(Role.DIALER)
    core.open(REQUEST, 0.0)
    events = core.receive([memoryview(head(1)), memoryview(head(1))], 0.0)
    assert events[-1] == (0, Closed(Code.PROTOCOL, by_peer=False))


@pytest.mark.parametrize(
    "body",
    [
        struct.pack("!H", 500) + b"{}",
        struct.pack("!H", 0),
        struct.pack("!H", 2) + b"{}" + bytes(MAX_CURSOR_BYTES + 1),
        struct.pack("!H", len(REQUEST.encode())) + REQUEST.encode() + bytes(MAX_CURSOR_BYTES + 1),
        struct.pack("!H", 2) + b"\xff\xfe",
        struct.pack("!H", 2) + b"[]",
    ],
)
def test_open_whose_parts_do_not_add_up(body: bytes) -> None:
    ends_with(Code.PROTOCOL, frame(FrameType.OPEN, 4, body))


def test_heads_over_the_limit() -> None:
    padded = REQUEST.encode().ljust(MAX_HEAD_BYTES + 1)
    body = struct.pack("!H", len(padded)) + padded
    ends_with(Code.PROTOCOL, frame(FrameType.OPEN, 4, body))


@pytest.mark.parametrize("body", [b"{}", b"\x00\x00", b'{"c":200}', b'{"c":99,"h":[]}'])
def test_an_answer_whose_head_is_none(body: bytes) -> None:
    core = established(Role.DIALER)
    core.open(REQUEST, 0.0)
    events = core.receive([memoryview(frame(FrameType.HEAD, 1, body))], 0.0)
    assert events[-1] == (0, Closed(Code.PROTOCOL, by_peer=False))


HELLO = json.loads(AGENT.encode())


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"\xff\xff",
        b"[" * 4000,
        b"1" * 4096,
        *(
            json.dumps({**HELLO, key: value}).encode()
            for key, value in [
                ("org", ""),
                ("org", 7),
                ("cluster", "a/b"),
                ("server_id", "x" * 129),
                ("slot", -1),
                ("slot", True),
                ("epoch", 1.5),
                ("min_version", 0),
                ("max_version", 256),
                ("max_frame_bytes", 1024),
                ("max_frame_bytes", MAX_FRAME_BYTES + 1),
                ("window_bytes", 2**31),
                ("max_streams", -1),
            ]
        ),
        *(
            json.dumps({k: v for k, v in HELLO.items() if k != key}).encode()
            for key in HELLO
            if key not in OPTIONAL
        ),
    ],
)
def test_hello_that_is_none(body: bytes) -> None:
    with Playbook(acceptor()) as play:
        play.hears(frame(FrameType.HELLO, payload=body))
        play.tells((0, Closed(Code.PROTOCOL, by_peer=False)))
        play.says(hello(acceptor().hello), goaway(Code.PROTOCOL))


def test_what_came_before_the_bad_frame_counts_and_nothing_after_it() -> None:
    with Playbook(with_stream()) as play:
        play.hears(data(STREAM, b"good"), b"bad", data(STREAM, b"unread"), end(STREAM))
        play.tells((STREAM, Data(memoryview(b"good"))), (STREAM, Reset(Code.TUNNEL_LOST)))
        play.tells((0, Closed(Code.PROTOCOL, by_peer=False))).says(goaway(Code.PROTOCOL, STREAM))


def test_ping_is_answered_and_pong_is_not() -> None:
    with Playbook(with_stream()) as play:
        play.hears(ping(b"12345678"), pong(b"12345678")).says(pong(b"12345678"))


@pytest.mark.parametrize("flood", [ping(bytes(8)), None], ids=["PING", "refused OPEN"])
def test_a_peer_that_provokes_answers_and_reads_none_is_cut_off(flood: bytes | None) -> None:
    core = with_stream()
    core.goaway(Code.DRAINING)
    frames = [flood or open_(4 + 2 * n) for n in range(MAX_CONTROL_FRAMES)]
    events = core.receive([memoryview(f) for f in frames], 0.0)
    assert events == [
        (STREAM, Reset(Code.TUNNEL_LOST)),
        (0, Closed(Code.REFUSED, by_peer=False)),
    ]
    assert len(core.frames_to_send()) == MAX_CONTROL_FRAMES


def test_an_overrun_into_a_full_queue() -> None:
    core = with_stream()
    core.receive([memoryview(ping(bytes(8)))] * MAX_CONTROL_FRAMES, 0.0)
    over = data(STREAM, bytes(SETTINGS.window_bytes // 2 + 1))
    events = core.receive([memoryview(over), memoryview(over)], 0.0)
    assert events[-1] == (0, Closed(Code.REFUSED, by_peer=False))


def test_a_long_queue_that_is_read_is_no_flood() -> None:
    core = with_stream()
    for _ in range(3):
        assert core.receive([memoryview(ping(bytes(8)))] * 4000, 0.0) == []
        assert len(core.frames_to_send()) == 4000


def test_end_is_not_an_error_on_a_stream_that_ends() -> None:
    with Playbook(with_stream()) as play:
        play.hears(end(STREAM)).tells((STREAM, End()))
