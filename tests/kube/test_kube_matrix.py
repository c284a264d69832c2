"""Every account, verb, kind and scope over the API, against the policy: no difference at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import trio
from kube_cast import Api

from kube.server.api import KubernetesApp
from kube.server.authorization import Authorization
from kube.server.kinds import KINDS, Kind
from kube.server.target import Target
from policy.authorizer import Authorizer
from policy.bindings import KUBERNETES_DEFAULTS
from policy.roles import PLANES, Plane, accounts, user_name
from policy.rules import Request
from policy.words import forbidden

METHODS = {
    "get": ("GET", True, ""),
    "list": ("GET", False, ""),
    "watch": ("GET", False, "?watch=1&resourceVersion=x"),
    "create": ("POST", False, ""),
    "update": ("PUT", True, ""),
    "patch": ("PATCH", True, ""),
    "delete": ("DELETE", True, ""),
    "deletecollection": ("DELETE", False, ""),
}
SCOPES = ("", "default", "union")
URLS = ("/metrics", "/metrics/cadvisor", "/api", "/logs/", "/_planesplit/access")
OTHERS = (  # what this API doesn't serve is refused all the same, before it is not found
    Kind("v1", "pods/log", "Pod"),
    Kind("v1", "pods/exec", "Pod"),
    Kind("v1", "nodes/metrics", "Node", namespaced=False),
    Kind("kubeflow.org/v1", "pytorchjobs", "PyTorchJob"),
)
NAME = "absent"


class Cell(NamedTuple):
    """One request, over HTTP and as the policy is asked."""

    method: str
    path: str
    asked: Request


def cells(plane: Plane) -> Iterator[Cell]:
    for account in accounts(plane):
        user = user_name(account)
        for url in URLS:
            yield Cell("GET", url, Request(user, "get", path=url, groups=GROUPS))
        for kind in (*KINDS.values(), *OTHERS):
            for verb in METHODS:
                for namespace in SCOPES if kind.namespaced else ("",):
                    yield _cell(kind, verb, namespace, user)


GROUPS = ("system:authenticated", "system:serviceaccounts", "system:serviceaccounts:union")


def _cell(kind: Kind, verb: str, namespace: str, user: str) -> Cell:
    method, one, query = METHODS[verb]
    resource, _, sub = kind.name.partition("/")
    one = one or bool(sub)
    if sub and verb in ("list", "watch"):
        verb = "get"  # as Kubernetes reads a GET of one object's part
    if sub and verb == "deletecollection":
        verb = "delete"
    root = "/apis/" if "/" in kind.version else "/api/"
    within = f"namespaces/{namespace}/" if namespace else ""
    path = f"{root}{kind.version}/{within}{resource}"
    path += f"/{NAME}" * one + f"/{sub}" * bool(sub) + query
    name = NAME if one else ""
    where = namespace
    if kind.name == "namespaces":
        where = name  # Kubernetes' authorizer sees a namespace within itself
    asked = Request(user, verb, kind.group, resource, sub, name, where, groups=GROUPS)
    return Cell(method, path, asked)


async def differences(plane: Plane, nursery: trio.Nursery) -> tuple[int, list[str]]:
    """Try every cell; return how many there are, and those that came out otherwise."""
    api, policy, found, count = Api(plane, nursery), Authorizer(plane, KUBERNETES_DEFAULTS), [], 0
    for cell in cells(plane):
        count += 1
        account = cell.asked.user.rpartition(":")[2]
        code, body = await _ask(api.app, account, cell)
        refused = code == 403 and json.loads(body)["message"] == forbidden(cell.asked)
        if refused == policy.decide(cell.asked).allowed or code == 401:
            found.append(f"{account} {cell.method} {cell.path}: {code}")
        if len(found) > 20:
            break
    return count, found


async def _ask(app: KubernetesApp, account: str, cell: Cell) -> tuple[int, bytes]:
    """Send one request without a client around it: there are thousands."""
    path, _, query = cell.path.partition("?")
    scope = {"type": "http", "method": cell.method, "path": path, "query_string": query.encode()}
    scope["headers"] = [(b"authorization", f"Bearer {account}".encode())]
    told: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"type": "http.request", "body": b"{}"} if not told else await trio.sleep_forever()

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    await app(scope, receive, send)
    return told[0]["status"], told[1].get("body", b"")


@pytest.mark.parametrize("plane", PLANES)
async def test_the_api_refuses_what_the_policy_refuses_and_nothing_else(
    plane: Plane, nursery: trio.Nursery
) -> None:
    count, found = await differences(plane, nursery)
    assert found == []
    assert count > 3000


def _no_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Authorization, "require", lambda *_: None)


def _watch_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    _unless(monkeypatch, lambda target: target is not None and target.verb == "watch")


def _log_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    _unless(monkeypatch, lambda target: target is not None and target.subresource == "log")


def _urls_unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    _unless(monkeypatch, lambda target: target is None)


def _subresource_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Target.asked

    def without(target: Target, user: str, groups: tuple[str, ...]) -> Request:
        return asked(Target(target.verb, target.version, target.resource), user, groups)

    monkeypatch.setattr(Target, "asked", without)


def _everything_read(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = Authorizer.decide

    def lax(policy: Authorizer, request: Request) -> Any:
        decision = decide(policy, request)
        return (
            decide(policy, Request(request.user, "get", "", "pods"))
            if (request.verb == "list")
            else decision
        )

    monkeypatch.setattr(
        "kube.server.authorization.Authorization.decide",
        lambda self, request: lax(self._current(), request),
    )


def _unless(monkeypatch: pytest.MonkeyPatch, skipped: Callable[[Target | None], bool]) -> None:
    admitted = KubernetesApp._admitted

    def lax(app: KubernetesApp, request: Any, target: Target | None) -> Any:
        if skipped(target):
            return app._tokens.authenticate(request.header("authorization"))
        return admitted(app, request, target)

    monkeypatch.setattr(KubernetesApp, "_admitted", lax)


MUTANTS = {
    "no check": _no_check,
    "watches are not checked": _watch_unchecked,
    "logs are not checked": _log_unchecked,
    "urls are not checked": _urls_unchecked,
    "a part is taken for its object": _subresource_dropped,
    "lists are checked as gets": _everything_read,
}


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_a_missing_check_is_found(
    mutant: str, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    MUTANTS[mutant](monkeypatch)
    _, found = await differences("compute", nursery)
    assert found
