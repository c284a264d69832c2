"""One cluster's part of the private directory: the customer's data, secrets and certificates."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trio

from planesplit.pki import Authority, Leaf
from planesplit.split.kubernetes_users import write_secret, write_tokens
from policy.iam import iam_accounts
from policy.roles import accounts
from tunnel.peer import file_thumbprint

THUMBPRINT = "x5t#S256"  # RFC 8705, 3.1
ACCESS_KEY_BYTES = 8

CLICKHOUSE_USERS = {"agent": True, "collector": False}  # name -> read-only


@dataclass(frozen=True, slots=True)
class StoreKey:
    """Credentials of a service account at the object store."""

    access_key: str
    secret_file: Path


@dataclass(frozen=True, slots=True)
class SiteLeaves:
    """Certificates of a cluster; absent when insecure."""

    customer: Leaf
    agent: Leaf


class Site:
    """Lays out one cluster's files, mode 0600, and names them.

    Attributes:
        kubernetes_accounts: token files of the Kubernetes API's users, by account.

    Args:
        path: the cluster's directory, made here.
        org, cluster: whose it is.
        authority: issues its certificates; None when insecure.
        address: what its servers are reached at.
    """

    def __init__(
        self, path: Path, org: str, cluster: str, authority: Authority | None, address: str
    ) -> None:
        self.path, self.cluster = path, cluster
        path.mkdir(mode=0o700)
        for name in ("secrets", "logs", "data", "agent", "clickhouse"):
            (path / name).mkdir(mode=0o700)
        self.leaves = None
        if authority:
            servers = authority.server(f"customer-{cluster}", (address,))
            self.leaves = SiteLeaves(servers, authority.agent(org, cluster))
        self.agent_client = f"agent-{cluster}"
        self.token_lock = trio.Lock()  # a token belongs to the certificate that is in place
        write_secret(self.secret_file(self.agent_client))
        self.kubernetes_accounts = write_tokens(
            path / "secrets", self.kubernetes_tokens, accounts("compute")
        )
        for user in CLICKHOUSE_USERS:
            write_secret(self.secret_file(f"clickhouse-{user}"))
        self.store_keys: Mapping[str, StoreKey] = {
            account: self._store_key(account) for account in iam_accounts()
        }

    @property
    def log_root(self) -> Path:
        """The nodes' pod logs."""
        return self.path / "logs"

    @property
    def data_root(self) -> Path:
        """Objects, registry and unpacked images."""
        return self.path / "data"

    @property
    def state_dir(self) -> Path:
        """What the agent keeps: an index of log offsets."""
        return self.path / "agent"

    @property
    def agent_token(self) -> Path:
        """The tunnel's token, kept fresh by the customer's operator."""
        return self.path / "agent" / "token"

    @property
    def issuer_file(self) -> Path:
        """Whose signatures the agent believes, kept fresh by the customer's operator."""
        return self.path / "agent" / "issuer.json"

    def binding(self) -> dict[str, str]:
        """Return the token request's parameter that binds it to the agent's certificate of now."""
        assert self.leaves is not None
        return {THUMBPRINT: file_thumbprint(self.leaves.agent.cert_file)}

    @property
    def kubernetes_tokens(self) -> Path:
        """The customer's static token file."""
        return self.secret_file("kubernetes-tokens.csv")

    def secret_file(self, name: str) -> Path:
        """Return where a secret of this cluster is kept."""
        return self.path / "secrets" / name

    def _store_key(self, account: str) -> StoreKey:
        file = self.secret_file(f"objects-{account}")
        write_secret(file)
        return StoreKey(f"PS{secrets.token_hex(ACCESS_KEY_BYTES).upper()}", file)
