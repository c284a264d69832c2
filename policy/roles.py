"""Appendix C and D: the roles, each with the white paper's words and our reading of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from policy.rules import Rule

Plane = Literal["control", "compute"]
PLANES: tuple[Plane, ...] = ("control", "compute")
NAMESPACE = "union"  # of every service account here, by Appendix E
CLUSTER = ""  # the scope of a role that holds everywhere
CORE = "core"  # how the data names the group without a name
PREFIX = "system:serviceaccount:"
DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Role:
    """One row of Appendix C or D.

    Args:
        name: its Kubernetes name.
        plane: whose cluster has it.
        appendix: the row: `C1` to `C12`, `D1` to `D9` (core), `D10` to `D16` (observability).
        rules: our reading.
        scope: the one namespace where it holds; empty for the whole cluster.
        accounts: service accounts in the namespace `union` that have it.
        actor: which part of planesplit calls under it; empty if none does.
        labels: Kubernetes' labels, e.g. those that aggregate it into other roles.
        words: the row's cells, verbatim.
    """

    name: str
    plane: Plane
    appendix: str
    rules: tuple[Rule, ...]
    scope: str
    accounts: tuple[str, ...]
    actor: str
    labels: Mapping[str, str]
    words: Mapping[str, str]

    @property
    def kind(self) -> Literal["Role", "ClusterRole"]:
        """Kubernetes' kind."""
        return "Role" if self.scope else "ClusterRole"


def user_name(account: str, namespace: str = NAMESPACE) -> str:
    """Return Kubernetes' user name of a service account."""
    return f"{PREFIX}{namespace}:{account}"


@cache
def roles(plane: Plane) -> tuple[Role, ...]:
    """Return the plane's roles in the white paper's order."""
    data = tomllib.loads((DATA / f"{plane}.toml").read_text(encoding="utf-8"))
    return tuple(_role(plane, row) for row in data["roles"])


@cache
def accounts(plane: Plane) -> tuple[str, ...]:
    """Return the service accounts that have roles, in the roles' order."""
    return tuple(dict.fromkeys(account for role in roles(plane) for account in role.accounts))


def _role(plane: Plane, row: Mapping[str, Any]) -> Role:
    return Role(
        name=row["name"],
        plane=plane,
        appendix=row["id"],
        rules=tuple(map(_rule, row["rules"])),
        scope=row.get("namespace", CLUSTER),
        accounts=tuple(row["accounts"]),
        actor=row.get("actor", ""),
        labels=row.get("labels", {}),
        words=row["words"],
    )


def _rule(row: Mapping[str, str]) -> Rule:
    parts = {part: tuple(value.split()) for part, value in row.items()}
    groups = tuple("" if group == CORE else group for group in parts.pop("groups", ()))
    return Rule(groups=groups, **parts)
