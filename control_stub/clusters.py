"""Which cluster serves what is not bound to one."""

from __future__ import annotations

from collections.abc import Sequence

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from control_stub.directory import Cluster

_PREFERENCE = {"ONLINE": 0, "LOST": 1, "CREATED": 2}


def choose(clusters: Sequence[Cluster]) -> Cluster:
    """Return an enabled cluster: one that is online, else one that was; the first by name.

    The same for everybody as long as tunnels stay as they are: what one caller uploads, the run
    that another starts will find.

    Raises:
        ConnectError: FAILED_PRECONDITION: none is enabled.
    """
    enabled = [cluster for cluster in clusters if cluster.enabled]
    if enabled:
        return min(enabled, key=lambda c: (_PREFERENCE[c.state], c.cluster))
    if clusters:
        raise ConnectError(
            Code.FAILED_PRECONDITION, "the cluster is disabled; 'planesplit cluster enable' it"
        )
    raise ConnectError(Code.FAILED_PRECONDITION, "there is no such cluster to run on")
