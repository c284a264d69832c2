"""Keeps the pod store in step with the cluster: list, then watch, and list again when in doubt."""

from __future__ import annotations

from typing import NoReturn

import trio

from compute_agent.pods import Cluster, PodStore
from compute_agent.settings import ClusterLimits
from kube.client import ClusterError, WatchExpired
from tunnel.journal import Journal


async def keep_store(
    cluster: Cluster, store: PodStore, limits: ClusterLimits, journal: Journal
) -> NoReturn:
    """Keep `store` up to date for ever; the cluster's API may come and go."""
    while True:
        try:
            pods, version = await cluster.list()
            if not store.synced:
                journal.event("cluster_synced", pods=len(pods))
            store.replace(pods)
            while True:
                version = await cluster.watch(version, store.apply)
                await trio.lowlevel.checkpoint()
        except WatchExpired:
            continue
        except ClusterError as error:
            if store.synced:
                journal.event("cluster_lost", status=getattr(error, "status", 0))
                store.lost()
        await trio.sleep(limits.retry_s)
