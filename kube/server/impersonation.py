"""Acting as somebody else, as `kubectl --as` does: only for whoever has the verb `impersonate`.

Source: Kubernetes, "User impersonation"; `endpoints/filters/impersonation` of its API server.
"""

from __future__ import annotations

from collections.abc import Iterator

from kube.server.authorization import Authorization
from kube.server.request import Request
from kube.server.status import bad_request
from kube.server.tokens import PREFIX, User
from policy.rules import Request as Asked

USER, GROUP = "impersonate-user", "impersonate-group"
FAMILY = "impersonate-"


def impersonated(request: Request, caller: User, authorization: Authorization) -> User:
    """Return who the caller acts as: itself without headers of this family.

    Raises:
        ApiError: 400 for headers that are not served, or groups without a user; 403 for a caller
            who may not act as this user or one of these groups.
    """
    asked = [(name, value) for name, value in request.all_headers() if name.startswith(FAMILY)]
    if not asked:
        return caller
    users = [value for name, value in asked if name == USER]
    groups = [value for name, value in asked if name == GROUP]
    if len(users) + len(groups) < len(asked):
        raise bad_request("of impersonation, only a user and groups are served here")
    if len(users) != 1 or not users[0]:
        raise bad_request("impersonation needs exactly one user")
    for one in _rights(caller, users[0], groups):
        authorization.require(caller, one)
    return User(users[0], frozenset(groups))


def _rights(caller: User, user: str, groups: list[str]) -> Iterator[Asked]:
    """Yield what the caller needs: the right to each name that it takes."""
    resource, namespace, name = "users", "", user
    if user.startswith(PREFIX):
        namespace, _, name = user.removeprefix(PREFIX).partition(":")
        resource = "serviceaccounts"
    has = caller.all_groups
    yield Asked(caller.name, "impersonate", "", resource, "", name, namespace, groups=has)
    for group in groups:
        yield Asked(caller.name, "impersonate", "", "groups", "", group, groups=has)
