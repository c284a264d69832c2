"""Opens the log aggregator that the settings name."""

from __future__ import annotations

from compute_agent.clickhouse import ClickHouse
from compute_agent.logs.history import History
from compute_agent.logs.history_clickhouse import ClickHouseHistory
from compute_agent.settings import AgentSettings


def open_history(settings: AgentSettings) -> History | None:
    """Return the log aggregator, None if none is configured. It is connected when first asked.

    Raises:
        SettingError: it cannot be used.
    """
    history = settings.history
    history.check(settings.clickhouse.url)
    if history.backend == "clickhouse":
        client = ClickHouse(settings.clickhouse, history.limits.request_s)
        return ClickHouseHistory(client, history.limits)
    if history.backend == "cloudwatch":
        from compute_agent.logs.history_cloudwatch import CloudWatchHistory  # boto3 takes 0.3 s

        return CloudWatchHistory(history.cloudwatch, settings.cluster, history.limits)
    return None
