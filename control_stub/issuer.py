"""The token issuer: Ed25519 JSON Web Tokens, their keys, and the documents that describe them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from joserfc import jwk, jwt
from joserfc.errors import JoseError

ALGORITHM = "Ed25519"  # RFC 9864; joserfc calls the older name EdDSA deprecated
VIEWER_AUDIENCE = "planesplit"
TUNNEL_AUDIENCE = "planesplit-tunnel"
TUNNEL_SCOPE = "tunnel"
VIEWER_SCOPE = "all"
CLOCK_SKEW_S = 5  # between our own processes on one machine or one network
MAX_TOKEN_BYTES = 4096


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
        keys: private JWKs as JSON, oldest first; the newest signs. None to make one.
        token_s: life of a token, seconds.
        clock: seconds since the epoch.
    """

    def __init__(
        self, url: str, keys: list[str], *, token_s: int, clock: Callable[[], float]
    ) -> None:
        self.url = url
        self.token_s = token_s
        self._clock = clock
        self._keys = [jwk.OKPKey.import_key(json.loads(key)) for key in keys]
        self._key_set = jwk.KeySet(list(self._keys))

    @staticmethod
    def new_key() -> tuple[str, str]:
        """Make a key; return its id and its private JWK as JSON."""
        key = jwk.OKPKey.generate_key(
            "Ed25519", parameters={"use": "sig", "alg": ALGORITHM}, auto_kid=True
        )
        return str(key.kid), json.dumps(key.as_dict(private=True))

    def viewer_token(self, subject: str, org: str) -> str:
        """Sign a token for the public API and the relay's viewers."""
        return self._sign({"sub": subject, "aud": VIEWER_AUDIENCE, "org": org})

    def agent_token(self, org: str, cluster: str) -> str:
        """Sign a token for a cluster's tunnel."""
        subject = f"agent:{org}/{cluster}"
        return self._sign({"sub": subject, "aud": TUNNEL_AUDIENCE, "org": org, "cluster": cluster})

    def verify(self, token: str) -> Claims:
        """Return what a viewer's token says.

        Raises:
            TokenRefused: for every reason alike.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise TokenRefused
        try:
            claims = jwt.decode(token, self._key_set, algorithms=[ALGORITHM]).claims
            self._registry().validate(claims)
        except (JoseError, ValueError):
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

    def _sign(self, claims: Mapping[str, Any]) -> str:
        now = int(self._clock())
        key = self._keys[-1]
        body = {
            "iss": self.url,
            "iat": now,
            "exp": now + self.token_s,
            "jti": secrets.token_urlsafe(16),
            **claims,
        }
        return jwt.encode({"alg": ALGORITHM, "kid": key.kid}, body, key, algorithms=[ALGORITHM])

    def _registry(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=int(self._clock()),
            leeway=CLOCK_SKEW_S,
            iss={"essential": True, "value": self.url},
            aud={"essential": True, "value": VIEWER_AUDIENCE},
            sub={"essential": True},
            org={"essential": True},
            iat={"essential": True},
            exp={"essential": True},
        )
