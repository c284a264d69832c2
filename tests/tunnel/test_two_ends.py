"""Two connected cores: a search by Hypothesis, random walks, and planted defects that they find."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import test_core_liveness
import test_core_malformed
import test_scheduler
import test_window_growth
import test_windows
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from random_walk import SIZES, walk
from two_ends import World

from tunnel.connection import Connection
from tunnel.frames import FrameType, frame
from tunnel.liveness import Liveness
from tunnel.scheduler import Scheduler
from tunnel.stream_state import TRANSITIONS, Half
from tunnel.stream_table import StreamTable
from tunnel.streams import StreamRecord
from tunnel.windows import GrowthPool, ReceiveWindow, SendWindow

sides = st.integers(0, 1)
picks = st.integers(0, 7)
sizes = st.sampled_from(SIZES)


class TwoEnds(RuleBasedStateMachine):
    """The world's verbs in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(which=sides)
    def open(self, which: int) -> None:
        self.world.open(which)

    @rule(which=sides, pick=picks)
    def answer(self, which: int, pick: int) -> None:
        self.world.answer(which, pick)

    @rule(which=sides, pick=picks, size=sizes)
    def write(self, which: int, pick: int, size: int) -> None:
        self.world.write(which, pick, size)

    @rule(which=sides, pick=picks)
    def mark(self, which: int, pick: int) -> None:
        self.world.mark(which, pick)

    @rule(which=sides, pick=picks)
    def end(self, which: int, pick: int) -> None:
        self.world.end(which, pick)

    @rule(which=sides, pick=picks)
    def reset(self, which: int, pick: int) -> None:
        self.world.reset(which, pick)

    @rule(which=sides)
    def drain(self, which: int) -> None:
        self.world.drain(which)

    @rule(which=sides, size=sizes)
    def send(self, which: int, size: int) -> None:
        self.world.send(which, size)

    @rule(which=sides, count=st.sampled_from([1, 3, 50]))
    def deliver(self, which: int, count: int) -> None:
        self.world.deliver(which, count)

    @rule(which=sides, pick=picks, size=sizes)
    def consume(self, which: int, pick: int, size: int) -> None:
        self.world.consume(which, pick, size)

    @rule(seconds=st.sampled_from([0.1, 2.0, 6.0]))
    def tick(self, seconds: float) -> None:
        self.world.tick(seconds)

    @rule()
    def cut(self) -> None:
        self.world.cut()

    @rule(which=sides, pick=picks)
    def overrun(self, which: int, pick: int) -> None:
        self.world.overrun(which, pick)

    @rule(which=sides, pick=picks)
    def speak_late(self, which: int, pick: int) -> None:
        self.world.speak_late(which, pick)

    @invariant()
    def bounds(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        self.world.settle()


TwoEnds.TestCase.settings = settings(max_examples=60, stateful_step_count=60)
test_any_order_of_verbs = TwoEnds.TestCase


def the_checks() -> None:
    """What every planted defect has to fail, one way or another; it knows none of them."""
    test_scheduler.test_streams_take_turns()
    test_scheduler.test_control_frames_are_limited()
    test_core_liveness.test_half_open_detection_is_within_ten_seconds()
    test_core_liveness.test_after_a_freeze_the_socket_is_read_before_the_peer_is_judged()
    test_core_malformed.test_ids_only_rise()
    test_windows.test_after_a_stall_growth_is_booked_once()
    test_windows.test_growth_after_a_stall_waits_for_what_was_promised()
    test_window_growth.test_a_fast_reader_gets_the_largest_window(test_window_growth.LONG_S)
    test_window_growth.test_a_window_grows_no_further_than_its_reader_uses()
    test_window_growth.test_growth_stays_below_the_tunnels_cap()
    for seed in range(40):
        walk(seed)


def test_the_clean_code_passes() -> None:
    the_checks()


# Planted defects: what to replace, and with what. Each is a mistake that is easily made.

original: dict[str, Any] = {
    "due": ReceiveWindow.due,
    "received": ReceiveWindow.received,
    "grow": ReceiveWindow._grow,
    "forget": StreamTable.forget,
    "put": StreamRecord.put,
    "pull": StreamRecord.pull,
    "piece": StreamRecord._piece,
    "ready": Scheduler.ready,
    "dead": Liveness.dead,
}


def grant_twice(self: ReceiveWindow) -> int:
    return 2 * int(original["due"](self))


def grant_unbooked(self: ReceiveWindow) -> int:
    count = int(original["due"](self))
    self.outstanding -= count
    return count


def never_grant_again(self: ReceiveWindow) -> int:
    return 0 if self.drained_at else int(original["due"](self))


def overruns_pass(self: ReceiveWindow, count: int) -> int:
    self.outstanding = max(self.outstanding, count)
    return int(original["received"](self, count))


def spend_without_credit(self: SendWindow, wanted: int) -> int:
    return wanted


def drop_a_mark(self: StreamRecord, kind: FrameType, body: Any) -> None:
    if kind is not FrameType.MARK or not body.endswith(b"1"):
        original["put"](self, kind, body)


def end_overtakes(self: StreamRecord, kind: FrameType, body: Any) -> None:
    original["put"](self, kind, body)
    if kind is FrameType.END:
        self._queue.rotate(1)


def repeat_a_byte(self: StreamRecord, body: Any, limit_bytes: int) -> Any:
    self._offset = max(0, self._offset - 1)
    return original["piece"](self, body, limit_bytes)


def keep_the_queue_of_a_reset_stream(self: StreamRecord) -> None:
    self.sending = self.receiving = Half.ENDED


def first_come_first_served(self: Scheduler, record: StreamRecord) -> None:
    original["ready"](self, record)
    self._ring = deque(sorted(self._ring, key=lambda r: r.id))


def forget_to_wake(self: Scheduler, record: StreamRecord) -> None:
    if not record._offset:
        original["ready"](self, record)


def last_grant_wins(self: Scheduler, stream_id: int, count: int) -> None:
    self._credit[stream_id] = count


def unlimited_control(self: Scheduler, data: bytes) -> None:
    self._control.append(data)


def lingering_is_free(self: StreamTable, record: StreamRecord) -> None:
    original["forget"](self, record)
    if record.id in self._lingering:
        self._count_down(record.id)


def never_forget(self: Connection, record: StreamRecord) -> None:
    record.drop()


def growth_is_kept(self: ReceiveWindow) -> None:
    self.outstanding = 0


def growth_without_end(self: GrowthPool, wanted: int) -> int:
    self.free -= wanted
    return wanted


def grow_before_giving_back(self: ReceiveWindow, count: int, now: float) -> None:
    self.queued -= count
    self.drained_at = now
    self._used += count
    if (self._fills(now) or self._limited) and self.queued <= self.window // 2:
        self._grow()
    if self.window == self._settings.window_bytes:
        self._return_growth()


def only_who_runs_dry_grows(self: ReceiveWindow, now: float) -> bool:
    return False


def everybody_grows(self: ReceiveWindow, now: float) -> bool:
    return True


def growth_is_promised_twice(self: ReceiveWindow) -> None:
    outstanding, self.outstanding = self.outstanding, 0
    original["grow"](self)
    self.outstanding = outstanding


def drain_takes_new_streams(self: Connection, code: Any) -> None:
    self._control(self._goaway(code))


def silence_is_fine(self: Liveness, now: float) -> bool:
    return False


def a_freeze_is_silence(self: Liveness, now: float) -> None:
    self._ticked = now


def any_id_will_do(self: StreamTable, stream_id: int) -> None:
    self.last_peer_id = max(self.last_peer_id, stream_id)


DEFECTS: list[tuple[object, str, Callable[..., Any]]] = [
    (ReceiveWindow, "due", grant_twice),
    (ReceiveWindow, "due", grant_unbooked),
    (ReceiveWindow, "due", never_grant_again),
    (ReceiveWindow, "received", overruns_pass),
    (ReceiveWindow, "close", growth_is_kept),
    (ReceiveWindow, "consumed", grow_before_giving_back),
    (ReceiveWindow, "_fills", only_who_runs_dry_grows),
    (ReceiveWindow, "_fills", everybody_grows),
    (ReceiveWindow, "_grow", growth_is_promised_twice),
    (SendWindow, "take", spend_without_credit),
    (GrowthPool, "take", growth_without_end),
    (StreamRecord, "put", drop_a_mark),
    (StreamRecord, "put", end_overtakes),
    (StreamRecord, "_piece", repeat_a_byte),
    (StreamRecord, "drop", keep_the_queue_of_a_reset_stream),
    (Scheduler, "ready", first_come_first_served),
    (Scheduler, "ready", forget_to_wake),
    (Scheduler, "grant", last_grant_wins),
    (Scheduler, "control", unlimited_control),
    (StreamTable, "forget", lingering_is_free),
    (StreamTable, "book_peer_id", any_id_will_do),
    (Connection, "_drop", never_forget),
    (Connection, "goaway", drain_takes_new_streams),
    (Liveness, "dead", silence_is_fine),
    (Liveness, "tick", a_freeze_is_silence),
]


@pytest.mark.parametrize(
    ("owner", "name", "defect"), DEFECTS, ids=lambda x: getattr(x, "__name__", x)
)
def test_a_planted_defect_is_found(
    owner: object, name: str, defect: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, defect)
    with pytest.raises((Exception, pytest.fail.Exception)):  # any refusal of any check will do
        the_checks()


@pytest.mark.parametrize("kind", [FrameType.DATA, FrameType.MARK, FrameType.END])
def test_a_row_too_many_in_the_stream_table_is_found(
    kind: FrameType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRANSITIONS, (Half.ENDED, kind), Half.ENDED)
    late = frame(kind, test_core_malformed.STREAM, b"" if kind is FrameType.END else b"x")
    with pytest.raises(AssertionError):
        test_core_malformed.test_nothing_after_end(late)
