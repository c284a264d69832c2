"""The Kubernetes API as the cluster's own parts call it, each under its service account."""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx

from kube.client import KubernetesApi
from kube.settings import ClientLimits
from tunnel.settings import SettingError
from tunnel.tls import client_context
from tunnel.token import TokenFile


@dataclass(frozen=True, slots=True)
class AccountTokens:
    """Who the cluster's own parts are.

    Args:
        files: token file by service account; empty: there are no accounts, and nobody calls.
        ca_file: PEM, of the API's certificate and of the webhook's; empty for plain HTTP.
    """

    files: dict[str, str] = field(default_factory=dict)
    ca_file: str = ""


class Clients:
    """Makes clients of one API.

    Args:
        url: of the API.
        tokens: of the accounts.
        transport: instead of the network, in one process.

    Raises:
        SettingError: the CA file can't be used.
    """

    def __init__(
        self, url: str, tokens: AccountTokens, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._tokens = tokens
        try:
            context = client_context(tokens.ca_file) if tokens.ca_file else None
        except OSError:
            raise SettingError("setting 'accounts.ca_file' must name a PEM file") from None
        self._api = KubernetesApi(url, None, context, ClientLimits(), transport)

    def account(self, name: str) -> KubernetesApi:
        """Return the API as a service account.

        Raises:
            SettingError: it has no token.
        """
        try:
            file = self._tokens.files[name]
        except KeyError:
            raise SettingError(f"setting 'accounts.files' names no token of '{name}'") from None
        return self._api.with_token(TokenFile(file))
