"""The ready file: everything that a client of a running split needs, and how commands find it.

Secrets are named by file, never contained. A file of a split that has ended is recognised by its
process id together with that process's start time, which the kernel never repeats.
"""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tunnel.settings import load

ENVIRONMENT = "PLANESPLIT_READY"
VERSION = 1


class NoSplit(Exception):
    """There is no running split to talk to; the message says where was looked and what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """The default scope of commands."""

    org: str
    project: str
    domain: str
    cluster: str


@dataclass(frozen=True, slots=True)
class Urls:
    """Base URLs: the control plane's API, the relay for viewers, the relay's health and metrics."""

    control: str
    relay: str
    ops: str


@dataclass(frozen=True, slots=True)
class Credentials:
    """An OAuth2 client: its id, and the file that holds its secret."""

    client_id: str
    client_secret_file: str


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """The customer's own access to one cluster's infrastructure; empty where it has none.

    Args:
        cluster: its name.
        kubernetes, objects, registry, clickhouse: base URLs.
        data: its data endpoint for viewers.
        kubernetes_token_file: token of the customer's operator.
        kubeconfigs: file for kubectl by account: the operator's, and each service account's.
        objects_access_key, objects_secret_file: of a service account that may read the store.
        clickhouse_user, clickhouse_password_file: of a user that may only read.
    """

    cluster: str
    kubernetes: str = ""
    objects: str = ""
    registry: str = ""
    clickhouse: str = ""
    data: str = ""
    kubernetes_token_file: str = ""
    kubeconfigs: dict[str, str] = field(default_factory=dict)
    objects_access_key: str = ""
    objects_secret_file: str = ""
    clickhouse_user: str = ""
    clickhouse_password_file: str = ""


@dataclass(frozen=True, slots=True)
class Flyte:
    """A configuration file for the flyte CLI, and the environment that it needs with it."""

    config: str
    env: dict[str, str]


@dataclass(frozen=True, slots=True)
class Ready:
    """One running split.

    Args:
        pid, pid_started: the supervisor, and its start time in clock ticks since boot.
        directory: the private directory.
        insecure: no TLS, no credentials.
        ca_file: the private CA; empty if insecure.
        credentials: of the default viewer; None if insecure.
        clusters: the customer's side, the first cluster first.
        pids: process id of every plane.
        seal: of the relay, as it told at its start.
        memory: descriptors in the supervisor by plane, if the planes handed their memory over.
        kubernetes: the control plane's own Kubernetes API.
        kubeconfigs: file for kubectl by account there.
        planesplit_ready: where this was written.
    """

    pid: int
    pid_started: int
    directory: str
    insecure: bool
    place: Place
    urls: Urls
    flyte: Flyte
    pids: dict[str, int]
    ca_file: str = ""
    credentials: Credentials | None = None
    clusters: tuple[ClusterAccess, ...] = ()
    seal: str = ""
    memory: dict[str, tuple[int, ...]] = field(default_factory=dict)
    kubernetes: str = ""
    kubeconfigs: dict[str, str] = field(default_factory=dict)
    planesplit_ready: str = ""
    version: int = VERSION

    def write(self, path: Path) -> Ready:
        """Write to a file atomically, mode 0600; return what was written.

        Raises:
            OSError: the directory is missing or not writable.
        """
        written = dataclasses.replace(self, planesplit_ready=str(path.absolute()))
        write_atomically(path, json.dumps(dataclasses.asdict(written), indent=2) + "\n")
        return written

    @classmethod
    def read(cls, path: Path) -> Ready:
        """Read a ready file of a split that runs.

        Raises:
            NoSplit: no such file, not a ready file, or its split has ended.
        """
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            ready = load(cls, {key: value for key, value in table.items() if value is not None})
        except OSError as error:
            raise NoSplit(f"cannot read ready file '{path}': {error.strerror}") from None
        except (ValueError, TypeError, AttributeError):
            raise NoSplit(f"'{path}' is not a ready file") from None
        if ready.version != VERSION:
            raise NoSplit(f"'{path}' has version {ready.version}; this is version {VERSION}")
        if process_started(ready.pid) != (ready.pid_started or None):
            raise NoSplit(f"the split of '{path}' (pid {ready.pid}) has ended")
        return ready


def find(explicit: Path | None = None, environment: Mapping[str, str] = os.environ) -> Ready:
    """Find the split to talk to: the file given, else PLANESPLIT_READY, else the latest `up`.

    Raises:
        NoSplit: none of them leads to a running split.
    """
    if explicit:
        return Ready.read(explicit)
    if named := environment.get(ENVIRONMENT):
        return Ready.read(Path(named))
    for entry in sorted(_entries(runtime_directory(environment)), reverse=True):
        with suppress(NoSplit, OSError):
            return Ready.read(Path(os.readlink(entry[1])))
    raise NoSplit(
        "no running split was found; start one with 'planesplit up', or name its ready file by "
        f"--ready-file or {ENVIRONMENT}"
    )


@contextmanager
def registered(path: Path, environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Make a ready file the latest one for this user, until the context ends.

    Raises:
        NoSplit: the runtime directory is not private to this user.
    """
    directory = runtime_directory(environment)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_private(directory)
    _forget_ended(directory)
    link = directory / f"{os.getpid()}.json"
    link.unlink(missing_ok=True)
    link.symlink_to(path.absolute())
    try:
        yield
    finally:
        link.unlink(missing_ok=True)


def runtime_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Where `up` registers itself: below XDG_RUNTIME_DIR, or in the temporary directory."""
    if base := environment.get("XDG_RUNTIME_DIR"):
        return Path(base) / "planesplit"
    return Path(tempfile.gettempdir()) / f"planesplit-{os.getuid()}"


def process_started(pid: int) -> int:
    """Return a process's start time in clock ticks since boot (proc(5), field 22); 0 if none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


def check_private(directory: Path) -> None:
    """Refuse a directory that others own or can write to.

    Raises:
        NoSplit: naming the directory and the remedy.
    """
    status = directory.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or mode & 0o077:
        raise NoSplit(f"'{directory}' is not a directory private to you; remove it and try again")


def write_atomically(path: Path, text: str) -> None:
    """Replace a file as a whole, mode 0600, so that no reader sees half of it.

    Raises:
        OSError: the directory is missing or not writable.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _entries(directory: Path) -> Iterator[tuple[int, Path]]:
    """Registered ready files with the time of registration; none unless the directory is ours."""
    with suppress(OSError, NoSplit):
        check_private(directory)
        for link in directory.glob("*.json"):
            with suppress(OSError):
                yield link.lstat().st_mtime_ns, link


def _forget_ended(directory: Path) -> None:
    for _, link in _entries(directory):
        try:
            Ready.read(Path(os.readlink(link)))
        except (NoSplit, OSError):
            link.unlink(missing_ok=True)
