"""OpenAPI v3, as far as clients need it to know what a PATCH takes; objects have no schema here."""

from __future__ import annotations

from typing import Any

from kube.server.kinds import KINDS, Kind

ROOT = "/openapi/v3"
SCHEMA_HASH = "1"  # the documents never change while a server runs

Json = dict[str, Any]


def openapi(path: str) -> Json | None:
    """Return the OpenAPI document at a path, None if there is none."""
    if path == ROOT:
        versions = sorted({kind.version for kind in KINDS.values()})
        where = {_place(v): f"{ROOT}/{_place(v)}?hash={SCHEMA_HASH}" for v in versions}
        return {"paths": {place: {"serverRelativeURL": url} for place, url in where.items()}}
    found = [kind for kind in KINDS.values() if path == f"{ROOT}/{_place(kind.version)}"]
    return _document(found) if found else None


def _place(version: str) -> str:
    return f"apis/{version}" if "/" in version else f"api/{version}"


def _document(kinds: list[Kind]) -> Json:
    paths = {}
    for kind in kinds:
        within = "namespaces/{namespace}/" if kind.namespaced else ""
        patch = f"/{_place(kind.version)}/{within}{kind.name}/{{name}}"
        paths[patch] = {"patch": _patch(kind)}
    info = {"title": "Kubernetes", "version": "v1.34.0"}
    schemas = {_schema(kind): _any_object(kind) for kind in kinds}
    components = {"schemas": schemas}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": components}


def _patch(kind: Kind) -> Json:
    text = {"type": "string"}
    names = ("dryRun", "fieldManager", "fieldValidation")
    return {
        "parameters": [{"name": name, "in": "query", "schema": text} for name in names],
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": _names(kind),
    }


def _schema(kind: Kind) -> str:
    return f"{kind.version.replace('/', '.')}.{kind.kind}"


def _any_object(kind: Kind) -> Json:
    return {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": True,
        "x-kubernetes-group-version-kind": [_names(kind)],
    }


def _names(kind: Kind) -> Json:
    group, _, version = kind.version.rpartition("/")
    return {"group": group, "version": version, "kind": kind.kind}
