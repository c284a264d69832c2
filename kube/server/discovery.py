"""Discovery: which groups, versions and kinds there are, plainly and aggregated."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from kube.server.kinds import KINDS, VERBS, Kind
from kube.server.reviews import REVIEWS

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

Json = dict[str, Any]


def _review_kinds() -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for key, kind in REVIEWS.items():
        name, _, group = key.partition(".")
        found.setdefault(f"{group}/v1", []).append((name, kind))
    return found


_REVIEWS = _review_kinds()
_VERSIONS: dict[str, list[Kind]] = {
    version: list(kinds)
    for version, kinds in groupby(
        sorted(KINDS.values(), key=lambda kind: kind.version), key=lambda kind: kind.version
    )
}
_GROUPS = sorted({*_VERSIONS, *_REVIEWS} - {"v1"})  # each group has one version here


def discovery(path: str, *, aggregated: bool) -> Json | None:
    """Return the discovery document at a path, None if there is none.

    Args:
        aggregated: whether the client takes everything at once.
    """
    match path.strip("/").split("/"):
        case ["api"]:
            if aggregated:
                return _all(["v1"])
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            if aggregated:
                return _all(_GROUPS)
            groups = [_group(version) for version in _GROUPS]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        case ["api", "v1"]:
            return _resources("v1")
        case ["apis", group]:
            return next((_group(v) for v in _GROUPS if v.startswith(f"{group}/")), None)
        case ["apis", group, number] if f"{group}/{number}" in _GROUPS:
            return _resources(f"{group}/{number}")
    return None


def _group(version: str) -> Json:
    preferred = {"groupVersion": version, "version": version.partition("/")[2]}
    head = {"kind": "APIGroup", "apiVersion": "v1", "name": version.partition("/")[0]}
    return {**head, "versions": [preferred], "preferredVersion": preferred}


def _resources(version: str) -> Json:
    found = [kind.described() for kind in _VERSIONS.get(version, ())]
    if version == "v1":
        logs = {"name": "pods/log", "singularName": "", "namespaced": True, "kind": "Pod"}
        found.append({**logs, "verbs": ["get"]})
    for name, kind in _REVIEWS.get(version, ()):
        review = {"name": name, "singularName": kind.lower(), "namespaced": False}
        found.append({**review, "kind": kind, "verbs": ["create"]})
    head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version}
    return {**head, "resources": found}


def _all(versions: Iterable[str]) -> Json:
    head = {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2"}
    return {**head, "metadata": {}, "items": [_aggregated(version) for version in versions]}


def _aggregated(version: str) -> Json:
    group, _, number = version.rpartition("/")
    resources: list[Json] = [_described(kind) for kind in _VERSIONS.get(version, ())]
    for name, kind in _REVIEWS.get(version, ()):
        about = _kind(version, kind)
        review = {"resource": name, "responseKind": about, "scope": "Cluster"}
        resources.append({**review, "singularResource": kind.lower(), "verbs": ["create"]})
    one = {"version": number, "resources": resources, "freshness": "Current"}
    return {"metadata": {"name": group} if group else {}, "versions": [one]}


def _described(kind: Kind) -> Json:
    described: Json = {
        "resource": kind.name,
        "responseKind": _kind(kind.version, kind.kind),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.kind.lower(),
        "verbs": list(VERBS),
        "shortNames": list(kind.short),
    }
    if kind.key == "pods":
        log = {"subresource": "log", "responseKind": _kind("v1", "Pod"), "verbs": ["get"]}
        described["subresources"] = [log]
    return described


def _kind(version: str, kind: str) -> Json:
    group, _, number = version.rpartition("/")
    return {"group": group, "version": number, "kind": kind}
