"""`kubectl --as`: whoever may not impersonate is refused, and nobody's answer is about himself."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from kube_cast import MASTER, Api, named

from policy.roles import user_name

REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
PODS = "/api/v1/namespaces/default/pods"
PROXY = user_name("proxy-system")
RBAC = "rbac.authorization.k8s.io/v1"
READ_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}


def acting_as(user: str, *groups: str) -> list[tuple[str, str]]:
    """The headers that kubectl sends."""
    return [("Impersonate-User", user), *(("Impersonate-Group", group) for group in groups)]


async def call(api: Api, account: str, headers: list[tuple[str, str]], **options: Any) -> Any:
    """One request with repeated headers."""
    headers = [("authorization", f"Bearer {account}"), *headers]
    return await api._client.request(headers=headers, **options)


@pytest.mark.parametrize(("verb", "allowed"), [("list", True), ("create", False)])
async def test_a_review_is_about_the_other(nursery: trio.Nursery, verb: str, allowed: bool) -> None:
    api = Api("compute", nursery)
    wanted = {"verb": verb, "resource": "pods", "namespace": "default"}
    body = named("SelfSubjectAccessReview", "", "authorization.k8s.io/v1")
    body["spec"] = {"resourceAttributes": wanted}
    answer = await call(api, MASTER, acting_as(PROXY), method="POST", url=REVIEW, json=body)
    assert answer.json()["status"]["allowed"] is allowed


async def test_the_other_s_rights_hold_not_the_caller_s(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    answer = await call(api, MASTER, acting_as(PROXY), method="DELETE", url=f"{PODS}/p")
    assert answer.status_code == 403
    assert PROXY in answer.json()["message"]


async def test_groups_add_up(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    alone = await call(api, MASTER, acting_as("ann"), method="GET", url=PODS)
    headers = acting_as("ann", "team", "system:masters")
    grouped = await call(api, MASTER, headers, method="GET", url=PODS)
    assert (alone.status_code, grouped.status_code) == (403, 200)


async def test_a_user_named_like_a_group_is_not_in_it(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    answer = await call(api, MASTER, acting_as("system:masters"), method="GET", url=PODS)
    assert answer.status_code == 403


@pytest.mark.parametrize(("kind", "status"), [("Group", 200), ("User", 403)])
async def test_bindings_tell_groups_from_users(
    nursery: trio.Nursery, kind: str, status: int
) -> None:
    api = Api("compute", nursery)
    role = named("ClusterRole", "r", RBAC, rules=[READ_PODS])
    bound = named("ClusterRoleBinding", "b", RBAC, roleRef={"kind": "ClusterRole", "name": "r"})
    bound["subjects"] = [{"kind": kind, "name": "team"}]
    for path, body in (("clusterroles", role), ("clusterrolebindings", bound)):
        made = await api(MASTER, "POST", f"/apis/{RBAC}/{path}", body)
        assert made.status_code == 201
    answer = await call(api, MASTER, acting_as("ann", "team"), method="GET", url=PODS)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("account", "headers"),
    [
        ("proxy-system", acting_as(user_name("executor"))),
        ("executor", acting_as("ann", "system:masters")),
        ("executor", acting_as(PROXY)),
    ],
    ids=["account", "masters", "lesser"],
)
async def test_service_accounts_may_not(
    nursery: trio.Nursery, account: str, headers: list[tuple[str, str]]
) -> None:
    api = Api("compute", nursery)
    answer = await call(api, account, headers, method="GET", url=PODS)
    assert answer.status_code == 403
    assert "cannot impersonate resource" in answer.json()["message"]


@pytest.mark.parametrize(
    "headers",
    [
        [("Impersonate-Group", "system:masters")],
        [*acting_as(PROXY), ("Impersonate-Uid", "1")],
        [*acting_as(PROXY), ("Impersonate-Extra-Scopes", "x")],
        [*acting_as(PROXY), *acting_as("ann")],
        acting_as(""),
    ],
    ids=["no-user", "uid", "extra", "two-users", "empty-user"],
)
async def test_what_is_not_served_is_refused_never_ignored(
    nursery: trio.Nursery, headers: list[tuple[str, str]]
) -> None:
    answer = await call(Api("compute", nursery), MASTER, headers, method="GET", url=PODS)
    assert answer.status_code == 400
