"""The resources that this API serves, and what discovery says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object of core/v1.

    Args:
        name: plural, as in URLs.
        kind: of one object.
        short: what kubectl's users type.
        verbs: what may be done with it.
        namespaced: whether its objects live in namespaces.
    """

    name: str
    kind: str
    short: tuple[str, ...]
    verbs: tuple[str, ...]
    namespaced: bool = True

    def described(self) -> Json:
        """Return its APIResource."""
        return {
            "name": self.name,
            "singularName": self.kind.lower(),
            "namespaced": self.namespaced,
            "kind": self.kind,
            "verbs": list(self.verbs),
            "shortNames": list(self.short),
        }


_READ = ("get", "list", "watch")

PODS = Resource("pods", "Pod", ("po",), ("create", "delete", *_READ))
SECRETS = Resource("secrets", "Secret", (), ("create", "delete", *_READ, "update"))
EVENTS = Resource("events", "Event", ("ev",), _READ)
NODES = Resource("nodes", "Node", ("no",), _READ, namespaced=False)
NAMESPACES = Resource("namespaces", "Namespace", ("ns",), _READ, namespaced=False)
POD_LOG = "pods/log"  # a subresource: text, not an object

RESOURCES = {resource.name: resource for resource in (PODS, SECRETS, EVENTS, NODES, NAMESPACES)}
REVIEWS_GROUP = "authorization.k8s.io"
REVIEWS = "selfsubjectaccessreviews"


def discovery(path: str) -> Json | None:
    """Return the discovery document at a path, None if there is none."""
    match path:
        case "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        case "/apis":
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]}
        case "/api/v1":
            logs = {"name": POD_LOG, "singularName": "", "namespaced": True, "kind": "Pod"}
            logs["verbs"] = ["get"]
            return _resource_list("v1", [*(r.described() for r in RESOURCES.values()), logs])
        case "/apis/authorization.k8s.io":
            return _group()
        case "/apis/authorization.k8s.io/v1":
            kind = "SelfSubjectAccessReview"
            review = {"name": REVIEWS, "singularName": kind.lower(), "namespaced": False}
            review |= {"kind": kind, "verbs": ["create"]}
            return _resource_list(f"{REVIEWS_GROUP}/v1", [review])
    return None


def _group() -> Json:
    version = {"groupVersion": f"{REVIEWS_GROUP}/v1", "version": "v1"}
    group = {"kind": "APIGroup", "apiVersion": "v1", "name": REVIEWS_GROUP}
    return {**group, "versions": [version], "preferredVersion": version}


def _resource_list(version: str, resources: list[Json]) -> Json:
    meta = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version}
    return {**meta, "resources": resources}
