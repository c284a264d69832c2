"""Calls to the Kubernetes API: JSON in, JSON out, every wait bounded. Errors carry no content."""

from __future__ import annotations

import copy
import json
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import trio

from kube.settings import ClientLimits
from tunnel.token import TokenFile, TokenUnreadable

LIST_LIMIT = 500  # objects of one page, as kubectl asks for
GONE = 410
# Watches of events hold connections, and must not keep other calls waiting; they are bounded by
# `events.max_watches`.
POOL = httpx.Limits(max_connections=None, max_keepalive_connections=20)
JSON = "application/json"

Json = dict[str, Any]
Tell = Callable[[str, Json], None]


class ClusterError(Exception):
    """The cluster's API cannot be reached or does not answer as it should; worth a retry."""


class ClusterRefused(ClusterError):
    """The API refuses the request; `status` is its HTTP status."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"the cluster's API answered {status}")


class WatchExpired(ClusterError):
    """The version to watch from is too old (410): list again."""


class KubernetesApi:
    """One identity at one API server.

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
        limits: ClientLimits,
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
            limits=POOL,
        )

    def with_token(self, token: TokenFile) -> KubernetesApi:
        """Return the same API for another identity, over the same connections."""
        other = copy.copy(self)
        other._token = token
        return other

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Json | None = None,
        also: tuple[int, ...] = (),
        accept: str = JSON,
    ) -> tuple[int, Any]:
        """Make one call and return status and answer.

        Args:
            also: statuses that are no error.
            accept: media type of the answer.

        Raises:
            ClusterRefused: any other status that says no.
            ClusterError: no answer, or one that is no JSON.
        """
        try:
            with trio.fail_after(self._limits.request_s):
                response = await self._client.request(
                    method, path, params=query, json=body, headers=self._headers(accept)
                )
            if not response.is_success and response.status_code not in also:
                raise ClusterRefused(response.status_code)
            return response.status_code, response.json()
        except (httpx.HTTPError, trio.TooSlowError):
            raise ClusterError("the cluster's API does not answer") from None
        except ValueError:
            raise ClusterError("the cluster's API sent something that is not JSON") from None

    async def read(self, path: str, query: Mapping[str, Any]) -> bytes:
        """Return an answer that is no object, such as a log.

        Raises:
            ClusterRefused, ClusterError: see `call`.
        """
        try:
            with trio.fail_after(self._limits.request_s):
                answer = await self._client.get(path, params=query, headers=self._headers("*/*"))
        except (httpx.HTTPError, trio.TooSlowError):
            raise ClusterError("the cluster's API does not answer") from None
        if not answer.is_success:
            raise ClusterRefused(answer.status_code)
        return answer.content

    async def pages(
        self,
        path: str,
        query: Mapping[str, Any],
        tell: Callable[[Json], None],
        accept: str = JSON,
    ) -> str:
        """Tell every object of a list, page by page; return the version to watch from.

        Raises:
            ClusterError: see `call`; also for an answer that is no list.
        """
        asked = {"limit": LIST_LIMIT, **query}
        while True:
            _, value = await self.call("GET", path, query=asked, accept=accept)
            try:
                for item in value["items"]:
                    tell(item)
                version = str(value["metadata"]["resourceVersion"])
                after = value["metadata"].get("continue")
            except (KeyError, TypeError, AttributeError):
                raise ClusterError("the cluster's API sent something that is no list") from None
            if not after:
                return version
            asked["continue"] = after

    async def watch(self, path: str, query: Mapping[str, Any], version: str, tell: Tell) -> str:
        """Tell type and object of every change after `version` until the API ends the watch.

        Bookmarks are not told.

        Returns:
            The last version, bookmarks counted.

        Raises:
            WatchExpired: list again.
            ClusterError: see `call`.
        """
        limits = self._limits
        asked = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": limits.watch_s,
            **query,
        }
        quiet_s = limits.watch_s + limits.request_s
        try:
            with trio.fail_after(quiet_s + limits.request_s):
                async with self._client.stream(
                    "GET", path, params=asked, headers=self._headers(), timeout=quiet_s
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

    def _headers(self, accept: str = JSON) -> dict[str, str]:
        if self._token is None:
            return {"Accept": accept}
        try:
            token = self._token.current().reveal()
        except TokenUnreadable:
            raise ClusterError("the token for the cluster's API cannot be read") from None
        return {"Accept": accept, "Authorization": "Bearer " + token.decode("ascii")}


def _event(line: str, version: str, tell: Tell) -> str:
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
    if kind in ("ADDED", "MODIFIED", "DELETED"):
        tell(kind, value)
    return version
