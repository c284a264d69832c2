"""Keeps one tunnel to the relay: dials, authenticates, refreshes, hands over, dials again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from compute_agent.dial import DialFailed
from compute_agent.reconnect import REFUSALS, Backoff
from compute_agent.settings import AgentSettings
from tunnel.errors import Code, TunnelError
from tunnel.first import first_of
from tunnel.hello import Hello
from tunnel.journal import Journal
from tunnel.payload import Payload
from tunnel.session import Handler, Session
from tunnel.token import TokenSource, TokenUnreadable
from tunnel.transport import Transport

Dial = Callable[[], Awaitable[Transport]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a tunnel stands on.

    Args:
        dial: connects to the relay; raises a TunnelError when it cannot.
        token: the tunnel's token.
        now_s: wall clock, seconds since the epoch.
        random: returns a number in [0, 1).
        server_id: names this start of the agent.
        journal: told what happens.
    """

    dial: Dial
    token: TokenSource
    now_s: Callable[[], float]
    random: Callable[[], float]
    server_id: str
    journal: Journal


@dataclass(eq=False, slots=True)
class _Tunnel:
    """One dial and what came of it.

    Args:
        before: the tunnel that it relieves, if that is still up.
        epoch: rises with every dial.
        certificate: state of the certificate's file when it was dialed.
        token: what it presented last.
        outdated: the certificate has changed since.
        over: it ended, or takes no new streams.
        relieved: its successor reports from now on; `quiet` when it does so no more.
    """

    before: _Tunnel | None
    epoch: int
    certificate: tuple[int, int]
    session: Session | None = None
    token: bytes = b""
    code: Code = Code.NO_ERROR
    up: trio.Event = field(default_factory=trio.Event)
    outdated: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)
    ended: trio.Event = field(default_factory=trio.Event)
    relieved: trio.Event = field(default_factory=trio.Event)
    quiet: trio.Event = field(default_factory=trio.Event)

    @property
    def opened(self) -> bool:
        """Whether it was up."""
        return self.up.is_set()


class TunnelKeeper:
    """Keeps one tunnel.

    Args:
        settings: whose tunnel, where to, and limits.
        surroundings: see there.
        answer: serves what the relay opens.
        report: runs beside an open tunnel until cancelled.
        calls_over: returns when no call is under way that cannot be resumed elsewhere.
    """

    def __init__(
        self,
        settings: AgentSettings,
        surroundings: Surroundings,
        *,
        answer: Handler,
        report: Callable[[Session], Awaitable[None]],
        calls_over: Callable[[], Awaitable[None]],
    ) -> None:
        self._settings, self._around, self._journal = settings, surroundings, surroundings.journal
        self._answer, self._report, self._calls_over = answer, report, calls_over
        self._backoff = Backoff(
            settings.backoff, random=surroundings.random, now_s=trio.current_time
        )
        self._stopping, self._token_changed = trio.Event(), trio.Event()
        self._tunnel: _Tunnel | None = None

    def stop(self) -> None:
        """Finish; `run` returns when calls under way have had `drain_s`."""
        self._stopping.set()

    async def run(self) -> Code:
        """Run until stopped or replaced.

        Returns:
            NO_ERROR after `stop`, REPLACED when a newer agent took this one's place.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_files)
            code = await self._keep(nursery)
            nursery.cancel_scope.cancel()
        return code

    async def _keep(self, nursery: trio.Nursery) -> Code:
        tunnel = self._start(nursery)
        while True:
            await first_of(self._stopping.wait, tunnel.over.wait, tunnel.outdated.wait)
            if self._stopping.is_set():
                await self._drain(tunnel)
                return Code.NO_ERROR
            if tunnel.code is Code.REPLACED:
                self._journal.event("replaced", slot=self._settings.slot)
                return Code.REPLACED
            if tunnel.over.is_set():
                await self._pause(tunnel)
                tunnel = self._start(nursery)
            else:
                tunnel = await self._hand_over(nursery, tunnel)

    def _start(self, nursery: trio.Nursery, before: _Tunnel | None = None) -> _Tunnel:
        epoch = int(self._around.now_s() * 1000)
        tunnel = self._tunnel = _Tunnel(before, epoch, self._certificate())
        nursery.start_soon(self._run_tunnel, tunnel)
        return tunnel

    async def _pause(self, tunnel: _Tunnel) -> None:
        if tunnel.opened:
            self._backoff.lost()
        wakers = [self._stopping.wait]
        if tunnel.code in REFUSALS:
            wakers.append(self._token_changed.wait)
        with trio.move_on_after(self._backoff.delay_s(tunnel.code)):
            await first_of(*wakers)

    async def _hand_over(self, nursery: trio.Nursery, tunnel: _Tunnel) -> _Tunnel:
        """Open another tunnel beside an open one, which drains then; return that which is up."""
        successor = self._start(nursery, before=tunnel)
        await first_of(self._stopping.wait, successor.up.wait, successor.over.wait)
        if successor.opened:
            nursery.start_soon(self._drain, tunnel)
            return successor
        self._tunnel = tunnel
        with trio.move_on_after(self._backoff.delay_s(successor.code)):
            await first_of(self._stopping.wait, tunnel.over.wait, self._token_changed.wait)
        return tunnel

    async def _run_tunnel(self, tunnel: _Tunnel) -> None:
        try:
            token = self._around.token.current()
            tunnel.token, self._token_changed = token.reveal(), trio.Event()
            tunnel.session = session = self._session(tunnel, await self._around.dial(), token)
        except (TunnelError, TokenUnreadable) as error:
            tunnel.code = error.code if isinstance(error, TunnelError) else Code.AUTH_REFUSED
            step = error.step if isinstance(error, DialFailed) else type(error).__name__
            self._journal.event("dial_failed", code=tunnel.code.name, step=step)
        else:
            async with trio.open_nursery() as nursery:
                opened = _Opened(self, tunnel, nursery)
                closed = await session.serve(self._answer, task_status=opened)
                nursery.cancel_scope.cancel()
            name = "tunnel_lost" if tunnel.opened else "tunnel_failed"
            self._journal.event(name, code=closed.code.name, by_peer=closed.by_peer)
            tunnel.code = closed.code
        tunnel.before = None
        tunnel.ended.set()
        tunnel.over.set()

    def _session(self, tunnel: _Tunnel, transport: Transport, token: Payload) -> Session:
        settings = self._settings
        hello = Hello(
            org=settings.org,
            cluster=settings.cluster,
            server_id=self._around.server_id,
            slot=settings.slot,
            epoch=tunnel.epoch,
            relieves=tunnel.before.epoch if tunnel.before else 0,
        )
        return Session(transport, hello=hello, settings=settings.tunnel, token=token)

    def opened(self, session: Session, tunnel: _Tunnel, nursery: trio.Nursery) -> None:
        """A tunnel is up."""
        tunnel.up.set()
        self._backoff.opened()
        nursery.start_soon(self._while_open, session, tunnel)

    async def _while_open(self, session: Session, tunnel: _Tunnel) -> None:
        """Report over an open tunnel, and notice when it starts to drain."""
        self._journal.event("tunnel_open", relay=session.peer.server_id)
        if tunnel.before is not None and tunnel.before.session is not None:
            tunnel.before.relieved.set()
            await first_of(tunnel.before.quiet.wait, tunnel.before.ended.wait)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._report, session)
                await first_of(session.goaway_received.wait, tunnel.relieved.wait)
                nursery.cancel_scope.cancel()
        finally:
            tunnel.quiet.set()
        if session.goaway_received.is_set():
            self._journal.event("tunnel_draining", code=session.goaway_code.name)
            if session.goaway_code is Code.DRAINING:
                tunnel.over.set()

    async def _drain(self, tunnel: _Tunnel) -> None:
        """Take no new calls, let those under way finish; tails are resumed by the relay."""
        session = tunnel.session
        if session is None:
            return
        session.goaway(Code.DRAINING)
        with trio.move_on_after(self._settings.drain_s):
            await self._calls_over()
        session.close(Code.DRAINING)
        await tunnel.ended.wait()

    async def _watch_files(self) -> None:
        """Look for another token and another certificate, in that order of their being written.

        A token belongs to one certificate: with another certificate there is another tunnel, with
        another token alone it is presented in-band, or lets a refused dial try again.
        """
        while True:
            await trio.sleep(self._settings.token_poll_s)
            token, tunnel = self._current_token(), self._tunnel
            if tunnel is None or token is None:
                continue
            changed = token.view != tunnel.token
            if changed:
                self._token_changed.set()
            if not tunnel.opened or tunnel.session is None or tunnel.ended.is_set():
                continue
            if self._certificate() != tunnel.certificate:
                if not tunnel.outdated.is_set():
                    self._journal.event("certificate_rotated")
                tunnel.outdated.set()
            elif changed:
                self._journal.event("token_rotated")
                tunnel.session.reauthenticate(token)
                tunnel.token = token.reveal()

    def _certificate(self) -> tuple[int, int]:
        """Return what changes with the certificate's file; zeros without one."""
        tls = self._settings.tls
        try:
            state = Path(tls.cert_file).stat() if tls and tls.cert_file else None
        except OSError:
            state = None  # being replaced
        return (state.st_ino, state.st_mtime_ns) if state else (0, 0)

    def _current_token(self) -> Payload | None:
        try:
            return self._around.token.current()
        except TokenUnreadable:
            return None  # being replaced; the next dial says so if it stays away


class _Opened(trio.TaskStatus[Session]):
    """The session's task status: `started` is the moment a tunnel is up."""

    def __init__(self, keeper: TunnelKeeper, tunnel: _Tunnel, nursery: trio.Nursery) -> None:
        self._keeper, self._tunnel, self._nursery = keeper, tunnel, nursery

    def started(self, value: Session | None = None) -> None:
        """Called by the session, once."""
        assert value is not None
        self._keeper.opened(value, self._tunnel, self._nursery)
