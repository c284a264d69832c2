"""The private directory of one split: who is who, whose secrets, and each plane's configuration."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from planesplit.pki import Authority, Leaf, Renewal
from planesplit.ready import process_started, write_atomically
from planesplit.split.kubernetes_users import write_secret, write_tokens
from planesplit.split.options import DEMO_CLIENT, Client, SplitOptions
from planesplit.split.site import Site
from policy.roles import accounts

PREFIX = "planesplit-"


@contextmanager
def private_directory(keep: Path | None) -> Iterator[Path]:
    """Make a directory that only this user can enter; a temporary one is removed at the end.

    Raises:
        FileExistsError: the directory to keep exists already and is not empty.
    """
    if keep is None:
        remove_orphans(Path(tempfile.gettempdir()))
        owner = f"{os.getpid()}-{process_started(os.getpid())}"
        path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{owner}-"))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)
        return
    keep.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(keep.iterdir()):
        raise FileExistsError(f"'{keep}' is not empty; name a new directory to keep")
    keep.chmod(0o700)
    yield keep.absolute()


def remove_orphans(parent: Path) -> None:
    """Remove the directories of this user's splits whose supervisor was killed (SIGKILL)."""
    for path in parent.glob(f"{PREFIX}*-*-*"):
        pid, started, _ = path.name.removeprefix(PREFIX).split("-", 2)
        with suppress(OSError):
            ours = path.lstat().st_uid == os.getuid() and not path.is_symlink()
            known = pid.isdecimal() and started.isdecimal()
            if ours and known and process_started(int(pid)) != int(started):
                shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Identities:
    """Certificates of the vendor's planes; absent when insecure."""

    ca_file: Path
    relay: Leaf
    control: Leaf
    control_client: Leaf
    kube: Leaf


class Directory:
    """Lays out a split's files below `path`, mode 0600, and names them.

    Attributes:
        sites: what belongs to each cluster, by its name.
        kubernetes_tokens: of the control plane's own cluster, for its API server.
        kubernetes_accounts: token files of that API's users, by account.

    Args:
        path: the private directory, empty.
        options: of the split.
    """

    def __init__(self, path: Path, options: SplitOptions) -> None:
        self.path, self._options = path, options
        for name in ("secrets", "config", "control", "clusters"):
            (path / name).mkdir(mode=0o700)
        self.authority = authority = None if options.insecure else Authority(path / "pki")
        self.identities = self._issue(authority) if authority else None
        secrets = path / "secrets"
        self.kubernetes_tokens = secrets / "kubernetes-tokens.csv"
        self.kubernetes_accounts = write_tokens(
            secrets, self.kubernetes_tokens, accounts("control")
        )
        self.clients = self._clients()
        for client in self.clients:
            write_secret(self.secret_file(client.client_id))
        org, address = options.place.org, options.customer.address
        self.sites = {
            name: Site(path / "clusters" / name, org, name, authority, address)
            for name in options.all_clusters
        }

    @property
    def home(self) -> Site:
        """The first cluster."""
        return self.sites[self._options.place.cluster]

    @property
    def ca_file(self) -> str:
        """The CA, empty when insecure."""
        return str(self.identities.ca_file) if self.identities else ""

    def renew_relay(self) -> None:
        """Put another certificate of the relay in place.

        Raises:
            ValueError: there are none: insecure.
        """
        if self.authority is None:
            raise ValueError("this split is insecure: there are no certificates to rotate")
        self.authority.renew_server("relay", self._options.vendor.addresses).install()

    def renew_control(self) -> None:
        """Put another client certificate of the control plane in place, for it and the relay.

        Raises:
            ValueError: there are none: insecure.
        """
        if self.authority is None:
            raise ValueError("this split is insecure: there are no certificates to revoke")
        self.authority.renew_control().install()

    def renew_agent(self, cluster: str) -> Renewal:
        """Make another certificate of a cluster's agent.

        Raises:
            ValueError: there are none: insecure.
        """
        if self.authority is None:
            raise ValueError("this split is insecure: there are no certificates to rotate")
        return self.authority.renew_agent(self._options.place.org, cluster)

    def secret_file(self, name: str) -> Path:
        """Return where a client's secret is kept."""
        return self.path / "secrets" / name

    def write_config(self, plane: str, table: Mapping[str, Any]) -> Path:
        """Write a plane's configuration, with the caller's settings merged in."""
        path = self.path / "config" / f"{plane}.toml"
        write_atomically(path, tomli_w.dumps(self.merged(plane, table)))
        return path

    def merged(self, plane: str, table: Mapping[str, Any]) -> dict[str, Any]:
        """Return a plane's table with the caller's settings laid over it."""
        return merge(table, self._options.settings.get(plane, {}))

    def _issue(self, authority: Authority) -> Identities:
        hosts = self._options.vendor.addresses
        return Identities(
            ca_file=authority.ca_file,
            relay=authority.server("relay", hosts),
            control=authority.server("control_stub", hosts),
            control_client=authority.control(),
            kube=authority.server("kube", hosts),
        )

    def _clients(self) -> tuple[Client, ...]:
        demo = Client(DEMO_CLIENT, self._options.place.org, "Admin")
        return (demo, *self._options.clients)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` laid over it; tables are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        match merged.get(key), value:
            case Mapping() as old, Mapping() as new:
                merged[key] = merge(old, new)
            case _:
                merged[key] = value
    return merged
