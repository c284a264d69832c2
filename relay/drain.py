"""Leaving in order: no new work, time for open exchanges, then an error that invites a retry."""

from __future__ import annotations

import trio

from relay.calls import Calls
from relay.connect_errors import ConnectCode, ConnectError
from relay.metrics import Reason
from relay.registry import Registry
from relay.settings import RelaySettings
from tunnel.errors import Code


class Drain:
    """Whether the relay is leaving, and how it does.

    Args:
        settings: `drain_s`, `close_s`.
    """

    def __init__(self, settings: RelaySettings) -> None:
        self._settings = settings
        self.started = trio.Event()

    def check(self) -> None:
        """Refuse new work while leaving.

        Raises:
            ConnectError: UNAVAILABLE.
        """
        if self.started.is_set():
            raise _leaving()

    async def run(self, registry: Registry, calls: Calls) -> None:
        """Tell the agents, wait for the open exchanges up to `drain_s`, end the rest."""
        self.started.set()
        for session in registry.sessions():
            session.goaway(Code.DRAINING)
        with trio.move_on_after(self._settings.drain_s):
            await calls.none_left()
            await registry.none_live()
        calls.stop_all(_leaving())
        with trio.move_on_after(self._settings.close_s):
            await calls.none_left()
        for session in registry.sessions():
            session.close(Code.DRAINING)
        with trio.move_on_after(self._settings.close_s):
            await registry.none_live()


def _leaving() -> ConnectError:
    text = "the relay is shutting down; try again"
    return ConnectError(ConnectCode.UNAVAILABLE, Reason.DRAINING, text)
