"""What an operator may set of metrics queries."""

from __future__ import annotations

from dataclasses import dataclass

from tunnel.settings import setting


@dataclass(frozen=True, slots=True)
class MetricsLimits:
    """Bounds of metrics queries: first those that ClickHouse enforces, then the agent's own."""

    max_execution_s: int = setting(
        60, low=1, high=3600, why="time of one query, its transfer included; 1 M rows take 1 s"
    )
    max_result_rows: int = setting(
        20_000_000, low=1, high=10_000_000_000, why="a month of 8 samples a second"
    )
    max_result_bytes: int = setting(
        4_294_967_296, low=1_024, high=1_099_511_627_776, why="20 M raw rows of 200 bytes"
    )
    max_memory_bytes: int = setting(
        1_073_741_824,
        low=1_048_576,
        high=1_099_511_627_776,
        why="of ClickHouse, for one query: buckets of a run need some MB, raw rows stream",
    )
    max_threads: int = setting(
        2, low=1, high=256, why="of ClickHouse, for one query: it has other work to do"
    )
    max_queries: int = setting(
        8, low=1, high=256, why="at once: each takes a thread here and max_memory_bytes there"
    )
    read_bytes: int = setting(
        262_144,
        low=65_536,
        high=4_194_304,
        why="handed over by the reading thread at once: 64 -> 256 KiB halves the cost (measured)",
    )
    message_bytes: int = setting(
        61_440, low=1_024, high=1_048_576, why="payload of one message; a frame is 64 KiB"
    )
    keepalive_s: float = setting(
        10.0, low=0.1, high=25.0, why="clients give up after 30 s without a message"
    )
    cancel_s: float = setting(
        3.0, low=0.1, high=60.0, why="time for KILL QUERY; then ClickHouse's own limits end it"
    )
