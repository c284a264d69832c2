"""Wakes whoever watches something when it changes."""

from __future__ import annotations

from collections.abc import Hashable
from weakref import WeakValueDictionary

import trio


class Notices:
    """One event for each watched key, forgotten when nobody holds it any more.

    Take the event *before* reading the state that it is about, or a change in between is missed.
    """

    def __init__(self) -> None:
        self._events: WeakValueDictionary[Hashable, trio.Event] = WeakValueDictionary()

    def event(self, key: Hashable) -> trio.Event:
        """Return the event that the next `touch` of the key sets."""
        event = self._events.get(key)
        if event is None:
            event = self._events[key] = trio.Event()
        return event

    def touch(self, key: Hashable) -> None:
        """Wake those who wait for the key."""
        event = self._events.pop(key, None)
        if event is not None:
            event.set()
