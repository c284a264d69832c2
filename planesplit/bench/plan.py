"""What a bench is to do, and with which link."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from planesplit.measure.lines import LinePlan
from planesplit.split.shaping import LinkProfile

MAX_TAILS = 256  # of an agent, `[logs] max_tails`
FOLLOWED = 2_000  # lines of a turn that are followed from hop to hop
HOLD_OFF_S = 0.0002  # a container runtime writes lines as they come; this bounds its writes
MAX_SHARE_OF_LINK = 0.8  # framing and records take a tenth; a full link measures its own queue


class PlanImpossible(Exception):
    """This cannot be measured; the message names the value and the remedy."""


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """One bench.

    Args:
        rate_per_s: lines a second, all streams together.
        line_bytes: size of one.
        streams: log tails at a time.
        duration_s: of one turn.
        warm_up_s: of load before the first turn; 0 for none.
        repeats: turns of each path.
        profile: of the link.
        stall_s: how long the link is silent in the middle of each turn; 0 for not at all.
        cut: whether the tunnel is cut in a turn of its own at the end.
        policy: how the agent batches lines: latency, balanced or bulk.
        viewers: tails of each stream; the first is measured, the others read along.
        stalled: further tails that never read, spread over the streams.
    """

    rate_per_s: float = 10_000.0
    line_bytes: int = 200
    streams: int = 16
    duration_s: float = 10.0
    warm_up_s: float = 1.0
    repeats: int = 3
    profile: LinkProfile = field(default_factory=LinkProfile)
    stall_s: float = 0.0
    cut: bool = False
    policy: str = "balanced"
    viewers: int = 1
    stalled: int = 0

    def lines(self, start_s: float, duration_s: float | None = None) -> LinePlan:
        """Return the schedule of a turn that begins at `start_s` of time.monotonic."""
        lasting_s = self.duration_s if duration_s is None else duration_s
        every = math.ceil(self.rate_per_s * lasting_s / FOLLOWED)
        return LinePlan(
            self.rate_per_s,
            lasting_s,
            self.streams,
            self.line_bytes,
            start_s,
            hold_off_s=HOLD_OFF_S,
            sample_every=max(every, 1),
        )

    @property
    def tails(self) -> int:
        """All tails that are open at a time, and one for the time to first line."""
        return self.streams * self.viewers + self.stalled + 1

    def check(self) -> None:
        """Refuse what would measure nothing but itself.

        Raises:
            PlanImpossible: says why.
        """
        width = self.profile.bandwidth_bytes_per_s
        offered = self.rate_per_s * self.line_bytes * self.viewers
        if width and offered > MAX_SHARE_OF_LINK * width:
            raise PlanImpossible(
                f"{self.rate_per_s:g} lines/s of {self.line_bytes} bytes for {self.viewers} "
                f"viewers are {offered * 8 / 1e6:.1f} Mbit/s, more than {MAX_SHARE_OF_LINK:.0%} "
                f"of a link of {width * 8 / 1e6:g} Mbit/s; lower --rate or --size, or raise "
                "--bandwidth"
            )
        if self.rate_per_s * self.duration_s < self.streams:
            raise PlanImpossible(
                f"{self.rate_per_s:g} lines/s for {self.duration_s:g} s are less than a line for "
                f"each of {self.streams} streams; raise --rate or --duration"
            )
        if self.tails > MAX_TAILS:
            raise PlanImpossible(
                f"{self.streams} streams with {self.viewers} viewers each and {self.stalled} "
                f"stalled ones are {self.tails} tails; one agent serves {MAX_TAILS}: lower "
                "--streams, --viewers or --stalled"
            )
        if self.stall_s >= self.duration_s / 2:
            raise PlanImpossible(
                f"--stall {self.stall_s:g} s does not fit a turn of {self.duration_s:g} s; it has "
                "to be shorter than half of it"
            )

    def as_json(self) -> dict[str, Any]:
        """Return its fields."""
        return asdict(self)
