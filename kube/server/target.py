"""What a request is about, as Kubernetes' authorizer sees it, from its method and URL alone.

Source: `RequestInfoFactory.NewRequestInfo` of k8s.io/apiserver.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from policy.rules import Request as Asked

_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_OF_NAMESPACES = ("status", "finalize")
_BY_NAME = re.compile(r"(?:.*,)?metadata\.name==?([^,]+)(?:,.*)?")


@dataclass(frozen=True, slots=True)
class Target:
    """A request's object or collection.

    Args:
        verb: Kubernetes' verb.
        version: group and version.
        resource, subresource: as in the URL.
        namespace, name: empty where the URL has none.
        selected: the name that a list's field selector asks for, if it asks for one.
    """

    verb: str
    version: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    selected: str = ""

    @property
    def group(self) -> str:
        """The API group."""
        return self.version.rpartition("/")[0]

    @property
    def key(self) -> str:
        """See `Kind.key`."""
        return f"{self.resource}.{self.group}" if self.group else self.resource

    def asked(self, user: str, groups: tuple[str, ...]) -> Asked:
        """Return what the authorizer is asked."""
        within = self.namespace or (self.name if self.key == "namespaces" else "")
        return Asked(
            user,
            self.verb,
            self.group,
            self.resource,
            self.subresource,
            self.name or self.selected,
            within,
            groups=groups,
        )


def target_of(method: str, path: str, *, watch: bool = False, fields: str = "") -> Target | None:
    """Return what a request is about; None for a URL that is no resource's.

    Args:
        watch: whether the query says `watch`.
        fields: its field selector.
    """
    match path.strip("/").split("/"):
        case ["api", version, *parts] if parts:
            pass
        case ["apis", group, number, *parts] if parts:
            version = f"{group}/{number}"
        case _:
            return None
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2 and parts[2] not in _OF_NAMESPACES:
        namespace, parts = parts[1], parts[2:]
    resource, name, subresource = (*parts, "", "")[:3]
    if len(parts) > 3:
        subresource = "/".join(parts[2:])
    verb = _VERBS.get(method, "")  # as Kubernetes: no method of one's own is a verb
    selected = ""
    if not name and verb == "get":
        by_name = _BY_NAME.fullmatch(fields)
        verb, selected = "watch" if watch else "list", by_name[1] if by_name else ""
    elif not name and verb == "delete":
        verb = "deletecollection"  # for which a selector's name doesn't count
    return Target(verb, version, resource, subresource, namespace, name, selected)
