"""Two organisations, who may do what in them, and tokens."""

from __future__ import annotations

import trio
from joserfc import jwt
from joserfc.jwk import OKPKey

from tunnel.verifier import TUNNEL, VIEWER

EPOCH = 1_800_000_000.0
ISSUER = "https://control.example"
KEY = OKPKey.generate_key("Ed25519", {"kid": "k1"})
ORGS = ("acme", "globex")
VIEWERS = ("ann", "eve")
CLUSTER = "c1"
THUMBPRINT = "of-the-only-certificate-there-is-in-here-00"
VALID_S = 86_400


def now() -> float:
    """Wall clock in simulated seconds since the epoch."""
    return EPOCH + trio.current_time()


def viewer_token(tenant: int, valid_s: int = VALID_S) -> str:
    """Return what a tenant's viewer shows."""
    claims = {"sub": VIEWERS[tenant], "aud": "planesplit", "org": ORGS[tenant]}
    return _signed(claims, valid_s)


def agent_token(tenant: int, valid_s: int = VALID_S) -> str:
    """Return what a tenant's agent shows."""
    org = ORGS[tenant]
    claims = {"sub": f"agent:{org}/{CLUSTER}", "aud": "planesplit-tunnel", "org": org}
    bound = {"cnf": {"x5t#S256": THUMBPRINT}, "cluster": CLUSTER}
    return _signed({**claims, **bound}, valid_s)


def _signed(claims: dict[str, object], valid_s: int) -> str:
    issued = int(now()) - max(0, -valid_s) * 2
    times = {"iss": ISSUER, "iat": issued, "exp": int(now()) + valid_s}
    kind = VIEWER if claims["aud"] == VIEWER.audience else TUNNEL
    header = {"alg": "Ed25519", "kid": "k1", "typ": kind.type}
    return jwt.encode(header, {**claims, **times}, KEY, ["Ed25519"])


def policy() -> dict[str, object]:
    """Return what the control plane tells the relay: every viewer is mighty in its own org."""
    return {
        "version": 1,
        "issuer": ISSUER,
        "jwks": {"keys": [KEY.as_dict(private=False)]},
        "bindings": [
            {"subject": name, "role": "Admin", "org": org, "project": "*", "domain": "*"}
            for name, org in zip(VIEWERS, ORGS, strict=True)
        ],
        "clusters": [{"org": org, "cluster": CLUSTER, "enabled": True} for org in ORGS],
        "revoked": {},
    }
