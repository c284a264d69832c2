"""The roles as Kubernetes objects: namespace, service accounts, roles, bindings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policy.roles import NAMESPACE, Plane, Role, accounts, roles
from policy.rules import Rule

RBAC = "rbac.authorization.k8s.io"
APPENDIX = "planesplit/appendix"  # the annotation that names the row

Manifest = dict[str, Any]


def manifests(plane: Plane) -> Iterator[Manifest]:
    """Yield what `kubectl apply` needs to give a plane's accounts their rights, in that order."""
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    for account in accounts(plane):
        metadata = {"name": account, "namespace": NAMESPACE}
        yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    for role in roles(plane):
        yield _role(role)
        if role.accounts:
            yield _binding(role)


def _role(role: Role) -> Manifest:
    metadata = _metadata(role)
    if role.labels:
        metadata["labels"] = dict(role.labels)
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": role.kind,
        "metadata": metadata,
        "rules": list(map(_rule, role.rules)),
    }


def _binding(role: Role) -> Manifest:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": f"{role.kind}Binding",
        "metadata": _metadata(role),
        "roleRef": {"apiGroup": RBAC, "kind": role.kind, "name": role.name},
        "subjects": [
            {"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}
            for account in role.accounts
        ],
    }


def _metadata(role: Role) -> Manifest:
    metadata: Manifest = {"name": role.name}
    if role.scope:
        metadata["namespace"] = role.scope
    return {**metadata, "annotations": {APPENDIX: role.appendix}}


def _rule(rule: Rule) -> Manifest:
    if rule.urls:
        return {"nonResourceURLs": list(rule.urls), "verbs": list(rule.verbs)}
    found = {"apiGroups": list(rule.groups), "resources": list(rule.resources)}
    if rule.names:
        found["resourceNames"] = list(rule.names)
    return {**found, "verbs": list(rule.verbs)}
