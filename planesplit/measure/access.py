"""Tells an agent in the lab who may do what, as a control plane does."""

from __future__ import annotations

import httpx
import trio

from planesplit.connect_client import ConnectClient, ConnectError
from planesplit.measure.lab import MeasureError
from planesplit.measure.subjects import SCOPE
from tunnel.capabilities import PUT_ACCESS
from tunnel.messages import planesplit_v1_pb2 as wire

DEMO = "demo"  # whose name everybody has without TLS
UP_S = 20.0
POLL_S = 0.05


async def push_access(control_port: int) -> None:
    """Tell an agent behind an insecure relay who may do what; it may still be on its way there.

    Raises:
        MeasureError: it did not take it in time.
    """
    binding = wire.Binding(subject=DEMO, role="Admin", org=SCOPE.org, project="*", domain="*")
    request = wire.AccessRequest(version=1, jwks='{"keys":[]}', bindings=[binding])
    url = f"http://127.0.0.1:{control_port}{SCOPE.prefix}{PUT_ACCESS}"
    async with httpx.AsyncClient(trust_env=False) as http:
        with trio.move_on_after(UP_S):
            while True:
                try:
                    await ConnectClient(http).unary(url, request, wire.AccessResponse)
                except ConnectError:
                    await trio.sleep(POLL_S)
                else:
                    return
    raise MeasureError("the agent did not take the roles in time")
