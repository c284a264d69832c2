"""What somebody asks on a command line, in kubectl's words, as a request."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from policy.iam import ACTIONS, BUCKETS, TASK_PODS, iam_accounts
from policy.resources import SPECIAL_VERBS, VERBS, Resource, find, resources
from policy.roles import NAMESPACE, PLANES, PREFIX, Plane, accounts, roles, user_name
from policy.rules import ALL, Request

_SHOWN = 20  # names in a message
_SYNONYMS = {"post": "create", "put": "update", "read": "get", "remove": "delete", "edit": "update"}
HTTP_VERBS = ("get", "head", "post", "put", "patch", "delete", "options")


class UnknownName(ValueError):
    """A name that is none; the message tells the nearest that are.

    Args:
        what: what it should have been the name of.
        name: what was given.
        known: what there is.
    """

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        names = sorted(set(known))
        near = [_SYNONYMS[name]] if _SYNONYMS.get(name) in names else []
        near = near or difflib.get_close_matches(name, names, n=3)
        near = near or [known for known in names if name and name in known][:3]
        some = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {some}"
        super().__init__(f"unknown {what} '{name}'; {hint}")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is meant.

    Args:
        account: the service account's name.
        user: Kubernetes' user name.
        plane: whose cluster it is known in.
    """

    account: str
    user: str
    plane: Plane


def every_account() -> dict[str, Plane]:
    """Return the plane of every service account of Appendix C, D and E."""
    found: dict[str, Plane] = {name: plane for plane in PLANES for name in accounts(plane)}
    return found | {name: account.plane for name, account in iam_accounts().items()}


def identity(name: str, namespace: str = NAMESPACE) -> Identity:
    """Return a service account by its name, or by Kubernetes' user name.

    Args:
        name: e.g. `proxy-system`, `system:serviceaccount:union:proxy-system`.
        namespace: where task pods' account is, which every workspace has.

    Raises:
        UnknownName: the white paper has no such account.
    """
    space, _, account = name.removeprefix(PREFIX).rpartition(":")
    if account not in every_account() or (space and not name.startswith(PREFIX)):
        raise UnknownName("service account", name, every_account())
    here = namespace if account == TASK_PODS and namespace else NAMESPACE
    return Identity(account, user_name(account, space or here), every_account()[account])


def request(verb: str, what: str, *, namespace: str = "", subresource: str = "") -> Request:
    """Return what is asked for, by nobody yet.

    Args:
        verb: Kubernetes'.
        what: `TYPE[.GROUP][/SUBRESOURCE | /NAME]` or a URL that starts with `/`.
        namespace: empty for all of them.
        subresource: as kubectl's option of that name.

    Raises:
        UnknownName: there is no such verb, type or group.
    """
    if what.startswith("/"):
        _check("HTTP method", verb, (*HTTP_VERBS, ALL))
        return Request("", verb, path=what)
    _check("verb", verb, (*VERBS, *SPECIAL_VERBS, ALL))
    kind, _, rest = what.partition("/")
    name, _, group = kind.partition(".")
    asked = Request("", verb, group, name, subresource, namespace=namespace)
    if ALL in (name, group):
        return replace(asked, subresource=subresource or rest)
    known = find(name)
    if known is None:
        if not group:
            raise UnknownName("resource", kind, resources())
        return replace(asked, name=rest)  # a custom resource
    return _of(known, asked, rest)


def action(name: str, bucket: str) -> tuple[str, str, str]:
    """Return an S3 action, what the bucket is for, and the key.

    Raises:
        UnknownName: there is no such action or bucket.
    """
    kind, _, key = bucket.partition("/")
    by_small = {known.lower(): known for known in ACTIONS}
    _check("action", name.lower(), by_small)
    _check("bucket", kind, BUCKETS)
    return by_small[name.lower()], kind, key


def role_rows(name: str) -> tuple[str, ...]:
    """Return the rows of the roles and accounts that are called so.

    Raises:
        UnknownName: none is.
    """
    every = [role for plane in PLANES for role in roles(plane)]
    names = {role.appendix: (role.name, role.words["role_name"], *role.accounts) for role in every}
    names |= {account.appendix: (account.name,) for account in iam_accounts().values()}
    found = tuple(row for row, known in names.items() if name in (row, *known))
    if not found:
        raise UnknownName("role", name, (word for known in names.values() for word in known))
    return found


def _of(known: Resource, asked: Request, rest: str) -> Request:
    """Fill in what the resource's definition tells."""
    group = asked.group or known.groups[0]
    if group not in known.groups:
        raise UnknownName(f"API group of {known.name}", group, known.groups)
    is_subresource = rest in known.subresources
    return replace(
        asked,
        group=group,
        resource=known.name,
        subresource=asked.subresource or (rest if is_subresource else ""),
        name="" if is_subresource else rest,
        namespace=asked.namespace if known.namespaced else "",
    )


def _check(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise UnknownName(what, name, known)
