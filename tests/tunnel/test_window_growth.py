"""Windows over a long link, in simulated time: they grow for who reads fast, and nobody else."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest
from cast import ANSWER, REQUEST, SETTINGS, WINDOW, acceptor, dialer

from tunnel.connection import Connection
from tunnel.events import Data, TokenReceived
from tunnel.scheduler import joined
from tunnel.settings import TunnelSettings
from tunnel.windows import LONG_S as LONG_RTT_S

LONG_S, SHORT_S = 0.1, 0.02
STEPS = 20  # of a round trip
CHUNK = bytes(65_536)
TOP = SETTINGS.window_max_bytes
STEP_BYTES = 2 * TOP // STEPS  # the link takes twice what the largest window makes of it
ALL = 1 << 40


class Link:
    """An agent that always has more to send, a relay that opens streams, and a link between them.

    Args:
        rtt_s: of the link.
        settings: of both ends.
    """

    def __init__(self, rtt_s: float, settings: TunnelSettings = SETTINGS) -> None:
        self.rtt_s, self.now = rtt_s, 0.0
        self.relay, self.agent = acceptor(settings), dialer(settings)
        self._wires: dict[Connection, deque[tuple[float, bytes]]] = {
            self.relay: deque(),
            self.agent: deque(),
        }
        self.held: dict[int, int] = {}
        self.taken: dict[int, int] = {}
        self.run(3, {})

    def open(self) -> int:
        """Open a stream that the agent answers."""
        stream_id = self.relay.open(REQUEST, self.now)
        self.held[stream_id] = self.taken[stream_id] = 0
        return stream_id

    def run(self, round_trips: float, rates: dict[int, float]) -> None:
        """Let time pass; each stream's consumer takes so many bytes a second."""
        for _ in range(int(round_trips * STEPS)):
            self.now += self.rtt_s / STEPS
            for end in (self.relay, self.agent):
                end.tick(self.now)
                self._arrive(end)
            for stream_id, rate in rates.items():
                count = int(min(self.held[stream_id], rate * self.rtt_s / STEPS))
                self.held[stream_id] -= count
                self.taken[stream_id] += count
                if count:
                    self.relay.consumed(stream_id, count, self.now)
            for record in self.agent._streams:
                while record.unsent < STEP_BYTES:
                    self.agent.data(record.id, CHUNK)
            for end, wire in self._wires.items():
                frames = end.frames_to_send(STEP_BYTES)
                wire += [(self.now + self.rtt_s / 2, bytes(joined(f))) for f in frames]

    def window(self, stream_id: int) -> int:
        """The relay's window for a stream."""
        record = self.relay._streams.get(stream_id)
        assert record is not None
        return record.receive.window

    def _arrive(self, end: Connection) -> None:
        wire = self._wires[self.agent if end is self.relay else self.relay]
        frames = []
        while wire and wire[0][0] <= self.now + 1e-9:
            frames.append(memoryview(wire.popleft()[1]))
        for stream_id, event in end.receive(frames, self.now):
            if isinstance(event, Data):
                self.held[stream_id] += len(event.view)
            elif isinstance(event, TokenReceived):
                end.accept(1e6, self.now)
            elif stream_id and end is self.agent:
                end.head(stream_id, ANSWER)


@pytest.mark.parametrize("rtt_s", [SHORT_S, LONG_S])
def test_a_fast_reader_gets_the_largest_window(rtt_s: float) -> None:
    link = Link(rtt_s)
    stream_id = link.open()
    link.run(16, {stream_id: ALL})
    assert link.window(stream_id) == TOP
    before = link.taken[stream_id]
    link.run(4, {stream_id: ALL})
    assert 0.85 * TOP <= (link.taken[stream_id] - before) / 4 <= TOP


def test_a_window_grows_no_further_than_its_reader_uses() -> None:
    """1 MB/s takes 100 kB in a round trip: more than 80 KiB hold, less than 256 KiB do."""
    link = Link(LONG_S)
    stream_id = link.open()
    link.run(40, {stream_id: 1e6})
    assert link.window(stream_id) == SETTINGS.window_default_bytes


def test_over_a_short_link_what_is_used_does_not_count() -> None:
    link = Link(LONG_RTT_S / 2)
    stream_id = link.open()
    link.run(40, {stream_id: ALL})
    assert link.window(stream_id) < TOP


def test_who_reads_nothing_has_no_growth() -> None:
    link = Link(LONG_S)
    stream_id = link.open()
    link.run(60, {})
    assert link.window(stream_id) == link.held[stream_id] == link.relay.granted_bytes == WINDOW


def test_who_stalls_loses_his_growth() -> None:
    link = Link(LONG_S)
    stalled, fast = link.open(), link.open()
    link.run(16, {stalled: ALL, fast: ALL})
    assert (link.window(stalled), link.window(fast)) == (TOP, TOP)
    link.run((SETTINGS.stall_s + 1) / LONG_S, {stalled: 0.0})
    assert link.window(stalled) == WINDOW
    assert link.held[stalled] <= TOP


def test_growth_stays_below_the_tunnels_cap() -> None:
    settings = replace(SETTINGS, growth_bytes=1 << 20)
    link = Link(SHORT_S, settings)
    rates = {link.open(): float(ALL) for _ in range(3)}
    link.run(20, rates)
    assert sum(map(link.window, rates)) == 3 * WINDOW + settings.growth_bytes
    assert link.relay.granted_bytes <= 3 * WINDOW + settings.growth_bytes
