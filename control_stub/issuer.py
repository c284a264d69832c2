"""The token issuer: Ed25519 JSON Web Tokens, their keys, and the documents that describe them."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from joserfc import jwk, jwt

from tunnel.verifier import (
    ALGORITHM,
    CONTROL,
    IDENTITY,
    TUNNEL,
    VIEWER,
    Kind,
    TokenInvalid,
    Verifier,
    import_keys,
)

VIEWER_AUDIENCE = VIEWER.audience
TUNNEL_SCOPE = "tunnel"
VIEWER_SCOPE = "all"
ASKED_S = 60  # life of what the control plane asks an agent: one call, tried once


class TokenRefused(Exception):
    """The token is not ours, not for us, expired or malformed."""


class Claims(NamedTuple):
    """What a verified viewer token says."""

    subject: str
    org: str
    issued_at: int
    expires_at: int


class Issuer:
    """Issues and verifies tokens.

    Args:
        url: `iss` of every token; also where the endpoints are.
        keys: private JWKs as JSON, at least one; the last one signs.
        token_s: life of a token, seconds.
        clock: seconds since the epoch.
    """

    def __init__(
        self, url: str, keys: list[str], *, token_s: int, clock: Callable[[], float]
    ) -> None:
        self.url = url
        self.token_s = token_s
        self._clock = clock
        self._verifier = Verifier()
        self._texts: list[str] = []
        self._signing = -1
        self.use(keys, -1)

    def use(self, keys: list[str], signing: int) -> bool:
        """Use other keys; returns whether they are others.

        Args:
            keys: private JWKs as JSON.
            signing: index of the one that signs.
        """
        if (keys, signing % len(keys)) == (self._texts, self._signing):
            return False
        self._texts, self._signing = list(keys), signing % len(keys)
        self._keys = [jwk.OKPKey.import_key(json.loads(key)) for key in keys]
        self._public = import_keys(self.jwks())
        return True

    @staticmethod
    def new_key() -> tuple[str, str]:
        """Make a key; return its id and its private JWK as JSON."""
        key = jwk.OKPKey.generate_key(
            "Ed25519", parameters={"use": "sig", "alg": ALGORITHM}, auto_kid=True
        )
        return str(key.kid), json.dumps(key.as_dict(private=True))

    def viewer_token(self, subject: str, org: str) -> str:
        """Sign a token for the public API and the relay's viewers.

        It carries who the viewer is as a second token, good for agents and nobody else: the relay
        hands on that one, and an agent that has it can call nobody with it.
        """
        identity = self._sign(IDENTITY, {"sub": subject, "org": org})
        return self._sign(VIEWER, {"sub": subject, "org": org, "identity": identity})

    def agent_token(self, org: str, cluster: str, thumbprint: str = "") -> str:
        """Sign a token for a cluster's tunnel.

        Args:
            thumbprint: of the one certificate with which it is good (RFC 8705, 3.1).
        """
        subject = f"agent:{org}/{cluster}"
        bound = {"cnf": {"x5t#S256": thumbprint}} if thumbprint else {}
        return self._sign(TUNNEL, {"sub": subject, "org": org, "cluster": cluster, **bound})

    def asked(self, org: str, cluster: str, path: str, body: bytes, start: str = "") -> str:
        """Sign what we ask of an agent, so that the relay can ask nothing in our name.

        Args:
            path: of the RPC.
            body: of the request, as it is sent.
            start: which start of the agent it is for; another one has not seen what was used.
        """
        said = {"sub": "control", "org": org, "cluster": cluster, "path": path, "start": start}
        digest = hashlib.sha256(body).hexdigest()
        return self._sign(CONTROL, {**said, "body": digest}, life_s=ASKED_S)

    def verify(self, token: str) -> Claims:
        """Return what a viewer's token says.

        Raises:
            TokenRefused: for every reason alike.
        """
        try:
            claims = self._verifier.verify(token, self._public, VIEWER, self.url, self._clock())
        except TokenInvalid:
            raise TokenRefused from None
        return Claims(claims["sub"], claims["org"], claims["iat"], claims["exp"])

    def jwks(self) -> dict[str, Any]:
        """Return the public keys (RFC 7517)."""
        return {"keys": [dict(key.as_dict(private=False)) for key in self._keys]}

    def metadata(self) -> dict[str, Any]:
        """Return the server's metadata (RFC 8414 and OpenID Connect Discovery)."""
        return {
            "issuer": self.url,
            "token_endpoint": f"{self.url}/oauth2/token",
            "jwks_uri": f"{self.url}/.well-known/jwks.json",
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "scopes_supported": [VIEWER_SCOPE, TUNNEL_SCOPE],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }

    def _sign(self, kind: Kind, claims: Mapping[str, Any], life_s: int = 0) -> str:
        now = int(self._clock())
        key = self._keys[self._signing]
        body = {
            "iss": self.url,
            "aud": kind.audience,
            "iat": now,
            "exp": now + (life_s or self.token_s),
            "jti": secrets.token_urlsafe(16),
            **claims,
        }
        header = {"alg": ALGORITHM, "kid": key.kid, "typ": kind.type}
        return jwt.encode(header, body, key, algorithms=[ALGORITHM])
