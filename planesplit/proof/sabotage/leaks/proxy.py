"""A buffering reverse proxy before the relay, as nginx is by default; no seal reaches it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import tomli_w

from planesplit.proof.sabotage.catalogue import leak
from planesplit.proof.sabotage.tries import Tries

MODULE = "planesplit.proof.sabotage.spooling_proxy"
BACKLOG = 128


@leak(
    "spooling-proxy",
    "puts a reverse proxy before the relay that spools answers to temporary files (nginx's way)",
    sealed="sockets, files",
    unsealed="sockets, files",
)
def spooling_proxy(_tries: Tries) -> None:
    """Move the relay's viewer listener elsewhere and let a proxy listen in its place."""
    config = Path(sys.argv[sys.argv.index("--config") + 1])
    table = tomllib.loads(config.read_text())
    listener = socket.create_server(
        (table.get("host", "127.0.0.1"), table.get("viewer_port", 0)), backlog=BACKLOG
    )
    config.write_text(tomli_w.dumps({**table, "viewer_port": 0}))
    pipe = _start(listener, table.get("tls", {}))
    port = listener.getsockname()[1]
    listener.close()
    _announce_as(port, pipe)


def _start(listener: socket.socket, tls: dict[str, Any]) -> int:
    """Start the proxy as nobody's child; returns the pipe that it reads until we are gone."""
    reading, writing = os.pipe()
    command = [sys.executable, "-P", "-m", MODULE, str(listener.fileno()), json.dumps(tls)]
    subprocess.run(  # noqa: S603 - our own module; it forks and returns
        command, stdin=reading, stdout=subprocess.DEVNULL, pass_fds=[listener.fileno()], check=True
    )
    os.close(reading)
    return writing


def _announce_as(port: int, pipe: int) -> None:
    """Tell the proxy the relay's port, and everybody else the proxy's."""
    from tunnel import process

    announce = process.announce

    def announced(**fields: Any) -> None:
        os.write(pipe, f"{fields['viewer_port']}\n".encode())
        announce(**{**fields, "viewer_port": port})

    process.announce = announced
    from relay import server

    server.announce = announced  # type: ignore[attr-defined]
