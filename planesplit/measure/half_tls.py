"""Our relay with plain viewers: only what its tunnel's TLS costs, as behind a proxy that ends TLS.

`python -m planesplit.measure.half_tls --config FILE` is `python -m relay --config FILE` otherwise.
The product has no such setting: a viewer's token must not travel in the clear.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import relay.server
from relay.__main__ import PURPOSE, start
from relay.settings import TlsFiles
from tunnel.journal import tame_loggers
from tunnel.process import main

_contexts = relay.server._contexts


def _without_viewers(files: TlsFiles | None) -> relay.server.Contexts:
    return replace(_contexts(files), viewer=None)


if __name__ == "__main__":
    tame_loggers()
    relay.server._contexts = _without_viewers
    sys.exit(main("relay", PURPOSE, start))
