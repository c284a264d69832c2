"""Whether the proxy's account may read a pod's log: asked before any of it is read on the node."""

from __future__ import annotations

from urllib.parse import quote

import trio
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from kube.client import ClusterError, ClusterRefused, KubernetesApi

REFUSED = frozenset({401, 403})
FIRST_BYTE = {"limitBytes": 1}
HOLDS_S = 30.0  # an answer for a namespace; RBAC knows nothing finer here
MAX_NAMESPACES = 1_000


class LogAccess:
    """Asks the API by reading `pods/log`, as the proxy would without the node's files.

    Args:
        api: as the account that reads logs.
    """

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._allowed_at: dict[str, float] = {}

    async def check(self, namespace: str, pod: str) -> None:
        """Return if the log may be read.

        While the API is away, what it last said of the namespace holds.

        Raises:
            ConnectError: PERMISSION_DENIED; UNAVAILABLE, it never answered.
        """
        now = trio.current_time()
        if now - self._allowed_at.get(namespace, -HOLDS_S) < HOLDS_S:
            return
        try:
            path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/log"
            await self._api.read(path, FIRST_BYTE)
        except ClusterRefused as error:
            if error.status in REFUSED:
                self._allowed_at.pop(namespace, None)
                raise ConnectError(Code.PERMISSION_DENIED, str(error)) from None
        except ClusterError as error:
            if namespace not in self._allowed_at:
                raise ConnectError(Code.UNAVAILABLE, str(error)) from None
            return
        if len(self._allowed_at) >= MAX_NAMESPACES:
            self._allowed_at.clear()
        self._allowed_at[namespace] = now
