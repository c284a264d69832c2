"""Rows A11 and A12: a user's name and roles, and the state of a cluster."""

from __future__ import annotations

import trio

from planesplit.administration import Administration
from planesplit.proof import claims
from planesplit.proof.stage import Stage
from planesplit.viewer import Viewer

REPORTED_S = 15.0
POLL_S = 0.1


async def identity(stage: Stage, viewer: Viewer) -> None:
    """Give a user a role, and ask who is known."""
    user = stage.name(claims.USER)
    administration = administer(stage, viewer)
    await administration.bind(user, "Viewer", viewer.place.project, "")
    if any(principal.subject == user for principal in await administration.principals()):
        stage.delivered_to(claims.USER)


async def cluster_state(stage: Stage, viewer: Viewer) -> None:
    """Learn how much memory the cluster says it has: a number that nobody else would write."""
    administration = administer(stage, viewer)
    with trio.move_on_after(REPORTED_S):
        while True:
            for cluster in await administration.clusters():
                if cluster.usage.memory_bytes:
                    stage.watch(str(cluster.usage.memory_bytes), claims.STATE)
                    stage.delivered_to(claims.STATE)
                    return
            await trio.sleep(POLL_S)
    stage.failures.append("the cluster did not report its resources")


def administer(stage: Stage, viewer: Viewer) -> Administration:
    """Return the administration of the viewer's org."""
    return Administration(viewer.client, stage.split.ready.urls.control, viewer.place.org)
