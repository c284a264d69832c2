"""The private listener: the control plane pushes policy, asks for tunnels, and has exchanges."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import trio

from relay.calls import Call
from relay.connect_errors import ConnectCode, ConnectError, streaming_type
from relay.core import Core
from relay.coupling import Coupler
from relay.downlink import answer_error
from relay.exchanges import Exchange, Exchanges
from relay.http1 import Http1
from relay.http_head import Request
from relay.metrics import Reason
from relay.policy import Policy, PolicyError
from relay.serving import Rest
from relay.units import Units
from relay.viewer import check_cluster, crossing, current, route
from tunnel.errors import Code, TunnelError
from tunnel.events import End
from tunnel.exchange import (
    PROOF_HEADER,
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    RequestHead,
    ResponseHead,
)

T = TypeVar("T")
SUBJECT = "control"


class ControlSide:
    """Answers the control plane's requests.

    Args:
        core: the relay's.
        exchanges: where agent-opened exchanges wait.
        coupler: runs what is admitted.
    """

    def __init__(self, core: Core, exchanges: Exchanges, coupler: Coupler) -> None:
        self._core, self._exchanges, self._coupler = core, exchanges, coupler
        self._told_at = -math.inf

    async def handle(self, http: Http1, request: Request) -> Rest | None:
        """Answer one request."""
        try:
            return await self._route(http, request)
        except ConnectError as error:
            self._core.metrics.reject(error.reason)
            await answer_error(http, streaming_type(request.get("content-type")), error)
        return None

    async def _route(self, http: Http1, request: Request) -> Rest | None:
        path = urlsplit(request.target).path
        match request.method, path.split("/")[1:]:
            case _, ["r", *_]:
                return await self._coupler.run(self._admit(http, request))
            case "PUT", ["v1", "policy"]:
                await self._put_policy(http)
            case "GET", ["v1", "tunnels"]:
                await self._get_tunnels(http, request)
            case "GET", ["v1", "exchanges", "next"]:
                await self._get_exchange(http, request)
            case "POST", ["v1", "exchanges", name]:
                await self._answer_exchange(http, request, name)
            case _:
                text = "there is no such resource on the control listener"
                raise ConnectError(ConnectCode.NOT_FOUND, Reason.NOT_FOUND, text)
        return None

    def _admit(self, http: Http1, request: Request) -> Call:
        self._core.drain.check()
        scope, capability = route(request, self._core.capabilities, "control")
        check_cluster(current(self._core.policy), scope)
        headers, proof = crossing(request, REQUEST_HEADERS), request.get(PROOF_HEADER)
        try:
            head = RequestHead("POST", capability.path, scope, SUBJECT, headers, proof)
        except ValueError:
            raise _invalid(f"{PROOF_HEADER} is no token") from None
        streaming = streaming_type(request.get("content-type"))
        return Call(http, streaming, head, capability, lambda: True)

    async def _put_policy(self, http: Http1) -> None:
        body = await http.whole_body(self._core.settings.max_policy_bytes)
        try:
            policy = Policy.from_json(body)
        except PolicyError as error:
            raise _invalid(str(error)) from None
        self._core.policy.set(policy)
        await http.answer(204)

    async def _get_tunnels(self, http: Http1, request: Request) -> None:
        since, wait_s = _number(request, "since"), self._wait_s(request)
        await self._while_there(http, wait_s, lambda: self._news(int(since)))
        self._told_at = trio.current_time()
        answer = {
            "boot": self._core.boot_id,
            "version": self._core.registry.version,
            "tunnels": self._core.registry.snapshot(),
        }
        await http.answer(200, (("content-type", "application/json"),), json.dumps(answer).encode())

    async def _news(self, since: int) -> None:
        """Wait for a change; those that follow closely are told with it."""
        await self._core.registry.news(since)
        await trio.sleep_until(self._told_at + self._core.settings.news_pause_s)

    async def _get_exchange(self, http: Http1, request: Request) -> None:
        wait_s = self._wait_s(request)
        exchange = await self._while_there(http, wait_s, self._exchanges.next)
        if exchange is None:
            await http.answer(204)
            return
        delivered = False
        try:
            delivered = await self._deliver(http, exchange)
        except TunnelError:
            pass  # the agent gave up meanwhile; what was begun is cut off
        finally:
            if not delivered:
                exchange.stream.reset(Code.NOT_READY)

    async def _deliver(self, http: Http1, exchange: Exchange) -> bool:
        """Hand an agent's request over; returns whether it was complete."""
        stream, asked = exchange.stream, exchange.stream.request
        head = (
            200,
            (
                *asked.headers,
                ("planesplit-exchange", exchange.id),
                ("planesplit-org", exchange.identity.org),
                ("planesplit-cluster", exchange.identity.cluster),
                ("planesplit-path", asked.path),
            ),
        )
        limits = self._core.settings
        units = Units(
            hold=False, max_unit_bytes=limits.max_unit_bytes, batch_bytes=limits.batch_bytes
        )
        while True:
            await stream.ready()
            for batch in units.feed(stream.take()):
                last = isinstance(batch.outcome, End)
                first = None if http.started else head
                await http.write(batch.parts, batch.size, head=first, last=last)
                self._core.metrics.carried(exchange.row, "up", batch.size)
                stream.release(batch.size)
                if batch.outcome is not None:
                    return last

    async def _answer_exchange(self, http: Http1, request: Request, name: str) -> None:
        status = int(_number(request, "planesplit-status", 200))
        if not 200 <= status <= 599:
            raise _invalid("planesplit-status is no HTTP status")
        head = ResponseHead(status, crossing(request, RESPONSE_HEADERS))
        exchange = self._exchanges.claim(name)
        if exchange is None:
            text = "the exchange is over, answered, or was never there"
            raise ConnectError(ConnectCode.NOT_FOUND, Reason.NOT_FOUND, text)
        stream = exchange.stream
        try:
            stream.head(head)
            while piece := await http.body():
                await stream.send(piece)
                self._core.metrics.carried(exchange.row, "down", len(piece))
            stream.end()
        except TunnelError:
            text = "the agent has left the exchange"
            raise ConnectError(ConnectCode.ABORTED, Reason.TUNNEL_LOST, text) from None
        except BaseException:
            stream.reset(Code.INTERNAL)
            raise
        exchange.answered.set()
        await http.answer(204)

    async def _while_there(
        self, http: Http1, wait_s: float, work: Callable[[], Awaitable[T]]
    ) -> T | None:
        """Run `work` for up to `wait_s`, or until the caller or the relay leaves: then None."""
        result: T | None = None
        with trio.move_on_after(wait_s):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_cancel_after, http.gone, nursery.cancel_scope)
                nursery.start_soon(
                    _cancel_after, self._core.drain.started.wait, nursery.cancel_scope
                )
                result = await work()
                nursery.cancel_scope.cancel()
        return result

    def _wait_s(self, request: Request) -> float:
        return min(_number(request, "wait_s"), self._core.settings.poll_s)


async def _cancel_after(wait: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
    await wait()
    scope.cancel()


def _number(request: Request, name: str, default: float = 0.0) -> float:
    """Read a non-negative number from the query, or a header of that name."""
    query = parse_qs(urlsplit(request.target).query, max_num_fields=8)
    text = query.get(name, [request.get(name, str(default))])[0]
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 2**53:
        raise _invalid(f"'{name}' must be a number that is not negative")
    return value


def _invalid(message: str) -> ConnectError:
    return ConnectError(ConnectCode.INVALID_ARGUMENT, Reason.MALFORMED, message)
