"""Kubernetes' RBAC rule: what it covers, as upstream's authorizer compares it.

Source: `RuleAllows` and the `*Matches` functions of Kubernetes' `pkg/registry/rbac/validation` and
`pkg/apis/rbac/v1/evaluation_helpers.go`.
"""

from __future__ import annotations

from dataclasses import dataclass

ALL = "*"


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks for; for a resource, or for a URL that is none.

    Args:
        user: Kubernetes' name, for service accounts `system:serviceaccount:{namespace}:{name}`.
        verb: get, list, watch, create, ...; of a URL the HTTP method in small letters.
        group: API group, empty for the core group.
        resource: plural, as in URLs; empty for a request by `path`.
        subresource: e.g. `log` of pods.
        name: one object's; empty for lists and creations.
        namespace: empty at the cluster's scope, and for all namespaces at once.
        path: the URL that is no resource, e.g. `/metrics`.
        groups: what else the user is: `system:authenticated`, ...
    """

    user: str
    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    namespace: str = ""
    path: str = ""
    groups: tuple[str, ...] = ()

    @property
    def combined(self) -> str:
        """The resource as rules name it: `pods`, `pods/log`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True, slots=True)
class Rule:
    """All combinations of its verbs with its resources (in its groups) or URLs.

    Args:
        verbs, groups, resources: `*` is every one; `*/sub` is that subresource of everything.
        names: only these objects; all if empty.
        urls: paths that are no resources; a trailing `*` is any rest.
    """

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()

    def allows(self, request: Request) -> bool:
        """Whether the rule covers this; who asks and in which namespace is the binding's part."""
        if not _covers(self.verbs, request.verb):
            return False
        if not request.resource:
            return any(_url_matches(url, request.path) for url in self.urls)
        return (
            _covers(self.groups, request.group)
            and any(_resource_matches(resource, request) for resource in self.resources)
            and (not self.names or request.name in self.names)
        )


def _covers(granted: tuple[str, ...], asked: str) -> bool:
    return ALL in granted or asked in granted


def _resource_matches(granted: str, request: Request) -> bool:
    """`pods` is not `pods/log`, and `pods/*` is a name like any other: no wildcard."""
    if granted in (ALL, request.combined):
        return True
    return bool(request.subresource) and granted == f"*/{request.subresource}"


def _url_matches(granted: str, path: str) -> bool:
    if granted in (ALL, path):
        return True
    return granted.endswith(ALL) and path.startswith(granted.rstrip(ALL))
