"""A quiet stream beside busy ones, long links, and rest: short, with planted faults."""

from __future__ import annotations

import pytest
import trio

from perf.halting import halt_at_times
from planesplit.measure import window
from planesplit.measure.catalogue import SUBJECTS
from planesplit.measure.fairness import Fairness, measure_fairness
from planesplit.measure.lab import Lab, MeasureError
from planesplit.measure.resting import measure_idle, measure_memory
from planesplit.measure.rig import Rig
from planesplit.measure.sealing import OPEN, SEALED, measure_sealing
from planesplit.measure.subjects import Load, Subject
from planesplit.measure.window import measure_windows
from planesplit.split.shaping import CLEAR

pytestmark = pytest.mark.integration

MOST_TIMES_FLOOR_P99 = 8.0  # measured: 0.9; the splice's threads take turns as the kernel likes
FROZEN_S, THAWED_S = 0.2, 0.2
LEAST_SHARE, MOST_SHARE = 0.4, 1.05  # of W/RTT; measured: 0.93
FIXED = (131_072,)  # bytes
MOST_STREAM_BYTES = 65_536  # measured: 20,000
MOST_IDLE_SHARE = 0.02  # measured: 0.0003
MOST_TIMES_UNSEALED = 1.5  # measured: 0.99
SHORT_BYTES = 50_000_000


def quiet(text: str) -> None:
    """Say nothing."""


async def fairness(*subjects: Subject) -> list[Fairness]:
    return await measure_fairness(subjects, duration_s=0.5, rounds=2, progress=quiet)


async def test_bulk_does_not_hold_up_a_quiet_stream() -> None:
    floor, relay = await fairness(SUBJECTS["floor"], SUBJECTS["relay"])
    assert relay.p99_ms.median < MOST_TIMES_FLOOR_P99 * floor.p99_ms.median
    assert relay.bulk_mb_per_s.median > 0


async def test_a_relay_that_halts_at_times_does_not_pass() -> None:
    async with trio.open_nursery() as nursery:

        async def start(lab: Lab, load: Load) -> Rig:
            rig = await SUBJECTS["floor"].start(lab, load)
            rig.name = "halting"
            nursery.start_soon(halt_at_times, rig.relay_pid, FROZEN_S, THAWED_S)
            return rig

        halting = Subject("halting", "planted", start, frozenset({"fair"}))
        (figure,) = await fairness(halting)
        nursery.cancel_scope.cancel()
    assert figure.p99_ms.median > 1e3 * FROZEN_S / 2


async def test_a_window_is_used_over_a_long_link() -> None:
    (fixed,) = await measure_windows((0.02,), FIXED, turn_s=0.3, rounds=1, progress=quiet)
    assert (fixed.window_bytes,) == FIXED
    assert LEAST_SHARE < fixed.share < MOST_SHARE


async def test_a_link_that_is_not_long_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "LinkProfile", lambda rtt_s: CLEAR)
    with pytest.RaisesGroup(MeasureError, flatten_subgroups=True):
        await measure_windows((0.1,), FIXED, turn_s=0.3, rounds=1, progress=quiet)


async def test_streams_that_rest_cost_little() -> None:
    figure = await measure_memory(quiet, streams=100)
    assert figure.few_bytes < figure.many_bytes
    assert figure.stream_bytes < MOST_STREAM_BYTES
    assert (await measure_idle(1.0, 1, quiet)).median < MOST_IDLE_SHARE


async def test_the_seal_costs_next_to_nothing() -> None:
    figure = await measure_sealing(
        streams=1, rounds=3, round_bytes=SHORT_BYTES, progress=quiet, starts=1
    )
    assert figure.level, "the relay was not sealed: this compares nothing"
    assert figure.ratio.low < MOST_TIMES_UNSEALED
    assert set(figure.start_s) == {SEALED, OPEN}
