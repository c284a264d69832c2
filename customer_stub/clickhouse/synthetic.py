"""Synthetic samples of task pods, made by the engine itself: the same seed gives the same rows.

Values follow a slow wave with noise; times end at a given moment, one sample per metric and step.
"""

from __future__ import annotations

from dataclasses import dataclass

from customer_stub.clickhouse.schema import DATABASE
from tunnel.settings import SettingError

METRICS = (
    ("container.cpu.usage", "{cpu}", "2 * (0.6 + 0.3 * wave + 0.1 * noise)"),
    ("container.cpu.allocated", "{cpu}", "2"),
    ("container.memory.usage", "By", "round(4294967296 * (0.5 + 0.2 * wave + 0.05 * noise))"),
    ("container.memory.allocated", "By", "4294967296"),
    ("gpu.utilization", "1", "0.7 + 0.2 * wave + 0.1 * noise"),
    ("container.cost", "USD/h", "0.12"),
)
MAX_ROWS = 50_000_000
BLOCK_ROWS = 131_072  # written at once; the engine's default of 1 M takes more than 512 MiB


@dataclass(frozen=True, slots=True)
class Series:
    """What to make.

    Args:
        rows: samples altogether, over all runs and metrics.
        seed: the same seed gives the same values.
        org: organisation, project, domain and run follow; names in the rows' attributes.
        project: see `org`.
        domain: see `org`.
        run: prefix of the runs' names; the number of the run follows.
        runs: how many runs share the rows.
        step_ms: time between the samples of one metric.
    """

    rows: int
    seed: int = 1
    org: str = "acme"
    project: str = "flytesnacks"
    domain: str = "development"
    run: str = "synthetic-"
    runs: int = 20
    step_ms: int = 1000

    def __post_init__(self) -> None:
        if not 0 < self.rows <= MAX_ROWS:
            raise SettingError(f"rows is {self.rows}; it must be between 1 and {MAX_ROWS}")
        if self.runs < 1 or self.step_ms < 1 or self.seed < 0:
            raise SettingError("runs and step_ms must be at least 1, seed at least 0")


def statement(series: Series, end_ns: int) -> str:
    """Return the INSERT that makes the samples.

    Args:
        series: what.
        end_ns: time of the last sample, nanoseconds since the epoch.
    """
    names = ", ".join(_text(name) for name, _, _ in METRICS)
    units = ", ".join(_text(unit) for _, unit, _ in METRICS)
    values = ", ".join(f"toFloat64({value})" for _, _, value in METRICS)
    return f"""
INSERT INTO {DATABASE}.otel_metrics_gauge
    (ResourceAttributes, ScopeName, ServiceName, MetricName, MetricUnit, Attributes,
     StartTimeUnix, TimeUnix, Value)
WITH
    number % {len(METRICS)} AS metric,
    intDiv(number, {len(METRICS)}) AS sample,
    sample % {series.runs} AS run,
    intDiv(sample, {series.runs}) AS step,
    intDiv({series.rows}, {series.runs * len(METRICS)}) AS steps,
    sipHash64({series.seed}, number) / 18446744073709551615 * 2 - 1 AS noise,
    sin(step / 60 + run) AS wave,
    fromUnixTimestamp64Nano(toInt64({end_ns} - (steps - toInt64(step)) * {series.step_ms}000000))
        AS at
SELECT
    map('planesplit.org', {_text(series.org)}, 'planesplit.project', {_text(series.project)},
        'planesplit.domain', {_text(series.domain)},
        'planesplit.run', concat({_text(series.run)}, toString(run)),
        'planesplit.action', 'a0', 'planesplit.attempt', '1',
        'k8s.pod.name', concat({_text(series.run)}, toString(run), '-a0-1'),
        'k8s.pod.uid', lower(hex(sipHash64({series.seed}, run))),
        'k8s.container.name', 'main', 'k8s.node.name', 'node-0', 'k8s.cluster.name', 'c1'),
    'planesplit.synthetic', 'synthetic', [{names}][metric + 1], [{units}][metric + 1],
    if(metric = 4, map('gpu', '0'), map()),
    at, at, [{values}][metric + 1]
FROM numbers({series.rows})
SETTINGS min_insert_block_size_rows = {BLOCK_ROWS}, min_insert_block_size_bytes = 0
"""  # noqa: S608 - numbers, and names that are quoted


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
