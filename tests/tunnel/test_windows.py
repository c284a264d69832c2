"""Credit: bounds that hold for any sequence, growth that returns, units that never deadlock."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.errors import RemoteError
from tunnel.frames import MAX_DATA_BYTES, UNIT_BYTES
from tunnel.hello import MAX_WINDOW_BYTES
from tunnel.settings import TunnelSettings
from tunnel.windows import GRANT_BYTES, GRANT_SHARE, GrowthPool, ReceiveWindow, SendWindow

SETTINGS = TunnelSettings()
WINDOW = SETTINGS.window_bytes
SMALL = replace(SETTINGS, growth_bytes=600_000, window_max_bytes=500_000, stall_s=2.0)


def window(settings: TunnelSettings = SETTINGS, pool: GrowthPool | None = None) -> ReceiveWindow:
    return ReceiveWindow(pool or GrowthPool(settings.growth_bytes), settings, 0.0)


def fill(receive: ReceiveWindow, count: int) -> None:
    assert receive.received(count) == 0


# The sender's side.


def test_a_sender_takes_what_it_has() -> None:
    send = SendWindow(10)
    assert (send.take(4), send.take(9), send.take(1)) == (4, 6, 0)
    send.grant(5)
    assert (send.take(2), send.credit) == (2, 3)


@pytest.mark.parametrize(("have", "more"), [(0, 0), (1, MAX_WINDOW_BYTES), (MAX_WINDOW_BYTES, 1)])
def test_grants_are_bounded(have: int, more: int) -> None:
    send = SendWindow(have)
    with pytest.raises(RemoteError):
        send.grant(more)
    assert send.credit == have


def test_the_largest_grant_is_legal() -> None:
    send = SendWindow(0)
    send.grant(MAX_WINDOW_BYTES)
    assert send.credit == MAX_WINDOW_BYTES


# The receiver's side.


def test_the_first_grant_is_the_window() -> None:
    receive = window()
    assert (receive.due(), receive.due(), receive.outstanding) == (WINDOW, 0, WINDOW)


def test_an_overrun_is_told_and_not_booked() -> None:
    receive = window()
    receive.due()
    assert receive.received(WINDOW + 3) == 3
    assert (receive.outstanding, receive.queued) == (WINDOW, 0)


def test_grants_come_in_eighths() -> None:
    receive = window()
    receive.due()
    fill(receive, WINDOW // 2)
    receive.consumed(WINDOW // GRANT_SHARE - 1, 0.0)
    assert receive.due() == 0
    receive.consumed(1, 0.0)
    assert receive.due() == WINDOW // GRANT_SHARE


def test_a_large_window_is_granted_in_smaller_parts() -> None:
    receive = window(replace(SETTINGS, window_bytes=SETTINGS.window_max_bytes))
    receive.due()
    fill(receive, GRANT_BYTES)
    receive.consumed(GRANT_BYTES - 1, 0.0)
    assert receive.due() == 0
    receive.consumed(1, 0.0)
    assert receive.due() == GRANT_BYTES


def test_growth_only_when_the_sender_ran_dry() -> None:
    receive = window()
    for _ in range(50):
        receive.due()
        fill(receive, WINDOW // 2)
        receive.consumed(WINDOW // 2, 0.0)
    assert (receive.window, receive.grown) == (WINDOW, 0)


def test_growth_only_when_the_consumer_keeps_up() -> None:
    receive = window()
    receive.due()
    fill(receive, WINDOW)
    for _ in range(8):
        receive.consumed(WINDOW // 16, 0.0)
        assert receive.grown == 0 or receive.queued <= receive.window // 2


def test_growth_doubles_up_to_the_maximum() -> None:
    receive = window()
    seen = []
    for _ in range(8):
        receive.due()
        fill(receive, receive.outstanding)
        receive.consumed(receive.queued, 0.0)
        seen.append(receive.window)
    first, top = SETTINGS.window_default_bytes, SETTINGS.window_max_bytes
    assert seen == [first, 2 * first, 4 * first, 8 * first, top, top, top, top]


def test_settings_that_leave_no_room_to_grow() -> None:
    settings = replace(SETTINGS, window_bytes=400_000, window_max_bytes=81_920)
    pool = GrowthPool(settings.growth_bytes)
    receive = window(settings, pool)
    receive.due()
    fill(receive, 400_000)
    receive.consumed(400_000, 0.0)
    assert (receive.window, pool.free) == (400_000, pool.size)


def test_a_stalled_consumer_is_one_that_holds_data_and_takes_none() -> None:
    receive = window()
    receive.due()
    assert not receive.stalled(1e9)
    fill(receive, 10)
    assert receive.stalled(SETTINGS.stall_s)
    receive.consumed(5, 7.0)
    assert not receive.stalled(7.0 + SETTINGS.stall_s - 0.1)
    assert receive.stalled(7.0 + SETTINGS.stall_s)


def test_after_a_stall_growth_is_booked_once() -> None:
    pool = GrowthPool(SETTINGS.growth_bytes)
    receive = window(SETTINGS, pool)
    for _ in range(5):
        receive.due()
        fill(receive, receive.outstanding)
        receive.consumed(receive.queued, 0.0)
    receive.due()
    receive.shrink()
    fill(receive, receive.outstanding)
    receive.consumed(receive.queued, 9.0)
    assert receive.grown == receive.window - WINDOW == pool.size - pool.free


def test_growth_after_a_stall_waits_for_what_was_promised() -> None:
    """The window is small again, but credit of the large one is still out, and is used fast."""
    pool = GrowthPool(SETTINGS.growth_bytes)
    pool.rtt_s = 0.1
    receive = window(SETTINGS, pool)
    for _ in range(6):
        receive.due()
        fill(receive, receive.outstanding)
        receive.consumed(receive.queued, 0.0)
    receive.due()
    receive.shrink()
    for now in (9.0, 9.1, 9.2):
        fill(receive, WINDOW)
        receive.consumed(WINDOW, now)
        assert (receive.window, receive.due()) == (WINDOW, 0)
        assert receive.grown == receive.outstanding - WINDOW == pool.size - pool.free


def test_the_pool_gives_what_it_has() -> None:
    pool = GrowthPool(10)
    assert (pool.take(4), pool.take(9), pool.free) == (4, 6, 0)
    pool.give(10)
    assert pool.free == pool.size
    with pytest.raises(AssertionError):
        pool.give(1)


steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["receive", "consume", "grant", "stall", "close"]),
        st.floats(0.0, 1.0),
    ),
    max_size=80,
)


@given(steps)
def test_bounds_hold_for_any_sequence(script: list[tuple[int, str, float]]) -> None:
    """Three streams share one pool: what is promised never exceeds what was reserved or taken."""
    pool = GrowthPool(SMALL.growth_bytes)
    windows = [window(SMALL, pool) for _ in range(3)]
    closed: set[int] = set()
    for now, (which, action, share) in enumerate(script):
        receive = windows[which]
        if action == "receive":
            fill(receive, int(share * receive.outstanding))
        elif action == "consume":
            receive.consumed(int(share * receive.queued), float(now))
        elif action == "grant" and which not in closed:
            assert receive.due() >= 0
        elif action == "stall" and receive.stalled(float(now)):
            receive.shrink()
        elif action == "close":
            closed.add(which)
            receive.close()
        for each in windows:
            assert min(each.outstanding, each.queued, each.grown) >= 0
            assert each.outstanding + each.queued <= SMALL.window_bytes + each.grown
            assert each.window <= SMALL.window_max_bytes
            needed = max(each.window, each.outstanding + each.queued) - SMALL.window_bytes
            assert each.grown <= needed
        assert sum(each.grown for each in windows) == pool.size - pool.free
        assert pool.free >= 0
    for receive in windows:
        receive.close()
        receive.consumed(receive.queued, 0.0)
    assert pool.free == pool.size


@given(
    st.lists(st.integers(1, UNIT_BYTES), min_size=1, max_size=6),
    st.lists(st.integers(1, UNIT_BYTES), min_size=1, max_size=8),
    st.integers(1, MAX_DATA_BYTES),
    st.booleans(),
)
def test_a_unit_never_deadlocks(
    units: list[int], pieces: list[int], frame_bytes: int, shrink: bool
) -> None:
    """The consumer takes nothing before a unit is whole, then in any pieces."""
    receive, send = window(), SendWindow(0)
    send.grant(receive.due())
    for unit in units:
        if shrink:
            receive.shrink()
        missing = unit
        while missing:
            count = send.take(min(missing, frame_bytes))
            assert count > 0, "the sender waits for credit, the consumer for the unit's end"
            fill(receive, count)
            missing -= count
        for n in range(UNIT_BYTES):
            if not receive.queued:
                break
            receive.consumed(min(pieces[n % len(pieces)], receive.queued), 0.0)
            if (count := receive.due()) > 0:
                send.grant(count)
        assert send.credit == receive.outstanding
