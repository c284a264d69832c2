"""Which resources there are: their groups, scope, subresources, short names; which hold payload."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from policy.roles import CORE, DATA

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
SPECIAL_VERBS = ("bind", "escalate", "impersonate", "use", "approve", "sign", "attest")


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource that Kubernetes or a definition of the tables serves.

    Args:
        name: plural, as in URLs.
        kind: its objects' kind.
        groups: API groups that serve it, the usual one first; empty string for the core group.
        short: other names for it.
        subresources: e.g. `log`.
        namespaced: whether its objects are in namespaces.
    """

    name: str
    kind: str
    groups: tuple[str, ...]
    short: tuple[str, ...]
    subresources: tuple[str, ...]
    namespaced: bool


@cache
def resources() -> dict[str, Resource]:
    """Return the resources by name."""
    return {name: _resource(name, row) for name, row in _data()["resources"].items()}


@cache
def payload() -> dict[str, str]:
    """Return what holds payload, `resource` or `resource/subresource`, and which."""
    return dict(_data()["payload"])


def find(name: str) -> Resource | None:
    """Return a resource by plural, short name or kind, as kubectl finds it."""
    lower = name.lower()
    for resource in resources().values():
        known = (resource.name, resource.kind, *resource.short)
        if lower in map(str.lower, known):
            return resource
    return None


def _data() -> dict[str, Any]:
    return tomllib.loads((DATA / "resources.toml").read_text(encoding="utf-8"))


def _resource(name: str, row: Mapping[str, Any]) -> Resource:
    return Resource(
        name=name,
        kind=row["kind"],
        groups=tuple("" if group == CORE else group for group in row["groups"].split()),
        short=tuple(row.get("short", "").split()),
        subresources=tuple(row.get("subresources", "").split()),
        namespaced=not row.get("cluster", False),
    )
