"""The stream table: every state with every input is a legal step or a clear refusal."""

from __future__ import annotations

import pytest
from cast import SETTINGS, WINDOW
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import Code, LocalError, RemoteError
from tunnel.frames import FrameType
from tunnel.stream_state import TRANSITIONS, Half
from tunnel.streams import StreamRecord
from tunnel.windows import GrowthPool, ReceiveWindow

# Written out once more, as the protocol's document has it: the table must not change by accident.
LEGAL = {
    (Half.IDLE, FrameType.OPEN): Half.BODY,
    (Half.HEAD, FrameType.HEAD): Half.BODY,
    (Half.BODY, FrameType.DATA): Half.BODY,
    (Half.BODY, FrameType.MARK): Half.BODY,
    (Half.BODY, FrameType.END): Half.ENDED,
}


def record(*, opener: bool = True) -> StreamRecord:
    window = ReceiveWindow(GrowthPool(0), SETTINGS, 0.0)
    return StreamRecord(1, opener=opener, credit=WINDOW, receive=window)


def test_the_table_is_the_documented_one() -> None:
    assert TRANSITIONS == LEGAL


@pytest.mark.parametrize("kind", list(FrameType), ids=lambda k: k.name)
@pytest.mark.parametrize("state", list(Half), ids=lambda s: s.name)
def test_every_state_with_every_input(state: Half, kind: FrameType) -> None:
    ours, theirs = record(), record()
    ours.sending = theirs.receiving = state
    if (state, kind) in LEGAL:
        ours.step(kind)
        theirs.got(kind)
        assert ours.sending is theirs.receiving is LEGAL[state, kind]
    else:
        with pytest.raises(LocalError):
            ours.put(kind, b"")
        with pytest.raises(RemoteError) as refusal:
            theirs.got(kind)
        assert refusal.value.code is Code.PROTOCOL
        assert ours.sending is theirs.receiving is state
        assert not ours.sendable


def test_where_the_halves_begin() -> None:
    opener, answerer = record(opener=True), record(opener=False)
    assert (opener.sending, opener.receiving) == (Half.IDLE, Half.HEAD)
    assert (answerer.sending, answerer.receiving) == (Half.HEAD, Half.IDLE)


@given(st.lists(st.sampled_from([k for k in FrameType if k is not FrameType.OPEN]), max_size=8))
def test_one_end_may_send_exactly_what_the_other_accepts(inputs: list[FrameType]) -> None:
    sender, receiver = record(opener=False), record(opener=True)
    for kind in inputs:
        try:
            sender.step(kind)
        except LocalError:
            with pytest.raises(RemoteError):
                receiver.got(kind)
            return
        receiver.got(kind)
        assert sender.sending is receiver.receiving


def test_every_state_can_be_reached_and_only_ended_is_final() -> None:
    assert {Half.IDLE, Half.HEAD, *TRANSITIONS.values()} == set(Half)
    assert set(Half) - {state for state, _ in TRANSITIONS} == {Half.ENDED}


def test_a_dropped_stream_is_over_in_both_directions() -> None:
    dropped = record()
    dropped.step(FrameType.OPEN)
    dropped.put(FrameType.DATA, b"waits")
    dropped.drop()
    assert dropped.done
    assert (dropped.unsent, dropped.sendable) == (0, False)
