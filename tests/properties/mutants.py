"""Planted defects: each breaks what one invariant says. The checker does not know of them."""

from __future__ import annotations

import base64
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any
from unittest.mock import patch
from weakref import WeakKeyDictionary

import trio
from service import Agent

from relay import coupling, downlink, registry, resume, units, viewer
from tunnel.capabilities import CAPABILITIES, CREATE_SECRET, Capability
from tunnel.events import Data, End, Mark, Reset
from tunnel.stream import Stream

Patched = tuple[object, str, Callable[[Any], Any]]


@dataclass(frozen=True)
class Mutant:
    """One defect.

    Args:
        breaks: the invariant that finds it.
        patches: (owner, name, what makes the mutant of the honest function).
        capabilities: RPCs that are declared otherwise.
    """

    breaks: str
    patches: tuple[Patched, ...] = ()
    capabilities: dict[str, Capability] = field(default_factory=dict)

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have it in the product for a while."""
        with ExitStack() as stack:
            if self.capabilities:
                stack.enter_context(patch.dict(CAPABILITIES, self.capabilities))
            for owner, name, mutate in self.patches:
                stack.enter_context(patch.object(owner, name, mutate(getattr(owner, name))))
            yield


def _before(does: Callable[..., None]) -> Callable[[Any], Any]:
    """Make a mutant that does something more, before what is honest."""

    def mutate(honest: Any) -> Any:
        @wraps(honest)
        def mutant(*arguments: Any, **options: Any) -> Any:
            does(*arguments)
            return honest(*arguments, **options)

        return mutant

    return mutate


def _instead(does: Callable[..., Any]) -> Callable[[Any], Any]:
    """Make a mutant that is given the honest function first."""

    def mutate(honest: Any) -> Any:
        @wraps(honest)
        def mutant(*arguments: Any, **options: Any) -> Any:
            return does(honest, *arguments, **options)

        return mutant

    return mutate


def _write_a_file(_downlink: Any, _stream: Any, batch: Any) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"".join(batch.parts))


def _log(_units: Any, view: memoryview, _batch: Any) -> None:
    logging.getLogger("relay").debug("%r", bytes(view))


def _print(_units: Any, view: memoryview, _batch: Any) -> None:
    print(base64.b64encode(view).decode())


def _label(self: Any, _stream: Any, batch: Any) -> None:
    text = b"".join(batch.parts).decode("latin-1")
    self._metrics.gauge("relay_latest", text.replace("\n", " "), lambda: 1.0)


def _anybody(honest: Any, self: Any, org: str, cluster: str) -> Any:
    return honest(self, org, cluster) or self.sessions()


def _forward_at_once(honest: Any, self: Any, view: memoryview, batch: Any) -> None:
    honest(self, view, batch)
    self._complete(batch)


def _cursor(change: int) -> Callable[..., None]:
    def take(honest: Any, self: Any, event: Any, batch: Any) -> None:
        honest(self, event, batch)
        if isinstance(event, Mark):
            self.cursor = b"%d" % max(int(event.cursor) + change, 0)

    return take


def _next_one_first(honest: Any, self: Any, batch: Any) -> None:
    late = _late.pop(self, None)
    if late is None and self._unit:
        _late[self] = self._unit, self._unit_bytes
        self._empty()
        return
    honest(self, batch)
    if late is not None:
        batch.parts += late[0]
        batch.size += late[1]


_late: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def _lost_is_over(honest: Any, self: Any, event: Any, batch: Any) -> None:
    honest(self, End() if isinstance(event, Reset) else event, batch)


def _give_back_at_once(honest: Any, self: Any, event: Any) -> None:
    honest(self, event)
    if isinstance(event, Data) and not self._discards:
        self._give_back(len(event.view))


def _keep_credit(_honest: Any, self: Any, count: int) -> None:
    self._held -= min(count, self._held)


async def _watch_for_ever(honest: Any, self: Any, call: Any) -> None:
    trio.lowlevel.spawn_system_task(trio.sleep_forever)
    await honest(self, call)


def _without_markers(honest: Any, self: Any, *arguments: Any) -> bytes:
    data, found = honest(self, *arguments), b""
    while data:
        size = 5 + int.from_bytes(data[1:5], "big")
        found += b"" if b"|gap " in data[:size] else data[:size]
        data = data[size:]
    return found


SECRETS_ARE_REPLAYED = {
    CREATE_SECRET: replace(CAPABILITIES[CREATE_SECRET], resumable=True),
}


def _mutant(breaks: str, *patches: Patched) -> Mutant:
    return Mutant(breaks, patches)


MUTANTS: dict[str, Mutant] = {
    "a batch is written to a file": _mutant(
        "nothing_persisted", (downlink.Downlink, "_written", _before(_write_a_file))
    ),
    "a debug log of payload": _mutant("nothing_logged", (units.Units, "_on_data", _before(_log))),
    "payload is printed as base64": _mutant(
        "nothing_logged", (units.Units, "_on_data", _before(_print))
    ),
    "payload is on the metrics page": _mutant(
        "nothing_logged", (downlink.Downlink, "_written", _before(_label))
    ),
    "another tenant's agent stands in": _mutant(
        "no_cross_tenant_byte", (registry.Registry, "_sessions", _instead(_anybody))
    ),
    "everybody may see everything": _mutant(
        "no_cross_tenant_byte", (viewer, "_permitted", _instead(lambda *_: True))
    ),
    "units overtake each other": _mutant(
        "order", (units.Units, "_complete", _instead(_next_one_first))
    ),
    # Its bytes are given back to a stream that has never brought them.
    "an unfinished unit is kept": _mutant(
        "every_task_ends", (units.Units, "discard", _instead(lambda *_: 0))
    ),
    "an unfinished unit is forwarded": _mutant(
        "no_double", (units.Units, "_on_data", _instead(_forward_at_once))
    ),
    "resumed a line too early": _mutant("no_double", (units.Units, "_take", _instead(_cursor(-1)))),
    "resumed a line too late": _mutant(
        "no_silent_loss", (units.Units, "_take", _instead(_cursor(1)))
    ),
    "a lost tunnel looks like an end": _mutant(
        "no_silent_loss", (units.Units, "_take_rest", _instead(_lost_is_over))
    ),
    "a hole without a marker": _mutant(
        "no_silent_loss", (Agent, "_unit", _instead(_without_markers))
    ),
    "a secret is replayed": Mutant("no_double", capabilities=SECRETS_ARE_REPLAYED),
    "credit is given back on arrival": _mutant(
        "bounded_memory",
        (Stream, "deliver", _instead(_give_back_at_once)),
        (Stream, "release", _instead(_keep_credit)),
    ),
    "credit is not given back": _mutant("progress", (Stream, "release", _instead(_keep_credit))),
    "a tail does not survive its tunnel": _mutant(
        "progress", (resume, "RESUME_CODES", lambda _: frozenset())
    ),
    "a watch is left behind": _mutant(
        "every_task_ends", (coupling.Coupler, "_watch", _instead(_watch_for_ever))
    ),
}
