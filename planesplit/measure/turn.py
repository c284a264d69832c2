"""One turn of lines over a rig, in bounded memory: it can be watched, and stopped in the middle."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trio

from planesplit.measure.lines import LinePlan
from planesplit.measure.procfs import cpu_s, rss_bytes
from planesplit.measure.rig import Rig

POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of it.

    Args:
        plan: what was intended.
        sent: the source's tally, as JSON.
        received: the viewers' tally, as JSON.
        elapsed_s: from the first intended time to the end.
        relay_cpu_s, agent_cpu_s: CPU seconds of these processes; 0 without one.
        relay_rss_bytes: the largest that was seen; 0 without a relay.
        stopped: whether it was ended before its time.
    """

    plan: LinePlan
    sent: dict[str, Any]
    received: dict[str, Any]
    elapsed_s: float
    relay_cpu_s: float
    agent_cpu_s: float
    relay_rss_bytes: int
    stopped: bool

    @property
    def drained(self) -> bool:
        """Whether every line came."""
        return not self.stopped and not self.received["missing"]


async def take_turn(
    rig: Rig,
    plan: LinePlan,
    *,
    drain_s: float,
    stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[float], None] = lambda share: None,
) -> Turn:
    """Send lines as planned and wait for them, for a while.

    Args:
        rig: is ready, and nothing of an earlier turn is under way in it.
        plan: begins in the near future.
        drain_s: how long after the last intended time lines may still come.
        stopped: asked now and then whether to end at once.
        progress: told the share of the turn's time that has passed.

    Raises:
        MeasureError: a helper failed.
    """
    pids = rig.relay_pid, rig.agent_pid
    before = [_cpu_s(pid) for pid in pids]
    await rig.sink.ask("watch", plan=plan.as_json(), tails=rig.tails)
    await rig.source.ask("pace", plan=plan.as_json())
    rss, ended = 0, False
    while not ended and not stopped() and time.monotonic() < plan.end_s + drain_s:
        await trio.sleep(POLL_S)
        rss = max(rss, rss_bytes(rig.relay_pid)) if rig.relay_pid else 0
        ended = (await rig.sink.ask("watched"))["done"]
        progress(min((time.monotonic() - plan.start_s) / plan.duration_s, 1.0))
    was_stopped = not ended and stopped()
    received = await rig.sink.ask("tally", charge=not was_stopped)
    sent = await rig.source.ask("sent")
    relay_s, agent_s = (_cpu_s(pid) - s for pid, s in zip(pids, before, strict=True))
    elapsed_s = time.monotonic() - plan.start_s
    return Turn(plan, sent, received, elapsed_s, relay_s, agent_s, rss, was_stopped)


def _cpu_s(pid: int) -> float:
    return cpu_s(pid) if pid else 0.0
