"""HAProxy in TCP mode as a relay between a port of its own and a target on loopback.

`python -m planesplit.measure.haproxy TARGET_PORT DIRECTORY` opens the listening socket, announces
its port and becomes HAProxy, which takes the socket over: no port is chosen beforehand.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from pathlib import Path

from tunnel.process import announce

BACKLOG = 1_024
DEBIAN_PATH = "/usr/sbin/haproxy"  # not on an ordinary user's PATH
CONFIG = """\
global
    nbthread 1
    maxconn 4096
defaults
    mode tcp
    timeout connect 5s
    timeout client 600s
    timeout server 600s
frontend measured
    bind fd@{descriptor}
    default_backend source
backend source
    server source 127.0.0.1:{port}
"""


def find_haproxy() -> str | None:
    """Return the path of the binary, None if there is none."""
    return shutil.which("haproxy") or shutil.which(DEBIAN_PATH)


def become(target_port: int, directory: Path) -> None:
    """Replace this process by HAProxy."""
    binary = find_haproxy()
    if binary is None:
        sys.exit("haproxy is not installed; Debian has it as package haproxy")
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    listener.set_inheritable(True)
    config_file = directory / f"haproxy-{os.getpid()}.cfg"
    text = CONFIG.format(descriptor=listener.fileno(), port=target_port)
    config_file.write_text(text, encoding="ascii")
    announce(port=listener.getsockname()[1])
    os.execv(binary, [binary, "-db", "-q", "-f", str(config_file)])  # noqa: S606 - no shell


if __name__ == "__main__":
    become(int(sys.argv[1]), Path(sys.argv[2]))
