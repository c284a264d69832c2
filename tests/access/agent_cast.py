"""The agent's access check, an issuer, and what is pushed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from compute_agent.access import Access
from compute_agent.trust import Trust
from control_stub.issuer import Issuer
from tunnel.capabilities import CAPABILITIES
from tunnel.messages.planesplit_v1_pb2 import AccessRequest, Binding

NOW_S = 1_800_000_000.0
URL = "https://control.example"
VIEWER_RPCS = [c for c in CAPABILITIES.values() if c.opened_by == "viewer"]
CONTROL_RPCS = [c for c in CAPABILITIES.values() if c.opened_by == "control"]

BINDINGS = (
    Binding(subject="admin", role="Admin", org="acme", project="*", domain="*"),
    Binding(subject="dev", role="Contributor", org="acme", project="p1", domain="*"),
    Binding(subject="vic", role="Viewer", org="acme", project="p1", domain="d1"),
    Binding(subject="ops", role="Viewer", org="acme", project="*", domain="d1"),
)


def new_issuer(now_s: Callable[[], float] = lambda: NOW_S, token_s: int = 600) -> Issuer:
    return Issuer(URL, [Issuer.new_key()[1]], token_s=token_s, clock=now_s)


def push(issuer: Issuer, version: int = 1, **changes: Any) -> AccessRequest:
    made = {"bindings": BINDINGS, "issuer": URL, "jwks": json.dumps(issuer.jwks()), **changes}
    return AccessRequest(version=version, **made)


def trust(now_s: Callable[[], float] = lambda: NOW_S) -> Trust:
    return Trust("", reread_s=10.0, now_s=now_s, time_s=now_s)


def new(cls: type[Access] = Access, **options: Any) -> Access:
    now_s = options.pop("now_s", lambda: NOW_S)
    return cls("acme", now_s=now_s, trust=trust(now_s), cluster="c1", **options)


def access_of(by: Issuer | None = None, **options: Any) -> Access:
    access = new(now_s=options.pop("now_s", lambda: NOW_S))
    access.put(push(by or new_issuer(), **options))
    return access
