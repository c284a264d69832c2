"""Who may do what: the policy that the control plane pushes, held in memory only."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import trio
from joserfc.jwk import OKPKey

from tunnel.exchange import NONE, Scope
from tunnel.roles import PERMISSIONS
from tunnel.verifier import import_keys

ANY = "*"


class PolicyError(ValueError):
    """A pushed policy does not have the agreed shape; the message names the field."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A role of a subject in (part of) an organisation; `*` stands for every project or domain."""

    role: str
    org: str
    project: str
    domain: str

    def grants(self, scope: Scope, permission: str) -> bool:
        """Whether it covers `scope` with `permission`."""
        return (
            self.org == scope.org
            and self.project in (ANY, scope.project)
            and self.domain in (ANY, scope.domain)
            and permission in PERMISSIONS[self.role]
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """Issuer and keys of tokens, bindings by subject, enabled clusters, revocations.

    Args:
        revoked: per subject the epoch second before which its tokens are void.
    """

    version: int
    issuer: str
    keys: dict[str, OKPKey] = field(repr=False)
    bindings: dict[str, tuple[Binding, ...]]
    clusters: frozenset[tuple[str, str]]
    revoked: dict[str, float]

    @classmethod
    def from_json(cls, body: bytes | bytearray) -> Policy:
        """Parse a push.

        Raises:
            PolicyError: not the agreed shape.
        """
        try:
            table = json.loads(body)
        except (ValueError, RecursionError):
            raise PolicyError("the policy is not JSON") from None
        readers: dict[str, Callable[[Any], Any]] = {
            "version": int,
            "issuer": _text,
            "jwks": import_keys,
            "bindings": _bindings,
            "clusters": _clusters,
            "revoked": lambda value: {_text(s): float(t) for s, t in value.items()},
        }
        return cls(*(_read(table, name, reader) for name, reader in readers.items()))

    def allows(self, subject: str, scope: Scope, permission: str) -> bool:
        """Whether `subject` holds `permission` in `scope`."""
        return any(b.grants(scope, permission) for b in self.bindings.get(subject, ()))

    def clusters_of(self, org: str) -> tuple[str, ...]:
        """The enabled clusters of an organisation, by name."""
        return tuple(sorted(cluster for owner, cluster in self.clusters if owner == org))

    def is_revoked(self, subject: str, issued_at: float) -> bool:
        """Whether a token of `subject` issued at that epoch second is void."""
        return issued_at < self.revoked.get(subject, 0.0)


class PolicyHolder:
    """The current policy; None until the first push. Watchers hear of every change."""

    def __init__(self) -> None:
        self.current: Policy | None = None
        self.known = trio.Event()  # set by the first push
        self._watchers: list[Callable[[], None]] = []

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` after every push."""
        self._watchers.append(changed)

    def set(self, policy: Policy) -> None:
        """Take a new policy; what it no longer allows ends before this returns."""
        self.current = policy
        self.known.set()
        for changed in self._watchers:
            changed()


def _read(table: Any, name: str, reader: Callable[[Any], Any]) -> Any:
    try:
        return reader(table[name])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise PolicyError(f"policy field '{name}' is missing or malformed") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _bindings(entries: list[dict[str, Any]]) -> dict[str, tuple[Binding, ...]]:
    found: dict[str, list[Binding]] = {}
    for entry in entries:
        binding = Binding(*(_text(entry.get(k, ANY)) for k in ("role", "org", "project", "domain")))
        if binding.role not in PERMISSIONS or binding.org in (ANY, NONE):
            raise ValueError
        found.setdefault(_text(entry["subject"]), []).append(binding)
    return {subject: tuple(bindings) for subject, bindings in found.items()}


def _clusters(entries: list[dict[str, Any]]) -> frozenset[tuple[str, str]]:
    enabled = (entry for entry in entries if entry.get("enabled", True) is True)
    found = frozenset((_text(entry["org"]), _text(entry["cluster"])) for entry in enabled)
    if any(NONE in names for names in found):
        raise ValueError  # `-` stands for all of them
    return found
