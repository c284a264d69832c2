"""The token endpoint: OAuth 2.0 client credentials (RFC 6749, 4.4)."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Mapping
from urllib.parse import parse_qs

from control_stub import directory, web
from control_stub.client_auth import Buckets, Credentials, basic, hash_secret, verify_secret
from control_stub.directory import App
from control_stub.issuer import TUNNEL_SCOPE, VIEWER_SCOPE, Issuer
from control_stub.policy import Policy
from control_stub.store import Store
from tunnel.journal import Journal
from tunnel.messages.rpc import AsgiReceive, AsgiScope

THUMBPRINT = "x5t#S256"  # parameter: of the certificate that an agent's token is bound to
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
_NO_STORE = {"cache-control": "no-store"}


class TokenEndpoint:
    """Authenticates apps and gives them tokens of their kind."""

    def __init__(
        self, store: Store, issuer: Issuer, policy: Policy, buckets: Buckets, journal: Journal
    ) -> None:
        self._store, self._issuer, self._policy, self._buckets = store, issuer, policy, buckets
        self._journal = journal
        # Verified when a client is unknown, so that its absence takes as long to tell.
        self._nobody = hash_secret(secrets.token_hex())

    async def __call__(self, scope: AsgiScope, receive: AsgiReceive) -> web.Answer:
        """Answer one token request."""
        try:
            form = _form(await web.read_form(receive))
        except (web.BodyTooLarge, ValueError):
            return _error(400, "invalid_request")
        credentials = _credentials(web.header(scope, b"authorization"), form)
        if credentials is None:
            return _error(401, "invalid_client", {"www-authenticate": 'Basic realm="planesplit"'})
        app = await self._store.call(directory.get_app, credentials.client_id)
        if wait_s := self._buckets.take(app.client_id if app else ""):
            self._journal.event("token_throttled", client=app.client_id if app else "unknown")
            return _error(429, "temporarily_unavailable", {"retry-after": str(math.ceil(wait_s))})
        known = verify_secret(credentials.secret, app.hash if app else self._nobody)
        if app is None or not known:
            self._journal.event("token_refused", client=app.client_id if app else "unknown")
            return _error(401, "invalid_client", {"www-authenticate": 'Basic realm="planesplit"'})
        return self._grant(app, form)

    def _grant(self, app: App, form: Mapping[str, str]) -> web.Answer:
        if form.get("grant_type") != "client_credentials":
            return _error(400, "unsupported_grant_type")
        kind = TUNNEL_SCOPE if app.cluster else VIEWER_SCOPE
        if form.get("scope", VIEWER_SCOPE) != kind:
            return _error(400, "invalid_scope")
        subject = f"agent:{app.org}/{app.cluster}" if app.cluster else app.client_id
        if self._policy.is_held(app.org, subject):
            self._journal.event("token_refused", client=app.client_id)
            return _error(400, "unauthorized_client")
        if app.cluster:
            thumbprint = form.get(THUMBPRINT, "")
            if not _THUMBPRINT.fullmatch(thumbprint):
                return _error(400, "invalid_request")
            token = self._issuer.agent_token(app.org, app.cluster, thumbprint)
        else:
            token = self._issuer.viewer_token(app.client_id, app.org)
        self._journal.event("token_issued", client=app.client_id, scope=kind)
        grant = {
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": self._issuer.token_s,
            "scope": kind,
        }
        return 200, grant, _NO_STORE


def _form(text: str) -> dict[str, str]:
    fields = parse_qs(text, keep_blank_values=True, max_num_fields=16)
    if any(len(values) > 1 for values in fields.values()):
        raise ValueError("a parameter is repeated (RFC 6749, 3.2)")
    return {name: values[0] for name, values in fields.items() if values[0]}


def _credentials(authorization: str, form: Mapping[str, str]) -> Credentials | None:
    if authorization:
        return basic(authorization)
    if "client_id" in form and "client_secret" in form:
        return Credentials(form["client_id"], form["client_secret"])
    return None


def _error(status: int, error: str, headers: Mapping[str, str] | None = None) -> web.Answer:
    return status, {"error": error}, {**_NO_STORE, **(headers or {})}
