"""OAuth2 client credentials (RFC 6749, 4.4): a bearer token, fetched when needed, never stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import httpx
import trio

from planesplit.connect_client import ConnectError

FRESH_FRACTION = 0.5  # renewed at half of its life: time enough for many retries
TIMEOUT_S = 10.0


class Token(NamedTuple):
    """A token and its life in seconds."""

    value: str
    life_s: float


class Tokens:
    """Fetches tokens for one client; callable as a `TokenSource`.

    Args:
        http: client that trusts the control plane's CA.
        control_url: base URL of the control plane.
        client_id, secret_file: the client and where its secret is; read anew at each fetch.
        scope: asked for; empty for the client's own kind.
        parameters: returns further ones of the request, asked at each fetch.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        control_url: str,
        client_id: str,
        secret_file: Path,
        *,
        scope: str = "",
        parameters: Callable[[], Mapping[str, str]] = dict,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._http, self._url = http, f"{control_url}/oauth2/token"
        self._client_id, self._secret_file, self._scope = client_id, secret_file, scope
        self._clock, self._parameters = clock, parameters
        self._lock = trio.Lock()  # many tails that start at once fetch one token
        self._token = ""
        self._renew_at = 0.0

    async def __call__(self) -> str:
        """Return a token that is good for at least half of its life.

        Raises:
            ConnectError: `unauthenticated` if the secret is refused, `unavailable` without answer.
        """
        async with self._lock:
            if self._clock() >= self._renew_at:
                began = self._clock()
                token = await self.fetch()
                self._token = token.value
                self._renew_at = began + token.life_s * FRESH_FRACTION
            return self._token

    async def fetch(self) -> Token:
        """Fetch a new token.

        Raises:
            ConnectError: see `__call__`.
        """
        form = {"grant_type": "client_credentials", **self._parameters()}
        if self._scope:
            form["scope"] = self._scope
        secret = self._secret_file.read_text(encoding="utf-8").strip()
        try:
            response = await self._http.post(
                self._url, data=form, auth=(self._client_id, secret), timeout=TIMEOUT_S
            )
        except httpx.HTTPError as error:
            raise ConnectError("unavailable", f"no token ({type(error).__name__})") from None
        if response.status_code != httpx.codes.OK:
            code = "unauthenticated" if response.status_code < 429 else "unavailable"
            raise ConnectError(code, f"the token endpoint answered {response.status_code}")
        try:
            grant = response.json()
            return Token(str(grant["access_token"]), float(grant["expires_in"]))
        except (ValueError, KeyError, TypeError):
            raise ConnectError("internal", "the token endpoint's answer has no token") from None
