"""What an operator may set of the sampling of pods."""

from __future__ import annotations

from dataclasses import dataclass

from tunnel.settings import setting


@dataclass(frozen=True, slots=True)
class SamplesSettings:
    """How often, how much at once, and what resources cost."""

    period_s: float = setting(
        1.0, low=0.1, high=3600.0, why="tasks here last seconds; a real exporter takes 15 to 60"
    )
    batch_rows: int = setting(
        1_000, low=1, high=10_000, why="encoding 1,000 rows holds up the process for some 8 ms"
    )
    queue_rows: int = setting(
        20_000, low=100, high=1_000_000, why="kept while ClickHouse is away; the oldest go first"
    )
    drain_s: float = setting(
        1.0, low=0.0, high=60.0, why="for what is not sent yet when the process is asked to stop"
    )
    default_cpu: float = setting(
        1.0, low=0.001, high=1024.0, why="cores of a pod that requests none"
    )
    default_memory_bytes: int = setting(
        1_073_741_824, low=1_048_576, high=1_099_511_627_776, why="memory of a pod without request"
    )
    core_usd_h: float = setting(
        0.04, low=0.0, high=1000.0, why="price of a core, the order of on-demand clouds"
    )
    gib_usd_h: float = setting(0.005, low=0.0, high=1000.0, why="price of a GiB of memory")
    gpu_usd_h: float = setting(2.5, low=0.0, high=1000.0, why="price of a GPU")
    seed: int = setting(
        1, low=0, high=4_294_967_295, why="of simulated values: the same seed gives the same ones"
    )
