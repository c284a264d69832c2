"""Verifies the issuer's tokens: JWTs (RFC 7519) by Ed25519 (RFC 8037, RFC 9864), strictly.

One verifier for relay, agent and control plane. Everything that a token's header could choose is
pinned here (RFC 8725): algorithm, type, and that there is nothing else. The type keeps the kinds
apart, so that none is good in another's place, whatever its claims say.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import GuestProtocol, OKPKey

ALGORITHM = "Ed25519"  # RFC 9864; joserfc calls the older name EdDSA deprecated
CLOCK_SKEW_S = 5  # between machines that keep time
MAX_TOKEN_BYTES = 4096  # a viewer's has about 1,000 bytes, all others half of that
MAX_KEYS = 16  # an issuer has two while it rotates
MAX_CACHED = 512  # tokens whose signature need not be checked again; 60 KiB

# What is made of a token; a viewer's holds his identity too, which is not kept.
USED = frozenset({"sub", "org", "iat", "exp", "jti", "cluster", "cnf", "path", "body", "start"})

Keys = Mapping[str, OKPKey]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of token: its `typ`, and its `aud`: whom it is for."""

    type: str
    audience: str


VIEWER = Kind("at+jwt", "planesplit")  # RFC 9068
TUNNEL = Kind("tunnel+jwt", "planesplit-tunnel")  # an agent's, for the relay
# For agents: who the viewer is, out of his token; and what the control plane asks, see `Asked`.
IDENTITY = Kind("identity+jwt", "planesplit-agent")
CONTROL = Kind("control+jwt", "planesplit-agent")


class TokenInvalid(Exception):
    """A token is not good here; `expired` if its time is all that is wrong with it."""

    def __init__(self, *, expired: bool = False) -> None:
        self.expired = expired
        super().__init__("expired" if expired else "not valid")


def import_keys(jwks: Any) -> dict[str, OKPKey]:
    """Return the public keys of a JWK set (RFC 7517) by their ids; private parts are not kept.

    Raises:
        ValueError: it is none, has too many keys, or others than Ed25519.
    """
    try:
        entries = jwks["keys"]
        if len(entries) > MAX_KEYS:
            raise ValueError
        return dict(_key(entry) for entry in entries)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError("no set of at most 16 public Ed25519 keys (RFC 7517)") from None


def _key(entry: Mapping[str, Any]) -> tuple[str, OKPKey]:
    public: dict[str, str | list[str]] = {name: entry[name] for name in ("kty", "crv", "x", "kid")}
    if not all(isinstance(value, str) for value in public.values()):
        raise ValueError
    if (public["kty"], public["crv"]) != ("OKP", ALGORITHM):
        raise ValueError
    return str(public["kid"]), OKPKey.import_key(public)


class Verifier:
    """Verifies tokens, and remembers for a while which signatures were good.

    A signature costs 0.26 ms (measured), a call fetches one token for many exchanges. Remembered is
    the token's digest, never the token; other keys make every memory void.

    Args:
        leeway_s: difference between the issuer's clock and ours.
        max_cached: tokens remembered.
    """

    def __init__(self, *, leeway_s: int = CLOCK_SKEW_S, max_cached: int = MAX_CACHED) -> None:
        self._leeway_s, self._max_cached = leeway_s, max_cached
        self._keys: Keys = {}
        self._known: OrderedDict[tuple[bytes, Kind, str], dict[str, Any]] = OrderedDict()

    def verify(
        self,
        token: str | bytes,
        keys: Keys,
        kind: Kind,
        issuer: str,
        now_s: float,
    ) -> dict[str, Any]:
        """Return the claims of a good token: `sub` and `org` are texts, times whole seconds.

        Args:
            keys: the issuer's; the same object as long as they are the same.
            kind: what it must be.
            now_s: seconds since the epoch.

        Raises:
            TokenInvalid: it is not good.
        """
        if keys is not self._keys:
            self._keys = keys
            self._known.clear()
        if len(token) > MAX_TOKEN_BYTES:
            raise TokenInvalid
        encoded = token if isinstance(token, bytes) else token.encode(errors="replace")
        digest = hashlib.sha256(encoded).digest(), kind, issuer
        claims = self._known.get(digest)
        if claims is None:
            claims = _verified(token, keys, kind, issuer, int(now_s), self._leeway_s)
            self._remember(digest, claims)
        if not now_s < claims["exp"] + self._leeway_s:
            raise TokenInvalid(expired=True)
        return claims

    def _remember(self, digest: tuple[bytes, Kind, str], claims: dict[str, Any]) -> None:
        self._known[digest] = claims
        if len(self._known) > self._max_cached:
            self._known.popitem(last=False)


def _verified(
    token: str | bytes, keys: Keys, kind: Kind, issuer: str, now: int, leeway_s: int
) -> dict[str, Any]:
    """Return what a signed token says that we use, whether it has expired or not."""
    try:
        signed = _signed(token, keys)
        if set(signed.header) != {"alg", "kid", "typ"} or signed.header["typ"] != kind.type:
            raise ValueError
        _claims_of(kind, issuer, now, leeway_s).validate(signed.claims)
        claims = {name: value for name, value in signed.claims.items() if name in USED}
        if not _well_formed(claims):
            raise TypeError
    except (JoseError, ValueError, TypeError, KeyError, RecursionError):
        raise TokenInvalid from None
    return claims


def embedded_identity(token: str) -> str:
    """Return the identity that a verified viewer's token carries, empty if it carries none."""
    value = _payload(token).get("identity")
    return value if isinstance(value, str) else ""


def issued_at(token: str) -> int:
    """Return when a token says it was issued, which nobody has verified; 0 if it says nothing."""
    return _moment(token, "iat")


def expires_at(token: str) -> int:
    """Return when a token says that it ends, which nobody has verified; 0 if it says nothing."""
    return _moment(token, "exp")


def _moment(token: str, claim: str) -> int:
    try:
        value = _payload(token)[claim]
    except (ValueError, TypeError, LookupError, RecursionError):
        return 0
    return value if type(value) is int else 0


def _payload(token: str) -> Any:
    payload = token.split(".")[1]
    padded = payload + "=" * (-len(payload) % 4)
    return json.loads(base64.urlsafe_b64decode(padded))


def _well_formed(claims: dict[str, Any]) -> bool:
    return all(isinstance(claims[name], str) for name in ("sub", "org")) and all(
        type(claims[name]) is int for name in ("exp", "iat")
    )


def _signed(token: str | bytes, keys: Keys) -> jwt.Token:
    def key(guest: GuestProtocol) -> OKPKey:
        return keys[guest.headers()["kid"]]

    return jwt.decode(token, key, algorithms=(ALGORITHM,))


class _Claims(jwt.JWTClaimsRegistry):
    def validate_exp(self, value: object) -> None:
        """Judged by the verifier, at every use."""


def _claims_of(kind: Kind, issuer: str, now: int, leeway_s: int) -> jwt.JWTClaimsRegistry:
    return _Claims(
        now=now,
        leeway=leeway_s,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": kind.audience},
        sub={"essential": True},
        org={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
    )
