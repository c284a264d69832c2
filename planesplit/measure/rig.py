"""A relay under measurement between its source and its sink."""

from __future__ import annotations

import time
from dataclasses import dataclass

import trio

from planesplit.measure.lab import Helper, MeasureError
from planesplit.measure.lines import Batch, LinePlan
from planesplit.measure.procfs import cpu_s, rss_bytes
from planesplit.measure.unit import UNIT_BYTES

SLOWEST_BYTES_PER_S = 1_000_000  # a relay that is slower is not waited for
SLACK_S = 20.0
OPEN_S, OPEN_EACH_S = 10.0, 0.5
LEAD_S = 0.05  # until the first line is due: time for the command to arrive


@dataclass(frozen=True, slots=True)
class Sample:
    """One transfer.

    Args:
        payload_bytes: how much crossed.
        elapsed_s: until the last viewer had the last byte.
        relay_cpu_s, source_cpu_s, sink_cpu_s: CPU seconds of the three processes.
        rss_bytes: the relay's resident memory afterwards.
    """

    payload_bytes: int
    elapsed_s: float
    relay_cpu_s: float
    source_cpu_s: float
    sink_cpu_s: float
    rss_bytes: int

    @property
    def cpu_s_per_gb(self) -> float:
        """The relay's CPU seconds per 10^9 bytes of payload."""
        return self.relay_cpu_s / self.payload_bytes * 1e9

    @property
    def mb_per_s(self) -> float:
        """10^6 bytes of payload a second."""
        return self.payload_bytes / self.elapsed_s / 1e6


@dataclass(frozen=True, slots=True)
class LineSample:
    """One run of lines.

    Args:
        plan: what was intended.
        handed_over: batches as the source gave them away.
        received: batches as they came out.
        late_s: how late the generator's clock woke it for each batch.
        relay_cpu_s, agent_cpu_s: CPU seconds of these processes; 0 without an agent.
    """

    plan: LinePlan
    handed_over: list[Batch]
    received: list[Batch]
    late_s: list[float]
    relay_cpu_s: float
    agent_cpu_s: float


@dataclass(slots=True)
class Rig:
    """One subject, ready: its exchanges are open.

    Args:
        name: of the subject.
        streams: how many exchanges are open.
        relay_pid: the process whose cost counts, 0 without a relay.
        source, sink: the helpers on both sides.
        agent_pid: the agent's process, 0 without one.
        tails: whether the answers are TailLogs messages.
        viewer_port: where viewers dial.
        request: what each of them sends, one character a byte.
        receive_buffer_bytes: of their sockets; 0 leaves it to the system.
        ca_file: of their TLS; "" for plain connections.
        seal: what the relay says of its seal; "" without a relay.
    """

    name: str
    streams: int
    relay_pid: int
    source: Helper
    sink: Helper
    agent_pid: int = 0
    tails: bool = False
    viewer_port: int = 0
    request: str = ""
    receive_buffer_bytes: int = 0
    ca_file: str = ""
    seal: str = ""

    async def transfer(self, units: int, first: int = 0, count: int | None = None) -> Sample:
        """Send so many units over each of the streams and wait for the last byte.

        Args:
            units: on each stream.
            first, count: which streams; all by default.

        Raises:
            MeasureError: it failed, took too long, or other bytes came than were sent.
        """
        streams = self.streams if count is None else count
        size = units * UNIT_BYTES
        within_s = SLACK_S + size * streams / SLOWEST_BYTES_PER_S
        pids = (self.relay_pid, self.source.pid, self.sink.pid)
        before = [cpu_s(pid) for pid in pids]
        began_s = time.monotonic()
        done = {}

        async def expect() -> None:
            done.update(
                await self.sink.ask(
                    "expect", within_s=within_s, bytes_each=size, first=first, count=count
                )
            )

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect)
            await self.source.ask("send", units=units, first=first, count=count)
        if done["excess_bytes"]:
            raise MeasureError(f"{self.name}: {done['excess_bytes']} bytes came that nobody sent")
        used = [cpu_s(pid) - start for pid, start in zip(pids, before, strict=True)]
        return Sample(
            payload_bytes=size * streams,
            elapsed_s=done["at_s"] - began_s,
            relay_cpu_s=used[0],
            source_cpu_s=used[1],
            sink_cpu_s=used[2],
            rss_bytes=rss_bytes(self.relay_pid),
        )

    async def lines(
        self, rate_per_s: float, duration_s: float, line_bytes: int = 200
    ) -> LineSample:
        """Send lines open loop over all streams; they need not keep up, the figures show it.

        Raises:
            MeasureError: it failed or took far too long.
        """
        plan = LinePlan(rate_per_s, duration_s, self.streams, line_bytes, time.monotonic() + LEAD_S)
        within_s = SLACK_S + 5 * duration_s
        pids = (self.relay_pid, self.agent_pid)
        before = [cpu_s(pid) if pid else 0.0 for pid in pids]
        received: list[Batch] = []

        async def receive() -> None:
            answer = await self.sink.ask(
                "lines", within_s=within_s, lines_each=plan.lines, tails=self.tails
            )
            received.extend(Batch(*each) for each in answer["batches"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            sent = await self.source.ask("lines", within_s=within_s, plan=plan.as_json())
        handed_over = [Batch(*each) for each in sent["batches"]]
        used = [(cpu_s(pid) if pid else 0.0) - b for pid, b in zip(pids, before, strict=True)]
        if not plan.complete(received):
            raise MeasureError(f"{self.name}: lines were lost, doubled or out of order")
        return LineSample(plan, handed_over, received, sent["late_s"], *used)

    async def quiet_lines(self, plan: LinePlan, first: int, within_s: float) -> list[Batch]:
        """Send lines over some of the streams, beside whatever the others do; return what came.

        Args:
            plan: of as many streams as it has.
            first: of these streams.
            within_s: how long that may take.

        Raises:
            MeasureError: it failed or took too long.
        """
        received: list[Batch] = []

        async def receive() -> None:
            count = plan.streams
            answer = await self.sink.ask(
                "lines", within_s=within_s, lines_each=plan.lines, first=first, count=count
            )
            received.extend(Batch(*each) for each in answer["batches"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await self.source.ask("lines", within_s=within_s, plan=plan.as_json(), first=first)
        if not plan.complete(received):
            raise MeasureError(f"{self.name}: lines were lost, doubled or out of order")
        return received

    async def open_more(self, count: int) -> None:
        """Open more exchanges, like those there are.

        Raises:
            MeasureError: it failed.
        """
        await self.sink.ask(
            "open",
            within_s=OPEN_S + OPEN_EACH_S * count,
            port=self.viewer_port,
            request=self.request,
            count=count,
            receive_buffer_bytes=self.receive_buffer_bytes,
            ca_file=self.ca_file,
        )
        self.streams += count

    async def ping(self, count: int, size: int) -> list[float]:
        """Return round-trip times in seconds of `size` bytes up and down one exchange.

        The rig's exchange has to be a duplex one.
        """
        answer = await self.sink.ask("ping", count=count, size=size)
        return [float(rtt) for rtt in answer["rtt_s"]]
