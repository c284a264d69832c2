"""Why a cluster is not healthy: the closed list that agents choose from."""

from __future__ import annotations

KUBERNETES_UNREACHABLE = "kubernetes_unreachable"
NODES_NOT_READY = "nodes_not_ready"
CLICKHOUSE_UNREACHABLE = "clickhouse_unreachable"
OBJECT_STORE_UNREACHABLE = "object_store_unreachable"

REASONS = frozenset(
    {
        KUBERNETES_UNREACHABLE,
        NODES_NOT_READY,
        CLICKHOUSE_UNREACHABLE,
        OBJECT_STORE_UNREACHABLE,
    }
)
