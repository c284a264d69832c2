"""A connection's requests, one after the other, and the answer that rests between two of its parts.

A quiet answer waits here, in few frames: each layer below would cost it 0.3 KiB (measured).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from relay.http1 import GONE, Http1, Stalled
from relay.http_head import BadRequest, Request
from relay.metrics import Metrics
from relay.settings import RelaySettings
from tunnel.exchange import Headers


class Rest(Protocol):
    """An answer that is not over, though nothing has to be done for it now."""

    def ready(self) -> Awaitable[None]:
        """Wait until there is something to do."""
        ...

    def go_on(self) -> Awaitable[Rest | None]:
        """Do it; returns what goes on, if the answer rests again."""
        ...

    def let_go(self) -> None:
        """End it."""
        ...


Handler = Callable[[Http1, Request], Awaitable[Rest | None]]
Report = Callable[[Exception], None]


async def serve(
    stream: trio.abc.Stream,
    settings: RelaySettings,
    metrics: Metrics,
    handler: Handler,
    *,
    common: Headers = (),
    report: Report | None = None,
) -> None:
    """Answer requests on a connection until either side closes it. Never raises for a peer's fault.

    Args:
        stream: closed at the end.
        settings, metrics: the relay's.
        handler: answers one request; one that leaves the answer unfinished has the connection cut.
        common: headers on every answer.
        report: told of a fault of our own, which is raised otherwise.
    """
    http = Http1(stream, settings, common)
    wait_s = settings.handshake_s
    try:
        while not http.close:
            rest = await _answer_next(http, metrics, handler, wait_s)
            while rest is not None:
                try:
                    await rest.ready()
                except BaseException:
                    rest.let_go()
                    raise
                rest = await rest.go_on()
            if not http.finished:
                return
            wait_s = settings.idle_s
        await http.hang_up()
    except (*GONE, Stalled):
        pass
    except Exception as error:
        if report is None:
            raise
        report(error)
    finally:
        http.forget()
        await trio.aclose_forcefully(stream)


async def _answer_next(
    http: Http1, metrics: Metrics, handler: Handler, wait_s: float
) -> Rest | None:
    """Wait for the next request and answer it; returns what goes on with an answer that rests."""
    try:
        request = await http.next_request(wait_s)
        if request is None:
            http.finished = False
            return None
        handling = handler(http, request)
        del request  # the handler alone says how long it is kept
        return await handling
    except BadRequest as error:
        metrics.reject(error.reason)
        if not http.started:
            await http.refuse(error)
    return None
