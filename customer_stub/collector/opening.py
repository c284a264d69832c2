"""Opens the collector that the settings ask for."""

from __future__ import annotations

from pathlib import Path

from customer_stub.clickhouse_writer import ClickHouseWriter
from customer_stub.collector.collector import Collector
from customer_stub.collector.sink import ClickHouseSink, Sink
from customer_stub.settings import CustomerSettings
from tunnel.journal import Journal

STATE_FILE = "collector-positions.json"


def open_collector(settings: CustomerSettings, journal: Journal) -> Collector | None:
    """Return the collector, None if logs are collected nowhere.

    Raises:
        SettingError: the sink can't be used.
    """
    collector = settings.collector
    sink: Sink
    if collector.sink == "clickhouse":
        sink = ClickHouseSink(ClickHouseWriter(settings.clickhouse))
    elif collector.sink == "cloudwatch":
        from customer_stub.collector.cloudwatch import CloudWatchSink

        sink = CloudWatchSink(collector.cloudwatch, collector.cluster)
    else:
        return None
    root = settings.data_root or settings.log_root
    return Collector(collector, sink, journal=journal, state_file=Path(root) / STATE_FILE)
