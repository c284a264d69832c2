"""Copies within the store that outlive the call that asked for them.

An assignment must be answered within seconds, a code bundle may take minutes: the call is answered
with an invitation to come again, and then finds the copy made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

import trio

from compute_agent.objects.keys import Place
from compute_agent.objects.signer import Identity
from compute_agent.objects.store import ObjectStore, StoreError

MAX_WAITING = 1000  # copies asked for and not begun; each is two names
WAIT_S = 4.0  # for one copy; an assignment is given up after 10 s


@dataclass(eq=False, slots=True)
class _Copy:
    source: Place
    target: Place
    ended: trio.Event = field(default_factory=trio.Event)
    found: bool = False
    error: StoreError | None = None


class Copies:
    """Copies objects as executor, each once at a time."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._send, self._receive = trio.open_memory_channel[_Copy](MAX_WAITING)
        self._under_way: dict[Place, _Copy] = {}

    async def run(self) -> NoReturn:
        """Copy until cancelled; the store bounds how many at once."""
        async with trio.open_nursery() as nursery:
            async for copy in self._receive:
                nursery.start_soon(self._make, copy)
        raise AssertionError("the channel is never closed")

    async def copied(self, source: Place, target: Place) -> bool:
        """Make sure that a copy is there; False if there is nothing to copy.

        Raises:
            StoreError: also while it is still being made.
        """
        copy = self._under_way.get(target)
        if copy is None:
            copy = _Copy(source, target)
            try:
                self._send.send_nowait(copy)
            except trio.WouldBlock:
                raise StoreError("too many code bundles are being staged") from None
            self._under_way[target] = copy
        with trio.move_on_after(WAIT_S):
            await copy.ended.wait()
            if copy.error is not None:
                raise copy.error
            return copy.found
        raise StoreError("the code bundle is still being staged")

    async def _make(self, copy: _Copy) -> None:
        try:
            copy.found = await self._store.copy(Identity.EXECUTOR, copy.source, copy.target)
        except StoreError as error:
            copy.error = error
        finally:
            del self._under_way[copy.target]
            copy.ended.set()
