"""Which loads are measured, how often and how much."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from planesplit.measure import sealing
from planesplit.measure.catalogue import PARTS, SUBJECTS
from planesplit.measure.environment import Environment
from planesplit.measure.fairness import measure_fairness
from planesplit.measure.latency import measure_lines, measure_round_trips
from planesplit.measure.queries import measure_queries
from planesplit.measure.report import Report
from planesplit.measure.resting import measure_idle, measure_memory
from planesplit.measure.rounds import TLS_FLOOR, Progress, measure_throughput
from planesplit.measure.stalled import measure_stalled
from planesplit.measure.subjects import Subject
from planesplit.measure.window import measure_windows

RTT_BYTES = 100
SEAL_TURNS = 8  # 3 % show in the median of 40 short turns, not of 5 (measured: 0.98 to 1.01)
STALLED_TURNS = 3  # single rounds lie 20 % apart (decision 42)
FIXED_WINDOW_BYTES, GROWING = 262_144, 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of a run.

    Args:
        rounds: turns of each subject at each load.
        streams: loads of bulk transfers.
        tls_streams: of those with TLS.
        round_bytes: payload of one turn.
        line_loads: (lines a second, streams).
        prompt_load: the same where lines are not held back for a batch.
        line_s: seconds of one turn.
        line_rounds: turns of each subject at each of these.
        pings: round trips of one turn.
        fair_s: seconds of a quiet stream beside bulk.
        rtts_s: of emulated links.
        window_s: seconds that are looked at over such a link.
        idle_s: seconds of looking at an idle tunnel.
        query_rows: of one query's result.
        parts: what is measured.
    """

    rounds: int = 5
    streams: tuple[int, ...] = (1, 16, 256, 1_000)
    tls_streams: tuple[int, ...] = (1, 16)
    round_bytes: int = 200_000_000
    line_loads: tuple[tuple[int, int], ...] = ((10_000, 1), (100_000, 1))
    prompt_load: tuple[int, int] = (10_000, 16)
    line_s: float = 2.0
    line_rounds: int = 3
    pings: int = 500
    fair_s: float = 1.0
    rtts_s: tuple[float, ...] = (0.02, 0.1)
    window_s: float = 1.0
    idle_s: float = 10.0
    query_rows: int = 1_000_000
    parts: tuple[str, ...] = PARTS


QUICK = Plan(
    rounds=5,
    streams=(1, 16),
    tls_streams=(1,),
    round_bytes=100_000_000,
    line_loads=((10_000, 1),),
    line_s=1.0,
    line_rounds=2,
    pings=300,
    rtts_s=(0.02,),
    window_s=0.5,
    idle_s=2.0,
)


def available(names: Sequence[str]) -> tuple[list[Subject], dict[str, str]]:
    """Return the subjects that can be measured here, and why others cannot."""
    chosen = [SUBJECTS[name] for name in names]
    skipped = {subject.name: reason for subject in chosen if (reason := subject.missing())}
    return [subject for subject in chosen if subject.name not in skipped], skipped


class Run:
    """One run of a plan.

    Args:
        plan: what to do.
        names: of the subjects.
        progress: told what is going on.
    """

    def __init__(self, plan: Plan, names: Sequence[str], progress: Progress) -> None:
        self._plan, self._progress = plan, progress
        self._subjects, skipped = available(names)
        self.report = Report(skipped=skipped)
        self._parts: dict[str, Callable[[], Awaitable[None]]] = {
            "bulk": self._bulk,
            "tls": self._tls,
            "lines": self._lines,
            "prompt": self._prompt,
            "rtt": self._round_trips,
            "fair": self._fair,
            "window": self._window,
            "stalled": self._stalled,
            "memory": self._memory,
            "idle": self._idle,
            "seal": self._seal,
            "query": self._query,
        }

    async def measure(self) -> Report:
        """Measure it.

        Raises:
            MeasureError: a subject failed.
        """
        environment = Environment()
        for name, reason in self.report.skipped.items():
            self._progress(f"NOT MEASURED: {name}: {reason}")
        for part in PARTS:
            if part in self._plan.parts and (part == "query" or self._able(part)):
                await self._parts[part]()
        self.report.environment = environment.capture()
        return self.report

    def _able(self, part: str, streams: int = 1) -> list[Subject]:
        return [s for s in self._subjects if part in s.parts and streams <= s.most_streams]

    async def _bulk(self) -> None:
        plan = self._plan
        for streams in plan.streams:
            self.report.throughput += await measure_throughput(
                self._able("bulk", streams),
                streams,
                rounds=plan.rounds,
                round_bytes=plan.round_bytes,
                progress=self._progress,
            )

    async def _tls(self) -> None:
        plan = self._plan
        for streams in plan.tls_streams:
            self.report.tls += await measure_throughput(
                self._able("tls", streams),
                streams,
                rounds=plan.rounds,
                round_bytes=plan.round_bytes,
                progress=lambda text: self._progress(f"TLS: {text}"),
                floor=TLS_FLOOR,
            )

    async def _lines(self) -> None:
        plan = self._plan
        for rate_per_s, streams in plan.line_loads:
            self.report.lines += await measure_lines(
                self._able("lines"),
                rate_per_s,
                streams=streams,
                duration_s=plan.line_s,
                rounds=plan.line_rounds,
                progress=self._progress,
            )

    async def _prompt(self) -> None:
        plan = self._plan
        rate_per_s, streams = plan.prompt_load
        self.report.prompt = await measure_lines(
            self._able("prompt"),
            rate_per_s,
            streams=streams,
            duration_s=plan.line_s,
            rounds=plan.line_rounds,
            progress=self._progress,
        )

    async def _round_trips(self) -> None:
        self.report.round_trips = await measure_round_trips(
            self._able("rtt"),
            size_bytes=RTT_BYTES,
            count=self._plan.pings,
            rounds=self._plan.rounds,
            progress=self._progress,
        )

    async def _fair(self) -> None:
        self.report.fairness = await measure_fairness(
            self._able("fair"),
            duration_s=self._plan.fair_s,
            rounds=self._plan.line_rounds,
            progress=self._progress,
        )

    async def _window(self) -> None:
        self.report.windows = await measure_windows(
            self._plan.rtts_s,
            (FIXED_WINDOW_BYTES, GROWING),
            turn_s=self._plan.window_s,
            rounds=self._plan.line_rounds,
            progress=self._progress,
        )

    async def _stalled(self) -> None:
        self.report.stalled = await measure_stalled(
            rounds=self._plan.rounds * STALLED_TURNS,
            round_bytes=self._plan.round_bytes,
            progress=self._progress,
        )

    async def _memory(self) -> None:
        self.report.memory = await measure_memory(self._progress)

    async def _idle(self) -> None:
        self.report.idle = await measure_idle(self._plan.idle_s, 1, self._progress)

    async def _seal(self) -> None:
        if reason := sealing.missing():
            self.report.skipped["part seal"] = reason
            self._progress(f"NOT MEASURED: part seal: {reason}")
            return
        self.report.sealing = await sealing.measure_sealing(
            streams=1,
            rounds=self._plan.rounds * SEAL_TURNS,
            round_bytes=self._plan.round_bytes // 4,
            progress=self._progress,
        )

    async def _query(self) -> None:
        self.report.queries = await measure_queries(
            rows=self._plan.query_rows, rounds=self._plan.rounds, progress=self._progress
        )


async def measure(plan: Plan, names: Sequence[str], progress: Progress) -> Report:
    """Measure what a plan says.

    Raises:
        MeasureError: a subject failed.
    """
    return await Run(plan, names, progress).measure()
