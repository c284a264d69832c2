"""Leaks of the other planes: the control plane's store, and an agent that tells it too much."""

from __future__ import annotations

import sqlite3
import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

from planesplit.proof.sabotage.catalogue import AGENT, CONTROL, RELAY, leak
from planesplit.proof.sabotage.leaks.place import new_file
from planesplit.proof.sabotage.taps import Longest, relayed_answers
from planesplit.proof.sabotage.tries import Tries

HEADER = "x-last-line"
MAX_HEX_BYTES = 120  # of a Kubernetes name: 253 characters
_register = partial(
    leak,
    "control-db-column",
    "keeps log lines in a column of the control plane's database",
    sealed="database",
    unsealed="database",
)


@_register(plane=RELAY)
def tell_control(tries: Tries) -> None:
    """The relay's part: the last log line goes along with what the control plane pulls."""
    from relay.http1 import Http1

    last = Longest(MAX_HEX_BYTES)
    relayed_answers(tries.guard(last.add), "A8")
    head_bytes = Http1._head_bytes

    def told(self: Http1, status: int, headers: Any) -> bytes:
        return head_bytes(self, status, (*headers, (HEADER, last.piece.hex())))

    _set(Http1, "_head_bytes", told)


@_register(plane=CONTROL)
def keep_in_column(tries: Tries) -> None:
    """The control plane's part: a column that nobody asked for."""
    from control_stub.relay_link import RelayLink
    from control_stub.store import Store

    request, made = RelayLink.request, Store.__init__
    stores: list[Store] = []

    def opened(self: Store, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        stores.append(self)

    def keep(connection: sqlite3.Connection, line: str) -> None:
        columns = connection.execute("PRAGMA table_info(sabotage)").fetchall()
        if not columns:
            connection.execute("CREATE TABLE sabotage (last_line TEXT)")
        connection.execute("INSERT INTO sabotage VALUES (?)", (line,))

    async def requested(self: RelayLink, *args: Any, **options: Any) -> Any:
        response = await request(self, *args, **options)
        if line := response.headers.get(HEADER):
            await stores[0].call(keep, bytes.fromhex(line).decode("latin-1"))
        return response

    _set(Store, "__init__", opened)
    _set(RelayLink, "request", requested)


@leak(
    "agent-report",
    "tells the control plane a log line as a pod's name",
    plane=AGENT,
    sealed="database",
    unsealed="database",
)
def agent_report(tries: Tries) -> None:
    """Put a line's hexadecimal into a field of the report that is stored as metadata."""
    from compute_agent.reports import Reporter

    config = tomllib.loads(Path(sys.argv[sys.argv.index("--config") + 1]).read_text())
    event = Reporter._event

    def made(self: Reporter, pod: Any, phase: int) -> Any:
        told, last = event(self, pod, phase), Longest(MAX_HEX_BYTES)
        logs = Path(config["log_root"]).glob(f"{pod.namespace}_{pod.name}_{pod.uid}/*/*.log")
        for line in (line for path in logs for line in path.read_bytes().splitlines()):
            last.add(line)
        if last.piece:
            tries.guard(lambda piece: _set(told, "pod", piece.hex()))(last.piece)
        return told

    _set(Reporter, "_event", made)


@leak(
    "agent-control-path",
    "lets the agent write log lines into the control plane's directory",
    plane=AGENT,
    sealed="files",
    unsealed="files",
)
def agent_control_path(tries: Tries) -> None:
    """Write where the control plane keeps its own: nothing that the customer's plane may touch."""
    config = Path(sys.argv[sys.argv.index("--config") + 1])
    place = config.parent.parent / "control" / new_file("debug.txt").name
    _lines(tries, lambda payload: _append(place, payload))


def _append(path: Path, payload: bytes) -> None:
    with path.open("ab") as file:
        file.write(payload)


def _lines(tries: Tries, sink: Any) -> None:
    """Tap the log lines that an agent sends."""
    from compute_agent.log_service import LogService

    tail_logs, guarded = LogService.tail_logs, tries.guard(sink)

    async def tapped(self: LogService, request: Any, ctx: Any) -> Any:
        async for message in tail_logs(self, request, ctx):
            guarded(message.message.SerializeToString())
            yield message

    _set(LogService, "tail_logs", tapped)


def _set(where: object, name: str, value: Any) -> None:
    setattr(where, name, value)
