"""Commands that measure: a bench, a sweep of rates, and the comparison of two runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from planesplit.cli.options import app

bench = App(name="bench", help="Latency of log lines through a split, beside the bare link.")
app.command(bench)

Size = Annotated[str, Parameter(help="Bytes of a line, 32B to 8KiB.")]
Streams = Annotated[
    int, Parameter(validator=Number(gte=1, lte=200), help="Log tails at the same time.")
]
Policy = Annotated[
    Literal["latency", "balanced", "bulk"], Parameter(help="How the agent batches lines.")
]
Viewers = Annotated[
    int,
    Parameter(
        validator=Number(gte=1, lte=100),
        help="Tails of each stream; one is measured, the others read along.",
    ),
]
Stalled = Annotated[
    int,
    Parameter(validator=Number(gte=0, lte=200), help="Further tails that never read, beside them."),
]
Rtt = Annotated[str, Parameter(help="Round-trip time of the link between agent and relay.")]
Jitter = Annotated[str, Parameter(help="By how much each way's delay varies, to both sides.")]
Bandwidth = Annotated[str, Parameter(help="Of the link, each way, e.g. 50mbit; none: unlimited.")]
Progress = Annotated[bool, Parameter(help="Show on stderr how far it is.")]
Directory = Annotated[
    Path | None,
    Parameter(name=["--output", "-o"], help="Write all files to this directory."),
]
Json = Annotated[bool, Parameter(negative="", help="Print the whole document as JSON.")]
Html = Annotated[Path | None, Parameter(help="Write one HTML file that opens offline.")]


@bench.default
async def run(
    *,
    rate: Annotated[str, Parameter(help="Lines a second over all streams.")] = "10000/s",
    size: Size = "200B",
    streams: Streams = 16,
    duration: Annotated[str, Parameter(help="Of one turn.")] = "10s",
    warmup: Annotated[str, Parameter(help="Of load before the first turn; 0 for none.")] = "1s",
    repeat: Annotated[
        int, Parameter(validator=Number(gte=1, lte=100), help="Turns of split and bare link each.")
    ] = 3,
    rtt: Rtt = "0ms",
    jitter: Jitter = "0ms",
    bandwidth: Bandwidth = "",
    stall: Annotated[
        str, Parameter(help="Silence of the link in the middle of each turn, e.g. 500ms.")
    ] = "0ms",
    cut: Annotated[bool, Parameter(help="Cut the tunnel at the end and measure the gap.")] = True,
    policy: Policy = "balanced",
    viewers: Viewers = 1,
    stalled: Stalled = 0,
    output: Directory = None,
    json: Json = False,
    html: Html = None,
    markdown: Annotated[Path | None, Parameter(help="Write a markdown report.")] = None,
    csv: Annotated[Path | None, Parameter(help="Write one row a turn.")] = None,
    progress: Progress = True,
) -> int:
    """Measure latency, open loop, through agent, tunnel, relay and viewer, and over the bare link.

    Both without TLS: real processes on loopback, and the link between them is
    emulated.

    Exits with 0; 1 if the load was not carried, or a line not over a cut; 4
    if the measurement is invalid.
    """
    from planesplit.bench.command import Outputs
    from planesplit.bench.command import bench as command
    from planesplit.bench.options import plan
    from planesplit.commands.outcome import settle

    outputs = Outputs(output, json, html, markdown, csv, progress)

    async def do() -> int:
        planned = plan(
            rate=rate, size=size, streams=streams, duration=duration, warmup=warmup, repeat=repeat,
            rtt=rtt, jitter=jitter, bandwidth=bandwidth, stall=stall, cut=cut,
            policy=policy, viewers=viewers, stalled=stalled,
        )  # fmt: skip
        return await command(planned, outputs)

    return await settle(do)


@bench.command
async def sweep(
    *,
    rate: Annotated[str, Parameter(help="Lines a second: from..to.")] = "500..20000",
    steps: Annotated[
        int, Parameter(validator=Number(gte=2, lte=50), help="Rates, equal factors apart.")
    ] = 6,
    find_knee: Annotated[
        bool, Parameter(negative="", help="Look closer where it begins to fail.")
    ] = False,
    slo: Annotated[str, Parameter(help="Latency that still is good, e.g. 'p99<50ms'.")] = "",
    size: Size = "200B",
    streams: Streams = 16,
    duration: Annotated[str, Parameter(help="Of each rate.")] = "3s",
    warmup: Annotated[str, Parameter(help="Of load before each; 0 for none.")] = "0.5s",
    policy: Policy = "balanced",
    rtt: Rtt = "0ms",
    jitter: Jitter = "0ms",
    bandwidth: Bandwidth = "",
    output: Directory = None,
    json: Json = False,
    html: Html = None,
    progress: Progress = True,
) -> int:
    """Measure rising rates until latency or delivery fails; say what is the highest good one.

    Exits with 0; 1 if no rate was good; 4 if the generator failed before the
    split did.
    """
    from planesplit.bench.command import Outputs
    from planesplit.bench.options import plan, sweep_plan
    from planesplit.bench.sweep_command import sweep as command
    from planesplit.commands.outcome import settle

    async def do() -> int:
        base = plan(
            size=size,
            streams=streams,
            duration=duration,
            warmup=warmup,
            rtt=rtt,
            jitter=jitter,
            bandwidth=bandwidth,
            policy=policy,
        )
        outputs = Outputs(output, json, html, progress=progress)
        return await command(sweep_plan(base, rate, steps, slo, find_knee=find_knee), outputs)

    return await settle(do)


@bench.command
async def compare(
    a: Annotated[Path, Parameter(help="A run's directory or run.json: before.")],
    b: Annotated[Path, Parameter(help="A run's directory or run.json: after.")],
    /,
    *,
    fail_on: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="A change that is too much, e.g. 'p99>+10%'; repeatable."),
    ] = (),
    format: Annotated[  # noqa: A002 - the option's name
        Literal["table", "markdown", "json"], Parameter(help="How it is printed.")
    ] = "table",
    html: Html = None,
) -> int:
    """Compare two runs, with intervals from their repeats; exits with 1 if --fail-on applies.

    Without --fail-on it exits with 0; with it, an INVALID run fails too.
    """
    from planesplit.bench.compare_command import compare as command
    from planesplit.commands.outcome import settle

    async def do() -> int:
        return command(a, b, fail_on=fail_on, format=format, html=html)

    return await settle(do)
