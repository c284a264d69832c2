"""Opens the feeder that the settings ask for."""

from __future__ import annotations

from customer_stub.clickhouse_writer import ClickHouseWriter
from customer_stub.samples.feeder import Feeder
from customer_stub.samples.sampler import Sampler
from customer_stub.settings import CustomerSettings
from tunnel.journal import Journal


def open_feeder(settings: CustomerSettings, journal: Journal) -> Feeder | None:
    """Return the feeder of samples, None without a ClickHouse.

    Raises:
        SettingError: ClickHouse's URL, password file or CA file can't be used.
    """
    if not settings.clickhouse.url:
        return None
    names = settings.collector
    sampler = Sampler(settings.samples, cluster=names.cluster, node=names.node)
    writer = ClickHouseWriter(settings.clickhouse)
    return Feeder(settings.samples, sampler, writer, journal=journal)
