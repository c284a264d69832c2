"""What the API server tells of itself: requests answered and what is open; names of no objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from kube.server.accounting import resource_of, verb_of
from kube.server.exposition import family
from kube.server.kinds import NODES
from kube.server.node import NODE
from kube.server.store import Missing, ObjectStore
from kube.server.values import quantity
from policy.rules import Request

REQUESTS = "apiserver_request_total"
OPEN = "apiserver_longrunning_requests"
_REPORTED = {"create": "POST", "update": "PUT"}  # the others are called as RBAC's verbs are


class ServerMetrics:
    """Counts answers by verb, resource and code, and holds what is open now.

    The metrics have the names and verbs of Kubernetes' own (k8s.io/apiserver,
    `endpoints/metrics`), with group and subresource in one label.
    """

    def __init__(self) -> None:
        self._answered: Counter[tuple[str, str, int]] = Counter()
        self._open: Counter[tuple[str, str]] = Counter()

    def answered(self, request: Request, code: int) -> None:
        """Count an answer that begins.

        Args:
            code: its HTTP status.
        """
        self._answered[(*_labels(request), code)] += 1

    @contextmanager
    def open(self, request: Request) -> Iterator[None]:
        """Count a watch or a followed log while it lasts."""
        self._open[_labels(request)] += 1
        try:
            yield
        finally:
            self._open[_labels(request)] -= 1

    def lines(self) -> Iterator[str]:
        """Yield both families."""
        yield from family(
            REQUESTS,
            "counter",
            "Requests answered, by verb, resource and HTTP status.",
            (
                ({"verb": verb, "resource": resource, "code": str(code)}, count)
                for (verb, resource, code), count in sorted(self._answered.items())
            ),
        )
        yield from family(
            OPEN,
            "gauge",
            "Watches and logs that are being answered now.",
            (
                ({"verb": verb, "resource": resource}, count)
                for (verb, resource), count in sorted(self._open.items())
            ),
        )


def machine(store: ObjectStore) -> Iterator[str] | None:
    """Return the machine metrics of cAdvisor on this cluster's node; None if it has no node.

    What cAdvisor tells of containers is left out: its labels are the names of pods.
    """
    try:
        offered = store.get(NODES.key, "", NODE)["status"]["capacity"]
        cores, memory = quantity(offered["cpu"]), quantity(offered["memory"])
    except (Missing, KeyError, TypeError):
        return None
    return None if cores is None or memory is None else _machine(cores, memory)


def _machine(cores: float, memory_bytes: float) -> Iterator[str]:
    yield from family("machine_cpu_cores", "gauge", "Cores of the node.", [({}, cores)])
    yield from family("machine_memory_bytes", "gauge", "Memory of the node.", [({}, memory_bytes)])


def _labels(request: Request) -> tuple[str, str]:
    verb = verb_of(request)
    return _REPORTED.get(verb, verb.upper()), resource_of(request)
