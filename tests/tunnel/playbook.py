"""Scripts for the protocol core: what goes in, what has to come out, and a diff when it differs.

    with Playbook(acceptor()) as play:
        play.hears(hello_frame())            # frames in
        play.does("goaway", Code.DRAINING)   # a call in
        play.at(3.0)                         # time in (tick)
        play.tells((0, Going(...)))          # events out
        play.says(frame(FrameType.PING...))  # frames out

The whole script is compared at the end of the block, so that a failure shows its context.
"""

from __future__ import annotations

import difflib
from types import TracebackType
from typing import Any, Self

from tunnel.connection import Connection
from tunnel.errors import Code, TunnelError
from tunnel.events import Data, Event
from tunnel.frames import HEADER, HEADER_BYTES, FrameType
from tunnel.scheduler import joined


class Playbook:
    """Plays a script to one connection.

    Args:
        core: the connection under test.
        now: simulated time at the start, seconds.
        budget_bytes: how much is taken from the connection after each step.
    """

    def __init__(self, core: Connection, *, now: float = 0.0, budget_bytes: int = 1 << 20) -> None:
        self.core, self.now, self.budget_bytes = core, now, budget_bytes
        self.result: Any = None
        self._expected: list[str] = []
        self._actual: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None:
            self.check()

    def check(self) -> None:
        """Compare what happened with the script so far."""
        if self._expected != self._actual:
            diff = "\n".join(difflib.ndiff(self._expected, self._actual))
            raise AssertionError(f"the script (-) and what happened (+) differ:\n{diff}")

    # What goes in.

    def hears(self, *frames: bytes) -> Self:
        """Frames arrive, all in one read."""
        self._in(*[f"hears {show_frame(f)}" for f in frames])
        self._out(self.core.receive([memoryview(f) for f in frames], self.now))
        return self

    def at(self, now: float) -> Self:
        """Time passes; the driver calls tick."""
        self.now = now
        self._in(f"at {now}")
        self._out(self.core.tick(now))
        return self

    def does(self, verb: str, *args: Any, **kwargs: Any) -> Self:
        """This end acts; `now` is passed where the verb asks for it."""
        if verb in ("open", "consumed", "accept"):
            kwargs["now"] = self.now
        self._in(f"does {verb}")
        self.result = getattr(self.core, verb)(*args, **kwargs)
        self._out(self.result if isinstance(self.result, list) else [])
        return self

    def fails(self, error: type[TunnelError], code: Code, verb: str, *args: Any) -> Self:
        """This end acts and is told that it may not."""
        self._expected += [f">> does {verb}", f"   !! {error.__name__} {code.name}"]
        kwargs = {"now": self.now} if verb in ("open", "consumed", "accept") else {}
        self._actual.append(f">> does {verb}")
        try:
            getattr(self.core, verb)(*args, **kwargs)
        except TunnelError as caught:
            self._actual.append(f"   !! {type(caught).__name__} {caught.code.name}")
        self._out([])
        return self

    # What has to come out: events first, then frames.

    def tells(self, *events: tuple[int, Event]) -> Self:
        """Events that the last step must have given."""
        self._expected += [show_event(*event) for event in events]
        return self

    def says(self, *frames: bytes) -> Self:
        """Frames that the last step must have queued."""
        self._expected += [f"   << {show_frame(f)}" for f in frames]
        return self

    def _in(self, *lines: str) -> None:
        for line in lines:
            self._expected.append(f">> {line}")
            self._actual.append(f">> {line}")

    def _out(self, events: list[tuple[int, Event]]) -> None:
        self._actual += [show_event(*event) for event in events]
        frames = self.core.frames_to_send(self.budget_bytes)
        self._actual += [f"   << {show_frame(bytes(joined(f)))}" for f in frames]


def show_frame(data: bytes) -> str:
    """A frame in words."""
    if len(data) < HEADER_BYTES:
        return f"{len(data)} stray bytes"
    kind, flags, reserved, stream_id = HEADER.unpack_from(data)
    name = FrameType(kind).name if kind in list(FrameType) else f"type {kind}"
    extras = "".join(f" {n}={v}" for n, v in (("flags", flags), ("reserved", reserved)) if v)
    return f"{name} #{stream_id}{extras} {_short(data[HEADER_BYTES:])}"


def show_event(stream_id: int, event: Event) -> str:
    """An event in words."""
    text = f"Data({_short(bytes(event.view))})" if isinstance(event, Data) else repr(event)
    return f"   == #{stream_id} {text}"


def _short(data: bytes) -> str:
    return repr(data) if len(data) <= 256 else f"{len(data)} bytes, hash {hash(data)}"
