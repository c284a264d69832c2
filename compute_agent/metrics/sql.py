"""The statements. Nothing else is ever sent to ClickHouse.

Values come as `{name:Type}` only. Each statement is bound to org, project, domain and run of the
authorised scope. Tables are those of the OpenTelemetry exporter. What several containers of a run
use at once is added up: first the mean of each container in each step, then the sum over them.
"""

from __future__ import annotations

from string import Template

_PARTS = {
    "mine": """ResourceAttributes['planesplit.org'] = {org:String}
  AND ResourceAttributes['planesplit.project'] = {project:String}
  AND ResourceAttributes['planesplit.domain'] = {domain:String}
  AND ResourceAttributes['planesplit.run'] = {run:String}
  AND ({action:String} = '' OR ResourceAttributes['planesplit.action'] = {action:String})
  AND ({attempt:UInt32} = 0
    OR ResourceAttributes['planesplit.attempt'] = toString({attempt:UInt32}))
  AND TimeUnix >= {since:DateTime64(6, 'UTC')} AND TimeUnix < {until:DateTime64(6, 'UTC')}""",
    "step": "toStartOfInterval(TimeUnix, toIntervalSecond({step_s:UInt32}), 'UTC')",
    "cpu": "'container.cpu.usage'",
    "cpu_allocated": "'container.cpu.allocated'",
    "memory": "'container.memory.usage'",
    "memory_allocated": "'container.memory.allocated'",
    "gpu": "'gpu.utilization'",
    "cost": "'container.cost'",
}
_PER_CONTAINER = """(SELECT $step AS time, MetricName AS metric, avg(Value) AS mean
  FROM otel_metrics_gauge
  WHERE MetricName IN ($metrics) AND $mine
  GROUP BY time, metric, ResourceAttributes['k8s.pod.uid'],
    ResourceAttributes['k8s.container.name'])"""


def _statement(text: str, **parts: str) -> str:
    """Put shared parts into a statement; parts may contain parts."""
    known = {"per_container": _PER_CONTAINER, **_PARTS, **parts}
    while "$" in text:
        text = Template(text).substitute(known)
    return text


def _compared(used: str, allocated: str) -> str:
    return _statement(
        """SELECT time, sumIf(mean, metric = $used) AS used,
  sumIf(mean, metric = $allocated) AS allocated, if(allocated > 0, used / allocated, 0) AS share
FROM $per_container
GROUP BY time ORDER BY time""",
        metrics="$used, $allocated",
        used=used,
        allocated=allocated,
    )


CPU_USAGE = _statement(
    "SELECT time, sum(mean) AS cores FROM $per_container GROUP BY time ORDER BY time",
    metrics="$cpu",
)
MEMORY_USAGE = _statement(
    "SELECT time, sum(mean) AS bytes FROM $per_container GROUP BY time ORDER BY time",
    metrics="$memory",
)
CPU_USED_VS_ALLOCATED = _compared("$cpu", "$cpu_allocated")
MEMORY_USED_VS_ALLOCATED = _compared("$memory", "$memory_allocated")

GPU_UTILIZATION = _statement("""SELECT $step AS time,
  concat(ResourceAttributes['k8s.pod.name'], ':', Attributes['gpu']) AS gpu,
  avg(Value) AS utilization, max(Value) AS peak
FROM otel_metrics_gauge
WHERE MetricName = $gpu AND $mine
GROUP BY time, gpu ORDER BY time, gpu""")

COST = _statement(
    """SELECT time, rate, sum(rate * {step_s:UInt32} / 3600) OVER (ORDER BY time) AS total
FROM (SELECT time, sum(mean) AS rate FROM $per_container GROUP BY time)
ORDER BY time""",
    metrics="$cost",
)

SUMMARY = _statement("""SELECT ResourceAttributes['planesplit.action'] AS action,
  toUInt32OrZero(ResourceAttributes['planesplit.attempt']) AS attempt,
  min(TimeUnix) AS first, max(TimeUnix) AS last, count() AS samples,
  avgOrDefaultIf(Value, MetricName = $cpu) AS cpu_mean,
  maxOrDefaultIf(Value, MetricName = $cpu) AS cpu_peak,
  maxOrDefaultIf(Value, MetricName = $cpu_allocated) AS cpu_allocated,
  avgOrDefaultIf(Value, MetricName = $memory) AS memory_mean,
  maxOrDefaultIf(Value, MetricName = $memory) AS memory_peak,
  maxOrDefaultIf(Value, MetricName = $memory_allocated) AS memory_allocated,
  avgOrDefaultIf(Value, MetricName = $gpu) AS gpu_mean,
  avgOrDefaultIf(Value, MetricName = $cost) AS cost_rate,
  cost_rate * (toFloat64(last) - toFloat64(first)) / 3600 AS cost
FROM otel_metrics_gauge WHERE $mine
GROUP BY action, attempt ORDER BY action, attempt""")

SAMPLES = _statement("""SELECT TimeUnix AS time, MetricName AS metric, Value AS value,
  ResourceAttributes['planesplit.action'] AS action,
  ResourceAttributes['planesplit.attempt'] AS attempt,
  ResourceAttributes['k8s.pod.name'] AS pod,
  ResourceAttributes['k8s.container.name'] AS container,
  ResourceAttributes['k8s.node.name'] AS node,
  Attributes['gpu'] AS gpu
FROM otel_metrics_gauge
WHERE ({metric:String} = '' OR MetricName = {metric:String}) AND $mine
LIMIT {limit:UInt64}""")
