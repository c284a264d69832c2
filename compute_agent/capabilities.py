"""What the agent serves: a closed list of calls, inside its own org and cluster only."""

from __future__ import annotations

from collections.abc import Callable

from flyteidl2.dataproxy import dataproxy_service_pb2

from compute_agent.asgi_host import serve
from compute_agent.executor import ExecutorService
from compute_agent.log_service import LogService
from tunnel.capabilities import CAPABILITIES
from tunnel.errors import Code
from tunnel.messages import planesplit_v1_pb2
from tunnel.messages.rpc import connect_app
from tunnel.stream import Stream

LOGS = dataproxy_service_pb2.DESCRIPTOR.services_by_name["DataProxyService"]
EXECUTOR = planesplit_v1_pb2.DESCRIPTOR.services_by_name["ExecutorService"]


class Capabilities:
    """Answers the exchanges that come through the tunnel.

    Args:
        org, cluster: the agent's own; an exchange of any other scope is refused.
        logs, executor: the services behind.
        request_max_bytes: largest request message.
        on_error: told the path and the exception type's name when a service fails.
    """

    def __init__(
        self,
        org: str,
        cluster: str,
        logs: LogService,
        executor: ExecutorService,
        *,
        request_max_bytes: int,
        on_error: Callable[[str, str], None],
    ) -> None:
        self._own = org, cluster
        self._on_error = on_error
        self._app = connect_app(
            (LOGS, logs),
            (EXECUTOR, executor),
            read_max_bytes=request_max_bytes,
            on_error=lambda path, error: on_error(path, type(error).__name__),
        )

    async def serve(self, stream: Stream) -> None:
        """Answer one exchange; never raises for what a caller or a service does."""
        head = stream.request
        capability = CAPABILITIES.get(head.path)
        own = (head.scope.org, head.scope.cluster) == self._own
        if capability is None or capability.opened_by == "agent" or not own:
            stream.reset(Code.REFUSED)
            return
        try:
            await serve(self._app, stream)
        except Exception as error:
            self._on_error(head.path, type(error).__name__)
