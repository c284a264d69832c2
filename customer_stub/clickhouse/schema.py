"""The tables of the customer: the columns of OpenTelemetry's ClickHouse exporter.

Sorting keys are ours: everything asked by name is asked of a run, so that a run's rows lie together
(the exporter sorts by service and time). The deduplication window makes a repeated insert one.
"""

from __future__ import annotations

DATABASE = "otel"
RUN_KEY = ", ".join(
    f"ResourceAttributes['planesplit.{name}']"
    for name in ("org", "project", "domain", "run", "action")
)
_MAP = "Map(LowCardinality(String), String) CODEC(ZSTD(1))"
_TIME = "DateTime64(9) CODEC(Delta(8), ZSTD(1))"
_SETTINGS = "index_granularity = 8192, non_replicated_deduplication_window = 1000"

GAUGE = f"""
CREATE TABLE IF NOT EXISTS {DATABASE}.otel_metrics_gauge (
    ResourceAttributes {_MAP},
    ResourceSchemaUrl String CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion String CODEC(ZSTD(1)),
    ScopeAttributes {_MAP},
    ScopeDroppedAttrCount UInt32 CODEC(ZSTD(1)),
    ScopeSchemaUrl String CODEC(ZSTD(1)),
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    MetricName LowCardinality(String) CODEC(ZSTD(1)),
    MetricDescription LowCardinality(String) CODEC(ZSTD(1)),
    MetricUnit LowCardinality(String) CODEC(ZSTD(1)),
    Attributes {_MAP},
    StartTimeUnix {_TIME},
    TimeUnix {_TIME},
    Value Float64 CODEC(ZSTD(1)),
    Flags UInt32 CODEC(ZSTD(1)),
    Exemplars Nested (
        FilteredAttributes Map(LowCardinality(String), String),
        TimeUnix DateTime64(9),
        Value Float64,
        SpanId String,
        TraceId String
    ) CODEC(ZSTD(1))
) ENGINE = MergeTree
ORDER BY ({RUN_KEY}, MetricName, TimeUnix)
SETTINGS {_SETTINGS}
"""

LOGS = f"""
CREATE TABLE IF NOT EXISTS {DATABASE}.otel_logs (
    Timestamp {_TIME},
    TimestampTime DateTime DEFAULT toDateTime(Timestamp),
    TraceId String CODEC(ZSTD(1)),
    SpanId String CODEC(ZSTD(1)),
    TraceFlags UInt8,
    SeverityText LowCardinality(String) CODEC(ZSTD(1)),
    SeverityNumber UInt8,
    ServiceName LowCardinality(String) CODEC(ZSTD(1)),
    Body String CODEC(ZSTD(1)),
    ResourceSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ResourceAttributes {_MAP},
    ScopeSchemaUrl LowCardinality(String) CODEC(ZSTD(1)),
    ScopeName String CODEC(ZSTD(1)),
    ScopeVersion LowCardinality(String) CODEC(ZSTD(1)),
    ScopeAttributes {_MAP},
    LogAttributes {_MAP},
    EventName String CODEC(ZSTD(1))
) ENGINE = MergeTree
ORDER BY ({RUN_KEY}, ResourceAttributes['k8s.pod.uid'], ResourceAttributes['k8s.container.name'],
    toUInt64OrZero(LogAttributes['planesplit.restart']),
    toUInt64OrZero(LogAttributes['planesplit.sequence']))
SETTINGS {_SETTINGS}
"""

STATEMENTS = (f"CREATE DATABASE IF NOT EXISTS {DATABASE} ENGINE = Atomic", GAUGE, LOGS)
