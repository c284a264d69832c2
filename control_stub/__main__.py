"""The control plane as a process."""

from __future__ import annotations

import contextlib
import signal
import ssl
import sys
from collections.abc import Mapping
from typing import Any

import trio

from control_stub.app import ControlPlane, control_plane, read_secrets
from control_stub.settings import ControlSettings, load_settings
from tunnel import process
from tunnel.handover import hand_over_memory
from tunnel.http.listening import listener_context
from tunnel.http.server import HttpServer, open_listener
from tunnel.journal import Journal, tame_loggers

PURPOSE = "Control plane: public API, token issuer, metadata store; dials the relay."
UNUSABLE_EXIT = 3


def start(table: dict[str, Any]) -> int:
    """Run a control plane until it is signalled; return the exit code."""
    tame_loggers()
    settings = load_settings(table)
    secrets = read_secrets(settings)
    context = _context(settings)
    try:
        hand_over_memory(settings.prover_fd)
        return trio.run(_serve, settings, secrets, context)
    except OSError as error:
        sys.stderr.write(
            f"control_stub: cannot listen on {settings.host}:{settings.port} or use "
            f"'{settings.db_file}': {error.strerror}\n"
        )
        return UNUSABLE_EXIT


def _context(settings: ControlSettings) -> ssl.SSLContext | None:
    if settings.insecure or settings.tls is None:
        return None
    return listener_context(settings.tls.cert_file, settings.tls.key_file)


async def _serve(
    settings: ControlSettings, secrets: Mapping[str, str], context: ssl.SSLContext | None
) -> int:
    listener = await open_listener(settings.host, settings.port)
    port = listener.socket.getsockname()[1]
    scheme = "http" if context is None else "https"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = settings.public_url.rstrip("/") or f"{scheme}://{host}:{port}"
    journal = Journal("control_stub")
    async with control_plane(settings, secrets, url, journal=journal) as plane:
        server = HttpServer(plane.asgi, settings.http, context, journal)
        stopping = trio.Event()
        async with trio.open_nursery() as background:
            await background.start(_rotate_at_hangup, plane)
            async with trio.open_nursery() as nursery:
                await nursery.start(server.serve, listener, stopping)
                nursery.start_soon(_announce, port)  # runs when the signals are already watched
                await process.until_signalled()
                journal.event("stopping")
                stopping.set()
            background.cancel_scope.cancel()
    return 0


async def _rotate_at_hangup(plane: ControlPlane, *, task_status: trio.TaskStatus[None]) -> None:
    """Make another signing key at every SIGHUP."""
    with trio.open_signal_receiver(signal.SIGHUP) as hangups:
        task_status.started()
        async for _ in hangups:
            with contextlib.suppress(ValueError):  # too many; the journal says so
                await plane.rotate_keys()


async def _announce(port: int) -> None:
    process.announce(port=port)


if __name__ == "__main__":
    sys.exit(process.main("control_stub", PURPOSE, start))
