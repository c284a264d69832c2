"""Objects over HTTP: each verb on each kind."""

from __future__ import annotations

import copy
from typing import Any

from kube.server import status as errors
from kube.server.admitting import Admission
from kube.server.authorization import STORED, Authorization
from kube.server.cluster import ClusterObjects
from kube.server.kinds import Kind
from kube.server.objects import Objects
from kube.server.patches import patched
from kube.server.request import Request
from kube.server.shapes import check_shape
from kube.server.target import Target
from kube.server.tokens import User

Json = dict[str, Any]


class Resources:
    """Answers requests for objects that were authorised.

    Args:
        objects: the cluster's.
        authorization: asked whether a role gives more than its author has.
        admission: admits new objects.
    """

    def __init__(
        self, objects: ClusterObjects, authorization: Authorization, admission: Admission
    ) -> None:
        self._objects, self._authorization = objects, authorization
        self._admission = admission

    def find(self, target: Target) -> Objects:
        """Return the objects that a request is about.

        Raises:
            ApiError: 404, there is no such path.
        """
        found = self._objects.kinds.get(target.key)
        if found is None or found.kind.version != target.version or target.subresource:
            raise errors.no_such_path()
        kind = found.kind
        if (target.namespace and not kind.namespaced) or (
            target.name and not target.namespace and kind.namespaced
        ):
            raise errors.no_such_path()
        return found

    async def answer(self, request: Request, user: User, target: Target) -> tuple[int, Any]:
        """Return status and answer.

        Raises:
            ApiError: whatever is wrong with the request.
        """
        found, space, name = self.find(target), target.namespace, target.name
        if request.query("dryRun") and target.verb not in ("get", "list"):
            raise errors.no_dry_run()
        selector = None if name else request.selector(found.kind.key)
        match target.verb:
            case "get":
                return 200, found.get(space, name)
            case "list":
                limit, after = request.number("limit", 0), request.query("continue")
                return 200, found.list(space or None, selector, limit=limit, after=after)
            case "create" if not name and (space or not found.kind.namespaced):
                return 201, await self._create(user, found, space, await request.json())
            case "update" if name:
                return 200, self._replace(user, found, target, await request.json())
            case "patch" if name:
                media_type, patch = await request.patch()
                new = patched(media_type, patch, copy.deepcopy(found.get(space, name)))
                return 200, self._replace(user, found, target, new)
            case "delete":
                deletion = await request.deletion()
                deletion.check(found.kind.key, found.get(space, name))
                return 200, found.delete(space, name, grace_s=deletion.grace_s)
            case "deletecollection" if space or not found.kind.namespaced:
                deletion = await request.deletion()
                if deletion.uid or deletion.version:
                    raise errors.bad_request("preconditions are those of one object")
                return 200, found.delete_all(space or None, selector, grace_s=deletion.grace_s)
        raise errors.method_not_allowed()

    async def _create(self, user: User, found: Objects, namespace: str, body: Any) -> Json:
        if found.kind.namespaced and not self._objects.namespaces.has("", namespace):
            raise errors.not_found("namespaces", namespace)
        obj = found.admit(found.named(_typed(found.kind, body)), namespace)
        obj = await self._admission.admit(user, found.kind, namespace, obj)
        self._check_content(user, found, obj)  # as webhooks have left it
        return found.create(namespace, obj)

    def _replace(self, user: User, found: Objects, target: Target, body: Any) -> Json:
        body = _typed(found.kind, body)
        self._check_content(user, found, found.admit(body, target.namespace))
        return found.replace(target.namespace, target.name, body)

    def _check_content(self, user: User, found: Objects, obj: Json) -> None:
        check_shape(found.kind.key, obj)
        if found.kind.key in STORED:
            self._authorization.check_escalation(user, found.kind.key, obj)


def _typed(kind: Kind, body: Any) -> Any:
    """Return a body with the kind and version that its URL has, where it says neither."""
    if not isinstance(body, dict) or not {"kind", "apiVersion"}.isdisjoint(body):
        return body
    return {"kind": kind.kind, "apiVersion": kind.version, **body}
