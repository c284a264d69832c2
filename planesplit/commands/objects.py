"""`planesplit put bundle`, `planesplit get report` and `planesplit get io`: a run's objects."""

from __future__ import annotations

import os
import sys
import tempfile
import webbrowser
from pathlib import Path

import trio
from google.protobuf import json_format

from planesplit.commands.outcome import OK, UNUSABLE, UsageError
from planesplit.commands.output import as_json, progress
from planesplit.objects import (
    action_data,
    open_store,
    presigned_data,
    report,
    upload_bundle,
)
from planesplit.ready import find
from planesplit.viewer import open_viewer


async def put_bundle(file: Path, *, ready_file: Path | None) -> int:
    """Upload a code bundle and print its URI.

    Raises:
        UsageError: the file cannot be read.
    """
    ready = find(ready_file)
    try:
        async with open_viewer(ready) as viewer, open_store(ready) as store:
            uri = await upload_bundle(viewer, store, file)
    except OSError as error:
        raise UsageError(f"'{file}' cannot be read: {error.strerror}; name a file") from None
    sys.stdout.write(uri + "\n")
    return OK


async def get_report(
    run: str, *, attempt: int, output: Path | None, show: bool, ready_file: Path | None
) -> int:
    """Print a run's report, write it to a file, or show it in a browser.

    Raises:
        UsageError: the file cannot be written.
    """
    ready = find(ready_file)
    async with open_viewer(ready) as viewer, open_store(ready) as store:
        html = await report(viewer, store, run, attempt)
    if output is None and not show:
        sys.stdout.buffer.write(html)
        sys.stdout.buffer.flush()
        return OK
    file = _written(html, output, run)
    if not show:
        return OK
    opened = await trio.to_thread.run_sync(webbrowser.open, file.resolve().as_uri())
    progress(f"the report is in {file}" + "; no browser could be opened" * (not opened))
    return OK if opened else UNUSABLE


async def get_io(run: str, *, presigned: bool, ready_file: Path | None) -> int:
    """Print what a run was given and what it returned, as one JSON object."""
    ready = find(ready_file)
    async with open_viewer(ready) as viewer, open_store(ready) as store:
        if presigned:
            data = await presigned_data(viewer, store, run)
        else:
            data = await action_data(viewer, run)
    sys.stdout.write(as_json(json_format.MessageToDict(data)))
    return OK


def _written(html: bytes, output: Path | None, run: str) -> Path:
    """Write a report where it is wanted, or where only this user can read it."""
    if output is None:
        descriptor, name = tempfile.mkstemp(prefix=f"planesplit-{run}-", suffix=".html")
        with os.fdopen(descriptor, "wb") as file:
            file.write(html)
        return Path(name)
    try:
        output.write_bytes(html)
    except OSError as error:
        raise UsageError(f"--output '{output}' cannot be written: {error.strerror}") from None
    return output
