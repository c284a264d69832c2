"""OpenSSH's reverse tunnel (`ssh -R`, aes128-gcm) as a relay to a target on loopback.

`python -m planesplit.measure.openssh TARGET_PORT DIRECTORY` makes throw-away keys, runs an sshd of
its own for one connection (`sshd -i`, so that no port is chosen beforehand), lets `ssh -R` open the
tunnel, and announces the port on which sshd listens for it. Nobody's ~/.ssh is read or written.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tunnel.process import announce

CIPHER = "aes128-gcm@openssh.com"
ORDINARY_USER = "nobody"  # for root: sshd needs no privilege to admit the user that it runs as
DEBIAN_SSHD = "/usr/sbin/sshd"  # not on an ordinary user's PATH
ACCEPT_S = 10.0
_ALLOCATED = re.compile(r"Allocated port (\d+) for remote forward")
_PR_SET_PDEATHSIG = 1
# PAM: an sshd without privilege takes an account whose shadow entry it cannot read for locked.
SSHD_CONFIG = """\
HostKey {directory}/host
AuthorizedKeysFile {directory}/user.pub
PidFile none
StrictModes no
UsePAM yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PubkeyAuthentication yes
AllowTcpForwarding yes
Compression no
Ciphers {cipher}
LogLevel ERROR
"""


def find_sshd() -> str | None:
    """Return the path of the server, None if there is none; it insists on being run by its path."""
    return shutil.which("sshd") or shutil.which(DEBIAN_SSHD)


def missing() -> str:
    """Say why it cannot be measured here, "" if it can."""
    if not find_sshd():
        return "sshd is not installed (Debian package openssh-server)"
    if not (shutil.which("ssh") and shutil.which("ssh-keygen")):
        return "ssh is not installed (Debian package openssh-client)"
    return ""


def version() -> str:
    """Return what `ssh -V` says, "" without it."""
    if missing():
        return ""
    said = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=False)  # noqa: S607
    return said.stderr.strip().partition(",")[0]


@dataclass(frozen=True, slots=True)
class Account:
    """Whom ssh and sshd run as: this user, or an ordinary one for root."""

    name: str
    uid: int
    gid: int

    @classmethod
    def ordinary(cls) -> Account:
        """Return the account."""
        uid = os.geteuid()
        user = pwd.getpwuid(uid) if uid else pwd.getpwnam(ORDINARY_USER)
        return cls(user.pw_name, user.pw_uid, user.pw_gid)

    @property
    def options(self) -> dict[str, Any]:
        """Keywords for Popen."""
        if os.geteuid() == self.uid:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": ()}

    def own(self, directory: Path) -> Path:
        """Return a directory of the account's own in another one."""
        own = directory / f"openssh-{os.getpid()}"
        own.mkdir(mode=0o700)
        if self.options:
            directory.chmod(0o711)  # the account may pass through, and list nothing
            os.chown(own, self.uid, self.gid)
        return own


def serve(target_port: int, directory: Path) -> None:
    """Open the tunnel, announce it, and wait until it ends."""
    if reason := missing():
        sys.exit(reason)
    account = Account.ordinary()
    own = account.own(directory)
    config = own / "sshd_config"
    config.write_text(SSHD_CONFIG.format(directory=own, cipher=CIPHER), encoding="ascii")
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(own / name)]
        subprocess.run(  # noqa: S603 - a fixed command
            command, check=True, stdin=subprocess.DEVNULL, **account.options
        )
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        listener.settimeout(ACCEPT_S)
        client = _start_client(account, own, listener.getsockname()[1], target_port)
        connection, _ = listener.accept()
    with connection:
        connection.settimeout(None)
        server = _start_server(account, connection, config)
    assert client.stderr
    port = _allocated(client.stderr)
    announce(port=port, relay_pid=_forwarding(server.pid), agent_pid=client.pid)
    sys.exit(client.wait() or server.wait())


def _start_client(
    account: Account, own: Path, port: int, target_port: int
) -> subprocess.Popen[str]:
    options = {
        "BatchMode": "yes",
        "Ciphers": CIPHER,
        "Compression": "no",
        "ExitOnForwardFailure": "yes",
        "GlobalKnownHostsFile": "/dev/null",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "StrictHostKeyChecking": "no",  # its key was made a moment ago, on this machine
        "UserKnownHostsFile": "/dev/null",
    }
    command = ["ssh", "-F", "none", "-N", "-i", str(own / "user"), "-p", str(port)]
    for name, value in options.items():
        command += ["-o", f"{name}={value}"]
    command += ["-R", f"127.0.0.1:0:127.0.0.1:{target_port}", f"{account.name}@127.0.0.1"]
    return subprocess.Popen(  # noqa: S603 - a fixed command
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_die_with_parent,
        **account.options,
    )


def _start_server(
    account: Account, connection: socket.socket, config: Path
) -> subprocess.Popen[bytes]:
    binary = find_sshd()
    assert binary
    command = [binary, "-i", "-e", "-f", str(config)]
    return subprocess.Popen(  # noqa: S603 - a fixed command
        command,
        stdin=connection.fileno(),
        stdout=connection.fileno(),
        preexec_fn=_die_with_parent,
        **account.options,
    )


def _allocated(stream: IO[str]) -> int:
    """Return the port that sshd listens on for the tunnel; what else ssh says is passed on."""
    for line in stream:
        if found := _ALLOCATED.search(line):
            return int(found[1])
        sys.stderr.write(line)
    sys.exit("ssh ended without a tunnel")


def _forwarding(server_pid: int) -> int:
    """Return the process that forwards: sshd's unprivileged child, if it has made one."""
    children = Path(f"/proc/{server_pid}/task/{server_pid}/children").read_text(encoding="ascii")
    return int([str(server_pid), *children.split()][-1])


def _die_with_parent() -> None:  # runs in the child: a system call, no import, no lock
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


_prctl = ctypes.CDLL(None).prctl

if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
