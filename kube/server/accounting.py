"""Who asked for what and whether it was allowed: numbers only, no names of objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from kube.server.exposition import family
from kube.server.kinds import KINDS, VERBS
from policy.bindings import ANONYMOUS_USER
from policy.rules import Request

OTHER = "other"  # what this API doesn't serve: a caller's own words are not kept
METRIC = "apiserver_authorization_decisions_total"
REVIEW_GROUPS = ("authorization.k8s.io", "authentication.k8s.io")
_SUBRESOURCES = ("log", "status", "finalizers", "metrics", "proxy", "exec", "token")
_MORE_VERBS = ("impersonate", "escalate", "bind", "post", "put", "head", "options")
_VERBS = frozenset((*VERBS, *_MORE_VERBS))
_PATHS = ("/metrics", "/api", "/openapi", "/livez", "/readyz", "/healthz", "/version")

Json = dict[str, Any]


class Access(NamedTuple):
    """One row of the accounts.

    Args:
        user: Kubernetes' name; `other` for one that somebody acts as and that has no token here.
        verb: Kubernetes' verb.
        resource: with its group and subresource, e.g. `pods/log`; a path for what is no resource.
        allowed: the decision.
    """

    user: str
    verb: str
    resource: str
    allowed: bool


class Accounts:
    """Counts decisions by account, verb and resource.

    Args:
        users: names that are known from the start.
    """

    def __init__(self, users: Iterable[str] = ()) -> None:
        self._counts: Counter[Access] = Counter()
        self._users = {ANONYMOUS_USER, *users}

    def know(self, user: str) -> None:
        """Learn the name of a caller who has shown a token."""
        self._users.add(user)

    def count(self, request: Request, *, allowed: bool) -> None:
        """Count one decision."""
        user = request.user if request.user in self._users else OTHER
        self._counts[Access(user, verb_of(request), resource_of(request), allowed)] += 1

    def rows(self) -> dict[Access, int]:
        """Return every count."""
        return dict(self._counts)

    def report(self) -> Json:
        """Return the counts as JSON, most frequent first."""
        rows = [{**access._asdict(), "count": n} for access, n in self._counts.most_common()]
        return {"access": rows}

    def lines(self) -> Iterator[str]:
        """Yield the counts in Prometheus' text format."""
        yield from family(
            METRIC,
            "counter",
            "Requests by account, verb, resource and decision.",
            (
                (
                    {
                        "user": access.user,
                        "verb": access.verb,
                        "resource": access.resource,
                        "decision": "allow" if access.allowed else "deny",
                    },
                    count,
                )
                for access, count in sorted(self._counts.items())
            ),
        )


def verb_of(request: Request) -> str:
    """Return a request's verb, `other` for one that is none of Kubernetes'."""
    return request.verb if request.verb in _VERBS else OTHER


def resource_of(request: Request) -> str:
    """Return what a request is about, as far as this API serves it."""
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
