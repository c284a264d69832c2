"""Who has which rules, and Kubernetes' own bindings that every cluster has."""

from __future__ import annotations

from dataclasses import dataclass

from policy.roles import CLUSTER, Plane, Role, roles, user_name
from policy.rules import ALL, Rule

AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
ANONYMOUS_USER = "system:anonymous"
MASTERS = "system:masters"


@dataclass(frozen=True, slots=True)
class Binding:
    """Gives a role's rules to subjects.

    Args:
        role: the role's name.
        rules: what the role grants.
        subjects: names of users, service accounts among them.
        namespace: where it holds; empty for the whole cluster.
        appendix: the role's row, empty if the white paper has none.
        groups: names of groups; a user of the same name is not one.
    """

    role: str
    rules: tuple[Rule, ...]
    subjects: frozenset[str]
    namespace: str = CLUSTER
    appendix: str = ""
    groups: frozenset[str] = frozenset()


def white_paper(plane: Plane) -> tuple[Binding, ...]:
    """Return what Appendix C (control) or D (compute) gives to its service accounts."""
    return tuple(map(_binding, roles(plane)))


def _binding(role: Role) -> Binding:
    subjects = frozenset(map(user_name, role.accounts))
    return Binding(role.name, role.rules, subjects, role.scope, role.appendix)


_REVIEWS = ("selfsubjectaccessreviews", "selfsubjectrulesreviews")
_VERSIONS = ("/healthz", "/livez", "/readyz", "/version", "/version/")
_DISCOVERY = (*_VERSIONS, "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*")

# Source: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go` of Kubernetes.
KUBERNETES_DEFAULTS: tuple[Binding, ...] = (
    Binding(
        "cluster-admin",
        (Rule((ALL,), (ALL,), (ALL,)), Rule((ALL,), urls=(ALL,))),
        frozenset(),
        groups=frozenset({MASTERS}),
    ),
    Binding(
        "system:basic-user",
        (
            Rule(("create",), ("authorization.k8s.io",), _REVIEWS),
            Rule(("create",), ("authentication.k8s.io",), ("selfsubjectreviews",)),
        ),
        frozenset(),
        groups=frozenset({AUTHENTICATED}),
    ),
    Binding(
        "system:discovery",
        (Rule(("get",), urls=_DISCOVERY),),
        frozenset(),
        groups=frozenset({AUTHENTICATED}),
    ),
    Binding(
        "system:public-info-viewer",
        (Rule(("get",), urls=_VERSIONS),),
        frozenset(),
        groups=frozenset({AUTHENTICATED, UNAUTHENTICATED}),
    ),
)
