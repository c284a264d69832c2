"""A relay's private listener, for tests of the control plane."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio

from tunnel.capabilities import PUT_ACCESS
from tunnel.messages.planesplit_v1_pb2 import AccessRequest, AccessResponse

Agent = Callable[[str, bytes], Awaitable[tuple[int, bytes]]]


async def willing_agent(path: str, body: bytes) -> tuple[int, bytes]:
    """Acknowledge everything."""
    return 200, b""


class FakeRelay:
    """The private listener of a relay, as an ASGI application; and what it was told.

    One agent is connected, acme's c1, until `set_tunnels` says otherwise.

    Args:
        agent: answers what is sent to a cluster: (path with scope, body) -> (status, body).
    """

    def __init__(self, agent: Agent = willing_agent) -> None:
        self.agent = agent
        self.away = False
        self.boots = 1
        self.policies: list[dict[str, Any]] = []
        self.calls: list[tuple[str, bytes]] = []
        self.accesses: list[tuple[tuple[str, str], AccessRequest]] = []
        self.access_status = 200
        self._version, self._tunnels = 1, list[dict[str, Any]]()
        self._changed = trio.Event()
        self.set_tunnels(("acme", "c1", "ONLINE"))
        self._put, self._get = trio.open_memory_channel[tuple[str, dict[str, str], bytes]](100)
        self._answers: dict[str, Any] = {}
        self._requests: set[trio.CancelScope] = set()

    def restart(self) -> None:
        """Come back as another process: connections break, nothing is known."""
        self.boots += 1
        self._version, self._tunnels = 1, []
        for scope in self._requests:
            scope.cancel()

    def leave(self) -> None:
        """Break every connection and accept none."""
        self.away = True
        for scope in self._requests:
            scope.cancel()

    def set_tunnels(self, *tunnels: tuple[str, str, str]) -> None:
        """Say which tunnels there are: (org, cluster, state)."""
        self._tunnels = [
            {
                "org": o,
                "cluster": c,
                "slot": 0,
                "state": s,
                "server_id": "agent-1",
                "since_s": trio.current_time(),
                "rtt_ms": 1,
            }
            for o, c, s in tunnels
        ]
        self._version += 1
        self._changed.set()
        self._changed = trio.Event()

    async def exchange(
        self, org: str, cluster: str, path: str, body: bytes
    ) -> tuple[dict[str, str], bytes]:
        """Open an exchange as a cluster's agent; return the answer's headers and body."""
        name = f"x{len(self._answers)}"
        answered = self._answers[name] = trio.Event()
        headers = {"planesplit-exchange": name, "planesplit-org": org}
        headers |= {"planesplit-cluster": cluster, "planesplit-path": path}
        headers |= {"content-type": "application/proto"}
        await self._put.send((name, headers, body))
        with trio.fail_after(60):
            await answered.wait()
        result: tuple[dict[str, str], bytes] = self._answers[name]
        return result

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request of the control plane."""
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        status, headers, answer = await self._route(scope, body)
        headers = {"planesplit-relay": f"boot-{self.boots}", **headers}
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": answer})

    async def _route(self, scope: Any, body: bytes) -> tuple[int, dict[str, str], bytes]:
        query = httpx.QueryParams(scope["query_string"].decode())
        match scope["method"], scope["path"].split("/")[1:]:
            case "PUT", ["v1", "policy"]:
                self.policies.append(json.loads(body))
                return 204, {}, b""
            case "GET", ["v1", "tunnels"]:
                return await self._poll_tunnels(int(query["since"]), float(query["wait_s"]))
            case "GET", ["v1", "exchanges", "next"]:
                with trio.move_on_after(float(query["wait_s"])):
                    _, headers, request = await self._get.receive()
                    return 200, headers, request
                return 204, {}, b""
            case "POST", ["v1", "exchanges", name]:
                answered = self._answers[name]
                headers = {key.decode(): value.decode() for key, value in scope["headers"]}
                self._answers[name] = (headers, body)
                answered.set()
                return 204, {}, b""
            case "POST", ["r", org, _, _, cluster, *_] if scope["path"].endswith(PUT_ACCESS):
                pushed = AccessRequest.FromString(body)
                self.accesses.append(((org, cluster), pushed))
                answer = AccessResponse(version=pushed.version).SerializeToString()
                return self.access_status, {"content-type": "application/proto"}, answer
            case "POST", ["r", *_]:
                self.calls.append((scope["path"], body))
                status, answer = await self.agent(scope["path"], body)
                return status, {"content-type": "application/proto"}, answer
        return 404, {}, b""

    async def _poll_tunnels(self, since: int, wait_s: float) -> tuple[int, dict[str, str], bytes]:
        if since >= self._version:
            with trio.move_on_after(wait_s):
                await self._changed.wait()
        answer = {"boot": "b", "version": self._version, "tunnels": self._tunnels}
        return 200, {"content-type": "application/json"}, json.dumps(answer).encode()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        """Be one connection's request, which breaks when the relay does."""
        with trio.CancelScope() as scope:
            self._requests.add(scope)
            try:
                yield
            finally:
                self._requests.discard(scope)
        if scope.cancelled_caught:
            raise httpx.ReadError("the relay has gone")


class RelayTransport(httpx.AsyncBaseTransport):
    """The way to a fake relay in the same process."""

    def __init__(self, relay: FakeRelay) -> None:
        self._relay = relay
        self._inner = httpx.ASGITransport(app=relay)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Hand one request over, unless the relay is away."""
        await trio.lowlevel.checkpoint()
        if self._relay.away:
            raise httpx.ConnectError("refused")
        async with self._relay.connection():
            return await self._inner.handle_async_request(request)
        raise AssertionError
