"""What people type, as the request that it means."""

from __future__ import annotations

import pytest

from policy.question import UnknownName, identity, request, role_rows
from policy.rules import Request


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("get pods/log", Request("", "get", resource="pods", subresource="log")),
        ("get po/log-reader", Request("", "get", resource="pods", name="log-reader")),
        ("get deployments/scale", Request("", "get", "apps", "deployments", "scale")),
        ("list deploy.extensions", Request("", "list", "extensions", "deployments")),
        ("get pods -n flyte", Request("", "get", resource="pods", namespace="flyte")),
        ("get nodes/n1 -n flyte", Request("", "get", resource="nodes", name="n1")),
        ("get pods/p1 --subresource log", Request("", "get", "", "pods", "log", "p1")),
        ("get widgets.acme.dev/w", Request("", "get", "acme.dev", "widgets", name="w")),
        ("get * --subresource scale", Request("", "get", "", "*", "scale")),
        ("get */status", Request("", "get", "", "*", "status")),
        ("get *.apps", Request("", "get", "apps", "*")),
        ("get /metrics/cadvisor", Request("", "get", path="/metrics/cadvisor")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_request_is_what_was_typed(typed: str, meant: Request) -> None:
    verb, what, *options = typed.split()
    given = dict(zip(options[::2], options[1::2], strict=True))
    namespace, subresource = given.get("-n", ""), given.get("--subresource", "")
    assert request(verb, what, namespace=namespace, subresource=subresource) == meant


@pytest.mark.parametrize(
    ("name", "namespace", "user", "plane"),
    [
        ("executor", "", "union:executor", "compute"),
        ("executor", "flyte", "union:executor", "compute"),
        ("console", "", "union:console", "control"),
        ("clusterresource-template", "flyte", "flyte:clusterresource-template", "compute"),
        ("clusterresource-template", "", "union:clusterresource-template", "compute"),
        ("system:serviceaccount:flyte:executor", "", "flyte:executor", "compute"),
    ],
)
def test_an_account_is_where_it_lives(name: str, namespace: str, user: str, plane: str) -> None:
    found = identity(name, namespace)
    assert (found.user, found.plane) == (f"system:serviceaccount:{user}", plane)


def test_roles_are_found_by_row_name_and_account() -> None:
    assert role_rows("D4") == ("D4",)
    assert role_rows("operator-system") == ("D4", "D8", "E5")
    assert role_rows("operator-system (ns)") == ("D8",)
    assert role_rows("executor") == ("D2", "E3")


def test_messages_name_what_is_near_or_some_of_what_there_is() -> None:
    assert (
        str(UnknownName("verb", "gte", ["get", "list"])) == "unknown verb 'gte'; did you mean get?"
    )
    assert str(UnknownName("verb", "x", ["b", "a"])) == "unknown verb 'x'; there are: a, b"
    many = str(UnknownName("number", "x", map(str, range(100, 150))))
    assert many.endswith("there are: " + ", ".join(map(str, range(100, 120))) + ", ...")
