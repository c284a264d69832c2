"""The live screen: what the agent sends, the tunnel's figures, what the viewer sees."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import httpx
import trio
from rich.console import Console, ConsoleDimensions, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from planesplit.commands.output import for_terminal
from planesplit.delivery import percentile
from planesplit.demo.scenario import Scenario
from planesplit.demo.summary import NS_PER_MS, Summary

REFRESH_S = 0.1
METRICS_S = 0.5
MIDDLE_COLUMNS = 38
BESIDE_COLUMNS = 110  # on a narrower terminal the panels are one below the other
FRAME_LINES = 2  # a panel's border
RECENT_LINES = 500


async def show(scenario: Scenario) -> Summary:
    """Play the scenario with a screen until it ends, or until Ctrl-C asks it to.

    Raises:
        OSError: the terminal is gone (EIO).
    """
    metrics: dict[str, float] = {}
    console = Console(force_terminal=True)  # else it falls silent when the terminal goes away
    with Live(console=console, screen=True, auto_refresh=False) as live:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_read_metrics, scenario, metrics)
            nursery.start_soon(_refresh, live, scenario, metrics)
            nursery.start_soon(_finish_on_interrupt, scenario)
            summary = await scenario.play()
            nursery.cancel_scope.cancel()
    return summary


async def _finish_on_interrupt(scenario: Scenario) -> None:
    """The first Ctrl-C ends the run in order, so that there is a summary; the next one ends all."""
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        await anext(aiter(signals))
    await scenario.finish()


async def _refresh(live: Live, scenario: Scenario, metrics: Mapping[str, float]) -> None:
    while True:
        live.update(draw(scenario, metrics, live.console.size), refresh=True)
        await trio.sleep(REFRESH_S)


async def _read_metrics(scenario: Scenario, metrics: dict[str, float]) -> None:
    while True:
        try:
            metrics.update(await scenario.split.metrics())
        except httpx.HTTPError:
            metrics.clear()
        await trio.sleep(METRICS_S)


def draw(
    scenario: Scenario, metrics: Mapping[str, float], size: ConsoleDimensions
) -> RenderableType:
    """Draw one picture of the scenario as it is now; panels beside or below each other."""
    beside = size.width >= BESIDE_COLUMNS
    figures = _grid(_figures(scenario, metrics), 1 if beside else 3)
    middle = MIDDLE_COLUMNS if beside else figures.row_count + FRAME_LINES
    rows = max(1, (size.height if beside else (size.height - middle) // 2) - FRAME_LINES)
    layout = Layout()
    (layout.split_row if beside else layout.split_column)(
        Layout(_panel("compute plane: what the agent sends", scenario.written(rows), "blue")),
        Layout(Panel(figures, title="tunnel: the agent dials out"), size=middle),
        Layout(_panel("viewer: what arrives", _arrived(scenario, rows), "green")),
    )
    return layout


def _arrived(scenario: Scenario, rows: int) -> list[str]:
    return [line.text.rstrip("\n") for line in scenario.lines[-rows:]]


def _panel(title: str, lines: Iterable[str], colour: str) -> Panel:
    text = Text(no_wrap=True, overflow="ellipsis")
    for line in lines:
        text.append_text(Text.from_ansi(for_terminal(line)[:500]))
        text.append("\n")
    return Panel(text, title=title, border_style=colour)


def _figures(scenario: Scenario, metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    link, lines = scenario.split.link, scenario.lines[-RECENT_LINES:]
    latencies = [(line.received_ns - line.at_ns) / NS_PER_MS for line in lines]
    up = bool(metrics.get("relay_tunnels"))
    return [
        ("state", "[green]up[/]" if up else "[red]down[/]"),
        ("lines", f"{len(scenario.lines)}"),
        ("latency p50", f"{percentile(latencies, 50):.1f} ms"),
        ("latency p99", f"{percentile(latencies, 99):.1f} ms"),
        ("bytes on wire", f"{link.forwarded_bytes:,}"),
        ("of payload", f"{metrics.get(DOWN, 0):,.0f}"),
        ("exchanges", f"{metrics.get('relay_exchanges', 0):.0f}"),
        ("cuts", f"{link.cuts}"),
        ("connections", f"{link.connections}"),
        ("resumed", f"{metrics.get('relay_resumes_total', 0):.0f}"),
        ("run", scenario.run),
        ("time", time.strftime("%H:%M:%S")),
    ]


def _grid(figures: Sequence[tuple[str, str]], across: int) -> Table:
    table = Table.grid(padding=(0, 2))
    for _ in range(across):
        table.add_column()
        table.add_column(justify="right")
    for at in range(0, len(figures), across):
        table.add_row(*chain.from_iterable(figures[at : at + across]))
    return table


DOWN = 'relay_bytes_total{direction="down"}'
