"""Who asked for what and whether it was allowed: numbers only, no names of objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from kube.server.kinds import KINDS
from policy.rules import Request

OTHER = "other"  # what this API doesn't serve: a caller's own words are not kept
METRIC = "apiserver_authorization_decisions_total"
REVIEW_GROUPS = ("authorization.k8s.io", "authentication.k8s.io")
_SUBRESOURCES = ("log", "status", "finalizers", "metrics", "proxy", "exec", "token")
_PATHS = ("/metrics", "/api", "/openapi", "/livez", "/readyz", "/healthz", "/version")

Json = dict[str, Any]


class Access(NamedTuple):
    """One row of the accounts.

    Args:
        user: Kubernetes' name.
        verb: Kubernetes' verb.
        resource: with its group and subresource, e.g. `pods/log`; a path for what is no resource.
        allowed: the decision.
    """

    user: str
    verb: str
    resource: str
    allowed: bool


class Accounts:
    """Counts decisions by account, verb and resource."""

    def __init__(self) -> None:
        self._counts: Counter[Access] = Counter()

    def count(self, request: Request, *, allowed: bool) -> None:
        """Count one decision."""
        self._counts[Access(request.user, request.verb, _resource(request), allowed)] += 1

    def rows(self) -> dict[Access, int]:
        """Return every count."""
        return dict(self._counts)

    def report(self) -> Json:
        """Return the counts as JSON, most frequent first."""
        rows = [{**access._asdict(), "count": n} for access, n in self._counts.most_common()]
        return {"access": rows}

    def metrics(self) -> str:
        """Return the counts in Prometheus' text format."""
        return "".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"# HELP {METRIC} Requests by account, verb, resource and decision.\n"
        yield f"# TYPE {METRIC} counter\n"
        for access, count in sorted(self._counts.items()):
            decision = "allow" if access.allowed else "deny"
            labels = {"user": access.user, "verb": access.verb, "resource": access.resource}
            text = ",".join(f'{k}="{v}"' for k, v in {**labels, "decision": decision}.items())
            yield f"{METRIC}{{{text}}} {count}\n"


def _resource(request: Request) -> str:
    if not request.resource:
        return _path(request.path)
    key = f"{request.resource}.{request.group}" if request.group else request.resource
    if key not in KINDS:
        return f"reviews.{request.group}" if request.group in REVIEW_GROUPS else OTHER
    return f"{key}/{_known(request.subresource)}" if request.subresource else key


def _known(subresource: str) -> str:
    return subresource if subresource in _SUBRESOURCES else OTHER


def _path(path: str) -> str:
    return next((known for known in _PATHS if path.startswith(known)), OTHER)
