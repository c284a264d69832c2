"""`python -m kube --config FILE`: the control plane's own Kubernetes API as a process."""

from __future__ import annotations

import ssl
import sys
import time
from functools import partial
from typing import Any

import trio

from kube.server.alone import control_api
from kube.server.api import KubernetesApp
from kube.server.tokens import read_tokens
from kube.settings import KubeSettings
from tunnel.http.listening import listener_context
from tunnel.http.server import HttpServer, open_listener
from tunnel.journal import Journal, tame_loggers
from tunnel.process import announce, main, until_signalled
from tunnel.settings import load

PURPOSE = "The control plane's own Kubernetes API: its roles, and objects of its parts."
UNUSABLE_EXIT = 3


def start(config: dict[str, Any]) -> int:
    """Run the process to its end and return the exit code.

    Raises:
        SettingError: the configuration can't be used.
    """
    tame_loggers()
    settings = load(KubeSettings, config).check()
    journal = Journal("kube")
    app = control_api(settings, read_tokens(settings.token_file), journal, time.time_ns)
    try:
        trio.run(_run, settings, app, journal)
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        sys.stderr.write(f"kube: cannot listen on {where}: {error.strerror}\n")
        return UNUSABLE_EXIT
    return 0


async def _run(settings: KubeSettings, app: KubernetesApp, journal: Journal) -> None:
    listener = await open_listener(settings.host, settings.port)
    port = int(listener.socket.getsockname()[1])
    served: Any = app
    server = HttpServer(served, settings.http, _context(settings), journal, store=True)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.serve, listener, trio.Event()))
        announce(port=port)
        journal.event("stopping", signal=await until_signalled())
        nursery.cancel_scope.cancel()


def _context(settings: KubeSettings) -> ssl.SSLContext | None:
    if settings.insecure or settings.tls is None:
        return None
    return listener_context(settings.tls.cert_file, settings.tls.key_file)


if __name__ == "__main__":
    sys.exit(main("kube", PURPOSE, start))
