"""A small client of the Kubernetes API for task pods: typed arguments in, typed pods out."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import trio

from compute_agent.pods import Change, ClusterError, ClusterRefused, Pod, PodSpec, WatchExpired
from compute_agent.settings import ClusterLimits
from compute_agent.token import TokenFile, TokenUnreadable

ALL_PODS = "/api/v1/pods"
LIST_LIMIT = 500  # objects of one page, as kubectl asks for
CONFLICT, NOT_FOUND, GONE = 409, 404, 410


class Kubernetes:
    """The cluster behind an API server.

    Args:
        url: of the API server.
        token: bearer token, read again when its file changes; None sends none.
        context: TLS context for `https`.
        limits: bounds.
        transport: instead of the network, for tests.
    """

    def __init__(
        self,
        url: str,
        token: TokenFile | None,
        context: ssl.SSLContext | None,
        limits: ClusterLimits,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._token, self._limits = token, limits
        self._client = httpx.AsyncClient(
            base_url=url,
            timeout=limits.request_s,
            verify=context if context is not None else False,
            transport=transport,
            trust_env=False,
            follow_redirects=False,
        )

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def create(self, spec: PodSpec) -> bool:
        """See Cluster."""
        path = f"/api/v1/namespaces/{quote(spec.attempt.namespace)}/pods"
        status, _ = await self._call("POST", path, body=manifest(spec), also=(CONFLICT,))
        return status != CONFLICT

    async def get(self, namespace: str, name: str) -> Pod | None:
        """See Cluster."""
        status, value = await self._call("GET", _path(namespace, name), also=(NOT_FOUND,))
        return None if status == NOT_FOUND else Pod.from_json(value)

    async def delete(self, namespace: str, name: str) -> bool:
        """See Cluster."""
        status, _ = await self._call("DELETE", _path(namespace, name), also=(NOT_FOUND,))
        return status != NOT_FOUND

    async def list(self) -> tuple[list[Pod], str]:
        """See Cluster."""
        pods: list[Pod] = []
        page: dict[str, Any] = {"limit": LIST_LIMIT}
        while True:
            _, value = await self._call("GET", ALL_PODS, query=page)
            try:
                pods += [pod for item in value["items"] if (pod := Pod.from_json(item))]
                version = str(value["metadata"]["resourceVersion"])
                after = value["metadata"].get("continue")
            except (KeyError, TypeError, AttributeError):
                raise ClusterError("the cluster's API sent something that is no list") from None
            if not after:
                return pods, version
            page["continue"] = after

    async def watch(self, version: str, tell: Callable[[Change], None]) -> str:
        """See Cluster."""
        limits = self._limits
        query: dict[str, str | int] = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": limits.watch_s,
        }
        quiet_s = limits.watch_s + limits.request_s
        try:
            with trio.fail_after(quiet_s + limits.request_s):
                async with self._client.stream(
                    "GET", ALL_PODS, params=query, headers=self._headers(), timeout=quiet_s
                ) as response:
                    if response.status_code == GONE:
                        raise WatchExpired
                    if response.status_code != httpx.codes.OK:
                        raise ClusterRefused(response.status_code)
                    async for line in response.aiter_lines():
                        version = _event(line, version, tell)
        except (httpx.HTTPError, httpx.StreamError, trio.TooSlowError):
            raise ClusterError("the watch broke") from None
        return version

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
        also: tuple[int, ...] = (),
    ) -> tuple[int, Any]:
        try:
            with trio.fail_after(self._limits.request_s):
                response = await self._client.request(
                    method, path, params=query, json=body, headers=self._headers()
                )
            if not response.is_success and response.status_code not in also:
                raise ClusterRefused(response.status_code)
            return response.status_code, response.json()
        except (httpx.HTTPError, trio.TooSlowError):
            raise ClusterError("the cluster's API does not answer") from None
        except ValueError:
            raise ClusterError("the cluster's API sent something that is not JSON") from None

    def _headers(self) -> dict[str, str]:
        if self._token is None:
            return {}
        try:
            token = self._token.current().reveal()
        except TokenUnreadable:
            raise ClusterError("the token for the cluster's API cannot be read") from None
        return {"Authorization": "Bearer " + token.decode("ascii")}


def manifest(spec: PodSpec) -> dict[str, Any]:
    """Return the Pod object of a task."""
    attempt = spec.attempt
    container: dict[str, Any] = {"name": spec.container, "image": spec.image}
    if spec.command:
        container["command"] = list(spec.command)
    if spec.args:
        container["args"] = list(spec.args)
    if spec.env:
        container["env"] = [{"name": n, "value": v} for n, v in sorted(spec.env.items())]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": attempt.pod,
            "namespace": attempt.namespace,
            "labels": attempt.labels(),
        },
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }


def _path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(name)}"


def _event(line: str, version: str, tell: Callable[[Change], None]) -> str:
    """Handle one line of a watch and return the version that it brings us to."""
    if not line:
        return version
    try:
        event = json.loads(line)
        kind, value = event["type"], event["object"]
        if kind == "ERROR":
            raise WatchExpired if value.get("code") == GONE else ClusterRefused(value["code"])
        version = str(value["metadata"]["resourceVersion"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ClusterError("the cluster's API sent something that is no event") from None
    pod = Pod.from_json(value) if kind in ("ADDED", "MODIFIED", "DELETED") else None
    if pod is not None:
        tell(Change(pod, deleted=kind == "DELETED"))
    return version
