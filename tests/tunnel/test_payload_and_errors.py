"""Payload shows nothing; errors carry codes and never bytes."""

from __future__ import annotations

import copy
import inspect
import io
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from tunnel import errors
from tunnel.errors import (
    Code,
    CreditOverrun,
    FrameTooLarge,
    HandshakeFailed,
    TunnelError,
    UnknownStream,
)
from tunnel.events import Data, TokenReceived
from tunnel.exchange import ResponseHead
from tunnel.frames import MAX_FRAME_BYTES, FrameType, frame, parse
from tunnel.hello import Hello
from tunnel.payload import Payload

SECRET = b"s3cr3t-" + bytes(str(id(object())), "ascii")


@pytest.mark.parametrize(
    "convert",
    [
        str,
        "{}".format,
        "{:>10}".format,
        lambda p: f"{p}",
        lambda p: "%s" % p,  # noqa: UP031
        copy.copy,
        copy.deepcopy,
        pickle.dumps,
        json.dumps,
        bytes,
        list,
    ],
)
def test_a_payload_cannot_be_converted(convert: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError) as refusal:
        convert(Payload(SECRET))
    assert SECRET.decode() not in str(refusal.value)


def test_a_payload_shows_its_length_only() -> None:
    payload = Payload(SECRET)
    assert repr(payload) == f"<Payload {len(SECRET)} bytes>" == f"{payload!r}"
    assert len(payload) == len(SECRET)
    assert not hasattr(payload, "__dict__")


def test_a_payload_gives_its_bytes_when_asked() -> None:
    buffer = bytearray(SECRET)
    payload = Payload(buffer)
    assert payload.reveal() == payload.view == SECRET
    assert payload.view.obj is buffer
    assert len(Payload(memoryview(bytes(8)).cast("I"))) == 8


def test_a_logged_payload_does_not_reach_the_log() -> None:
    stream = io.StringIO()
    logger = logging.Logger("test")
    logger.addHandler(logging.StreamHandler(stream))
    logger.error("%r", Payload(SECRET))
    assert SECRET.decode() not in stream.getvalue()
    assert "<Payload" in stream.getvalue()


def test_events_do_not_show_payload() -> None:
    token = TokenReceived(Hello("acme", "c1", "a"), Payload(SECRET))
    for event in (token, Data(memoryview(SECRET))):
        assert SECRET.decode() not in repr(event) + str(event)
    assert f"{len(SECRET)} bytes" in repr(Data(memoryview(SECRET)))


# Errors.


def test_every_error_is_in_the_one_tree_and_has_a_wire_code() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass)]
    raised = [c for c in classes if c.__module__ == errors.__name__ and issubclass(c, Exception)]
    assert len(raised) > 8
    assert all(issubclass(c, TunnelError) and isinstance(c.code, Code) for c in raised)


def test_codes_fit_two_bytes_and_read_back() -> None:
    assert all(Code.from_wire(int(code)) is code for code in Code)
    assert all(0 <= code < 2**16 for code in Code)
    assert Code.from_wire(65_535) is Code.INTERNAL


def test_errors_tell_numbers() -> None:
    assert str(FrameTooLarge(70_000, MAX_FRAME_BYTES)) == "frame of 70000 bytes, limit 65535"
    assert str(UnknownStream(7)) == "stream 7 was never opened"
    assert str(CreditOverrun(7, 3)) == "stream 7 exceeded its credit by 3 bytes"
    assert HandshakeFailed("refused", status=404).status == 404


def test_an_error_without_a_message_tells_its_code() -> None:
    assert str(TunnelError(code=Code.REPLACED)) == "REPLACED"
    assert str(TunnelError()) == "INTERNAL"
    assert TunnelError(code=Code.REPLACED).code is Code.REPLACED
    assert TunnelError.code is Code.INTERNAL


@pytest.mark.parametrize(
    "make",
    [
        lambda: Hello.decode(SECRET),
        lambda: Hello.decode(b'{"org":"' + SECRET + b'"}'),
        lambda: ResponseHead.decode(b'{"c":"' + SECRET + b'","h":[]}'),
        lambda: ResponseHead.decode(b'{"c":200,"h":[["content-type","\xff' + SECRET + b'"]]}'),
        lambda: ResponseHead.decode(b'{"c":200,"h":[["' + SECRET + b'","x"]]}'),
        lambda: parse(memoryview(frame(FrameType.CREDIT, 1, SECRET))),
    ],
)
def test_errors_never_carry_what_a_peer_sent(make: Callable[[], object]) -> None:
    with pytest.raises(TunnelError) as caught:
        make()
    error: BaseException | None = caught.value
    assert error is not None
    assert SECRET.decode() not in "".join(traceback.format_exception_only(error))
    assert SECRET.decode() not in repr(vars(error))
    assert error.__suppress_context__ or error.__context__ is None
