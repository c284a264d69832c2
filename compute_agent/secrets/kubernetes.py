"""Secrets as Kubernetes Secrets of one namespace.

Answers are asked for as metadata only (PartialObjectMetadata), so that no value comes back.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any
from urllib.parse import quote

from compute_agent.attempts import LABEL_PREFIX
from compute_agent.secrets.backend import (
    SecretError,
    SecretExists,
    SecretInfo,
    SecretMissing,
    SecretRefused,
    SecretValue,
)
from compute_agent.secrets.names import SecretName, SecretScope
from kube.client import ClusterError, ClusterRefused, KubernetesApi

NAME_LABEL, TYPE_LABEL = LABEL_PREFIX + "secret", LABEL_PREFIX + "type"
GENERIC, IMAGE_PULL = "generic", "image-pull"
VALUE_KEY, DOCKER_KEY = "value", ".dockerconfigjson"
_AS = "application/json;as={};v=v1;g=meta.k8s.io"
METADATA = _AS.format("PartialObjectMetadata")
METADATA_LIST = _AS.format("PartialObjectMetadataList")
BAD_REQUEST, FORBIDDEN, NOT_FOUND, CONFLICT = 400, 403, 404, 409
_REFUSALS = {
    FORBIDDEN: "the cluster does not allow the agent to write secrets",
    413: "the cluster's API finds the secret too large",
    422: "the cluster's API finds the secret invalid; an image pull secret is Docker's JSON",
}


class KubernetesSecrets:
    """See SecretBackend.

    Args:
        api: as an account that may write Secrets in the namespace.
        namespace: where they are.
    """

    def __init__(self, api: KubernetesApi, namespace: str) -> None:
        self._api, self._path = api, f"/api/v1/namespaces/{quote(namespace)}/secrets"

    async def create(self, name: SecretName, value: SecretValue) -> None:
        """See SecretBackend."""
        status, _ = await self._call("POST", "", body=_manifest(name, value), also=(CONFLICT,))
        if status == CONFLICT:
            raise SecretExists

    async def update(self, name: SecretName, value: SecretValue) -> None:
        """See SecretBackend."""
        await self._existing("PUT", name, body=_manifest(name, value))

    async def delete(self, name: SecretName) -> None:
        """See SecretBackend."""
        await self._existing("DELETE", name)

    async def get(self, name: SecretName) -> SecretInfo:
        """See SecretBackend."""
        return _info(await self._existing("GET", name))

    async def list(self, scope: SecretScope) -> list[SecretInfo]:
        """See SecretBackend."""
        selector = ",".join(f"{key}={value}" for key, value in scope.labels().items())
        found: list[SecretInfo] = []
        try:
            query = {"labelSelector": selector}
            await self._api.pages(
                self._path, query, lambda item: found.append(_info(item)), accept=METADATA_LIST
            )
        except ClusterError as error:
            raise _failure(error) from None
        return sorted(found, key=lambda info: info.name)

    async def _existing(self, method: str, name: SecretName, body: Any = None) -> Any:
        path = f"/{name.kubernetes}"
        status, answer = await self._call(method, path, body=body, also=(NOT_FOUND,))
        if status == NOT_FOUND:
            raise SecretMissing
        return answer

    async def _call(
        self, method: str, path: str, *, body: Any = None, also: tuple[int, ...] = ()
    ) -> tuple[int, Any]:
        try:
            return await self._api.call(
                method, self._path + path, body=body, also=also, accept=METADATA
            )
        except ClusterError as error:
            raise _failure(error) from None


def _manifest(name: SecretName, value: SecretValue) -> dict[str, Any]:
    kind, key, sort = "Opaque", VALUE_KEY, GENERIC
    if value.image_pull:
        kind, key, sort = "kubernetes.io/dockerconfigjson", DOCKER_KEY, IMAGE_PULL
    labels = {**name.scope.labels(), NAME_LABEL: name.name, TYPE_LABEL: sort}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name.kubernetes, "labels": labels},
        "type": kind,
        "data": {key: base64.b64encode(value.data).decode("ascii")},
    }


def _info(value: Any) -> SecretInfo:
    try:
        meta = value["metadata"]
        created = datetime.fromisoformat(meta["creationTimestamp"]).timestamp()
        labels = meta["labels"]
        return SecretInfo(str(labels[NAME_LABEL]), labels[TYPE_LABEL] == IMAGE_PULL, created)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise SecretError("the cluster's API sent something that is no Secret") from None


def _failure(error: ClusterError) -> SecretError:
    status = error.status if isinstance(error, ClusterRefused) else 0
    if status in _REFUSALS:
        return SecretRefused(_REFUSALS[status])
    return SecretError(str(error))
