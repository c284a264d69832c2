"""What accounts may do with customers' payload in Kubernetes, and nobody does here, with reasons.

A test compares it with a whole split's calls: what is granted is either called, or stands here.
"""

from __future__ import annotations

from typing import NamedTuple

from policy.resources import VERBS

_EVERY = " ".join(VERBS)
_PLUGINS = _EVERY.replace(" deletecollection", "")
_NO_WORKFLOWS = "runs are pods here; nobody writes a FlyteWorkflow"


class Uncalled(NamedTuple):
    """Verbs on resources that an account has in the whole cluster and never uses.

    Args:
        account: the service account.
        resources: `resource` or `resource/subresource`, with spaces between.
        verbs: as RBAC writes them, with spaces between.
        reason: why not.
    """

    account: str
    resources: str
    verbs: str
    reason: str


UNCALLED = (
    Uncalled(
        "clustersync-system", "secrets", _EVERY, "a workspace is made without secrets of its own"
    ),
    Uncalled(
        "executor",
        "pods/log pods/exec pods/attach pods/portforward nodes/proxy secrets events",
        _PLUGINS,
        "comes with *(all plugin objects); it runs pods, and proxy-system reads what they tell",
    ),
    Uncalled("executor", "flyteworkflows taskactions", _PLUGINS, _NO_WORKFLOWS),
    Uncalled("proxy-system", "pods/log", "list watch", "a log is read and followed by get"),
    Uncalled("proxy-system", "events", "get", "events are listed and watched, never one by one"),
    Uncalled("proxy-system", "flyteworkflows", "get list watch", _NO_WORKFLOWS),
    Uncalled("operator-system", "secrets", _EVERY, "health is told of nodes and pods alone"),
    Uncalled("operator-system", "flyteworkflows", _EVERY, _NO_WORKFLOWS),
    Uncalled(
        "flytepropeller-webhook-system",
        "secrets",
        "create update patch",
        "it reads what a pod wants; proxy-system writes",
    ),
    Uncalled(
        "kube-state-metrics",
        "secrets",
        "list watch",
        "allocations need pods alone, and a list of secrets shows their values",
    ),
)


def uncalled(account: str) -> dict[str, frozenset[str]]:
    """Return the verbs by resource that an account has over payload and never uses."""
    found: dict[str, frozenset[str]] = {}
    for one in UNCALLED:
        if one.account == account:
            for what in one.resources.split():
                found[what] = found.get(what, frozenset()) | frozenset(one.verbs.split())
    return found
