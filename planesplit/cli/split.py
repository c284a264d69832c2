"""Commands that start a split, use its runs, and look at the machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from planesplit.cli.options import Output, ReadyFile, app, get

Workload = Annotated[
    Literal["training", "plain", "burst", "huge", "binary"] | None,
    Parameter(help="Seeded generator of lines like a training job's, or of odd ones."),
]
Level = Annotated[
    Literal["limits", "kernel", "full"] | None,
    Parameter(help="Do not start below this level; see 'planesplit doctor'."),
]
WipeOnFree = Annotated[
    bool,
    Parameter(help="Let the relay also wipe all memory that it frees, heads and tokens too."),
]
Provable = Annotated[
    bool,
    Parameter(
        negative="", help="Let this user's 'prove --ready-file' read the vendor's planes' memory."
    ),
]


@app.command
async def up(
    *,
    ready_file: Annotated[
        Path | None, Parameter(help="Write URLs, credentials' files and process ids to this file.")
    ] = None,
    insecure: Annotated[
        bool, Parameter(negative="", help="Plain HTTP on loopback, one demo identity, no tokens.")
    ] = False,
    keep: Annotated[
        Path | None, Parameter(help="Keep all state in this new directory; else it is removed.")
    ] = None,
    cluster: Annotated[
        tuple[str, ...], Parameter(help="A further cluster of the org; may be repeated.")
    ] = (),
    clickhouse: Annotated[
        bool, Parameter(help="Give each cluster its ClickHouse: metrics and historical logs.")
    ] = True,
    pod_path: Annotated[
        tuple[Path, ...],
        Parameter(help="A directory for PATH of task pods, e.g. that of flyte's a0; repeatable."),
    ] = (),
    seal: Annotated[
        bool, Parameter(help="Let the relay give up files, dialling and programs for good.")
    ] = True,
    require_seal: Level = None,
    wipe_on_free: WipeOnFree = False,
    provable: Provable = False,
) -> int:
    """Start all planes as processes and run until SIGTERM or Ctrl-C."""
    from planesplit.commands.outcome import settle
    from planesplit.commands.up import up as command
    from planesplit.commands.up import with_clusters
    from planesplit.split.options import SplitOptions

    options = SplitOptions(
        insecure=insecure,
        keep=keep,
        link=False,
        clickhouse=clickhouse,
        seal=seal,
        require_seal=require_seal or "",
        wipe_on_free=wipe_on_free,
        provable=provable,
        pod_path=tuple(str(path.absolute()) for path in pod_path),
    )

    async def do() -> int:
        return await command(ready_file=ready_file, options=with_clusters(options, cluster))

    return await settle(do)


@app.command
async def run(
    *arguments: Annotated[str, Parameter(help="After '--': options of the workload or replay.")],
    exec: Annotated[str | None, Parameter(help="A shell command to run.")] = None,  # noqa: A002
    replay: Annotated[Path | None, Parameter(help="A file whose lines to print.")] = None,
    workload: Workload = None,
    image: Annotated[
        str | None,
        Parameter(help="Image of the cluster's registry, e.g. registry.local/planesplit/workload."),
    ] = None,
    name: Annotated[str, Parameter(help="The run's name; chosen for you if not given.")] = "",
    cluster: Annotated[str, Parameter(help="Where to run; chosen for you if not given.")] = "",
    wait: Annotated[
        bool, Parameter(negative="", help="Wait for the end; exit with the command's code.")
    ] = False,
    ready_file: ReadyFile = None,
) -> int:
    """Start a run in the compute plane and print its name."""
    from planesplit.commands.outcome import settle
    from planesplit.commands.runs import run as command

    return await settle(
        partial(
            command,
            exec=exec,
            replay=replay,
            workload=workload,
            image=image,
            arguments=arguments,
            name=name,
            cluster=cluster,
            wait=wait,
            ready_file=ready_file,
        )
    )


@app.command
async def tail(
    run: Annotated[str, Parameter(help="The run's name.")],
    /,
    *,
    json: Annotated[bool, Parameter(negative="", help="One JSON object a line.")] = False,
    since: Annotated[
        str | None, Parameter(help="Nothing older: RFC 3339, or a number of seconds ago.")
    ] = None,
    lines: Annotated[
        int | None,
        Parameter(validator=Number(gte=0, lte=1_000_000), help="Only so many of the last lines."),
    ] = None,
    follow: Annotated[bool, Parameter(help="Go on until the run ends.")] = True,
    compress: Annotated[
        bool, Parameter(negative="", help="Ask for zstd or gzip; the agent's `logs.compress`.")
    ] = False,
    ready_file: ReadyFile = None,
) -> int:
    """Print a run's log, live or after its end."""
    from planesplit.commands.outcome import settle
    from planesplit.commands.tail import tail as command

    return await settle(
        partial(
            command,
            run,
            json=json,
            since=since,
            lines=lines,
            follow=follow,
            compress=compress,
            ready_file=ready_file,
        )
    )


@get.command(name="runs")
async def get_runs(*, output: Output = "table", ready_file: ReadyFile = None) -> int:
    """List the newest runs."""
    from planesplit.commands.outcome import settle
    from planesplit.commands.runs import get_runs as command

    return await settle(partial(command, output=output, ready_file=ready_file))


@app.command
async def demo(
    *,
    headless: Annotated[
        bool, Parameter(negative="", help="No screen: force three tunnel cuts, print a summary.")
    ] = False,
    seconds: Annotated[
        float | None,
        Parameter(
            validator=Number(gte=2, lte=3600),
            help="How long lines are produced; until Ctrl-C on a terminal, else 10.",
        ),
    ] = None,
    json: Annotated[bool, Parameter(negative="", help="Summary as one JSON object.")] = False,
    rate: Annotated[
        float, Parameter(validator=Number(gte=1, lte=100_000), help="Lines per second.")
    ] = 50,
    insecure: Annotated[bool, Parameter(negative="", help="Plain HTTP, no tokens.")] = False,
) -> int:
    """Watch data cross a split: what the agent sends, the tunnel, what the viewer sees."""
    from planesplit.commands.outcome import settle
    from planesplit.demo.command import demo as command

    return await settle(
        partial(
            command, headless=headless, seconds=seconds, json=json, rate=rate, insecure=insecure
        )
    )


@app.command
def doctor(
    *, json: Annotated[bool, Parameter(negative="", help="One JSON object.")] = False
) -> int:
    """Show what this machine offers, and what that means for a split."""
    from planesplit.commands.doctor import doctor as command

    return command(json=json)
