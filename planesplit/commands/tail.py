"""`planesplit tail`: a run's log on stdout."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from planesplit.commands.outcome import OK
from planesplit.commands.output import Output, as_json, for_terminal, progress, stdout
from planesplit.connect_client import ConnectError
from planesplit.ready import find
from planesplit.tail import NANOS, Line
from planesplit.viewer import open_viewer


async def tail(
    run: str,
    *,
    json: bool,
    since: str | None,
    lines: int | None,
    follow: bool,
    compress: bool,
    ready_file: Path | None,
) -> int:
    """Print a run's log until it ends.

    Raises:
        ConnectError: the tail ended with an error.
    """
    async with open_viewer(find(ready_file)) as viewer, stdout() as output:
        options = {"since": since, "lines": lines, "follow": follow, "compress": compress}
        async with viewer.tail(run, on_retry=_retrying, **options) as found:  # type: ignore[arg-type]
            async for line in found:
                await _print(line, output, json=json)
    return OK


async def _print(line: Line, output: Output, *, json: bool) -> None:
    if json:
        await output.write(as_json(as_record(line)))
    elif line.originator == "SYSTEM":
        progress(line.text.rstrip("\n"))
    else:
        await output.write(for_terminal(line.text) if output.terminal else line.text)


def as_record(line: Line) -> dict[str, str]:
    """Return a line as a JSON object; times are RFC 3339 with nanoseconds."""
    seconds, nanos = divmod(line.at_ns, NANOS)
    at = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return {
        "time": f"{at}.{nanos:09d}Z",
        "text": line.text,
        "originator": line.originator,
        "pod": line.pod,
    }


def _retrying(error: ConnectError) -> None:
    progress(f"{error}; trying again")
