"""`planesplit demo`: a live screen on a terminal, else plain lines; a summary at the end."""

from __future__ import annotations

import os
import sys

import trio

from planesplit.commands.outcome import FAILED, OK
from planesplit.commands.output import as_json, for_terminal, progress
from planesplit.demo.scenario import Scenario
from planesplit.demo.summary import Summary
from planesplit.split.core import Split
from planesplit.split.options import SplitOptions

PLAIN_S = 10.0
SHOW_CHARS = 100
PLAIN_EVERY_S = 0.25  # plain lines are a sample: a person reads no more


async def demo(
    *, headless: bool, seconds: float | None, json: bool, rate: float, insecure: bool
) -> int:
    """Run the demonstration; 1 unless everything was delivered.

    Raises:
        PlaneFailed: a plane did not come up, or ended unasked.
    """
    screen = not headless and not json and sys.stdout.isatty()
    if seconds is None and not screen:
        seconds = PLAIN_S
    progress("starting relay, customer_stub, control_stub, compute_agent ...")
    async with Split(SplitOptions(insecure=insecure, clickhouse=False)) as split:
        scenario = Scenario(split, rate=rate, seconds=seconds)
        if screen:
            from planesplit.demo.screen import show

            summary = await show(scenario)
        else:
            summary = await _plain(scenario, quiet=headless or json)
    sys.stdout.write(as_json(summary.as_record()) if json else summary.as_text())
    return OK if summary.ok else FAILED


async def _plain(scenario: Scenario, *, quiet: bool) -> Summary:
    async with trio.open_nursery() as nursery:
        if not quiet:
            nursery.start_soon(_sample, scenario)
        summary = await scenario.play()
        nursery.cancel_scope.cancel()
    return summary


async def _sample(scenario: Scenario) -> None:
    """Print the newest line a few times a second, and every cut."""
    shown, cuts = 0, 0
    while True:
        await trio.sleep(PLAIN_EVERY_S)
        if len(scenario.cuts_ns) > cuts:
            cuts = len(scenario.cuts_ns)
            progress(f"tunnel cut number {cuts}")
        if len(scenario.lines) > shown:
            shown = len(scenario.lines)
            text = for_terminal(scenario.lines[-1].text.rstrip("\n"), colour=False)[:SHOW_CHARS]
            sys.stdout.write(f"{shown:>7} lines | {text}{os.linesep}")
            sys.stdout.flush()
