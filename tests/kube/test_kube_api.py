"""What the API does beside reading: writes of any kind, patches, quotas, roles, webhooks."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
import trio
from kube_cast import LOG, MASTER, Api, named, pod

RBAC = "/apis/rbac.authorization.k8s.io/v1"
ROLE = "rbac.authorization.k8s.io/v1"
PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
READ_PODS = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]
READ_SECRETS = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]


async def test_any_kind_is_written(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    made = await api(MASTER, "POST", MAPS, named("ConfigMap", "c", data={"a": "b"}))
    assert (made.status_code, made.json()["data"]) == (201, {"a": "b"})
    version = made.json()["metadata"]["resourceVersion"]
    again = await api(MASTER, "PUT", f"{MAPS}/c", made.json())
    assert again.json()["metadata"]["resourceVersion"] == version, "nothing has changed"
    stale = named("ConfigMap", "c", data={})
    stale["metadata"]["resourceVersion"] = "1"
    assert (await api(MASTER, "PUT", f"{MAPS}/c", stale)).json()["reason"] == "Conflict"
    absent = "/api/v1/namespaces/absent/configmaps"
    refused = await api(MASTER, "POST", absent, named("ConfigMap", "c"))
    assert refused.json()["message"] == 'namespaces "absent" not found'
    generated = named("ConfigMap", "")
    generated["metadata"] = {"generateName": "g-"}
    name = (await api(MASTER, "POST", MAPS, generated)).json()["metadata"]["name"]
    assert name.startswith("g-")
    assert len(name) == len("g-") + 5
    listed = (await api(MASTER, "DELETE", MAPS)).json()["items"]
    assert len(listed) == 2
    assert (await api(MASTER, "GET", MAPS)).json()["items"] == []
    dry = await api(MASTER, "POST", f"{MAPS}?dryRun=All", named("ConfigMap", "d"))
    assert dry.status_code == 400, "it is refused rather than written"


@pytest.mark.parametrize(
    ("kind", "patch", "data"),
    [
        ("merge-patch", {"data": {"a": None, "c": "d"}}, {"b": "2", "c": "d"}),
        ("strategic-merge-patch", {"data": {"a": "x"}}, {"a": "x", "b": "2"}),
        ("json-patch", [{"op": "replace", "path": "/data/a", "value": "9"}], {"a": "9", "b": "2"}),
        ("json-patch", [{"op": "test", "path": "/data/a", "value": "9"}], 422),
        ("json-patch", [{"op": "remove", "path": "/data/none"}], 422),
        ("json-patch", {}, 400),
        ("apply-patch", {}, 415),
    ],
)
async def test_patches(nursery: trio.Nursery, kind: str, patch: Any, data: Any) -> None:
    api = Api("compute", nursery)
    await api(MASTER, "POST", MAPS, named("ConfigMap", "c", data={"a": "1", "b": "2"}))
    headers = {"content-type": f"application/{kind}+json"}
    answer = await api(MASTER, "PATCH", f"{MAPS}/c", patch, headers=headers)
    if isinstance(data, int):
        assert answer.status_code == data
    else:
        assert answer.json()["data"] == data


async def test_a_namespace_takes_its_objects_with_it(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    await api(MASTER, "POST", "/api/v1/namespaces", named("Namespace", "n"))
    within = "/api/v1/namespaces/n"
    await api(MASTER, "POST", f"{within}/configmaps", named("ConfigMap", "c"))
    await api(MASTER, "POST", f"{within}/pods", pod())
    assert (await api(MASTER, "DELETE", within)).status_code == 200
    assert (await api(MASTER, "GET", "/api/v1/configmaps")).json()["items"] == []
    assert (await api(MASTER, "GET", "/api/v1/pods")).json()["items"] == []


async def test_a_pod_needs_its_account_and_room(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    refused = await api("executor", "POST", PODS, pod(serviceAccountName="worker"))
    assert 'serviceaccount "worker" not found' in refused.json()["message"]
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    await api("clustersync-system", "POST", accounts, named("ServiceAccount", "worker"))
    assert (
        await api("executor", "POST", PODS, pod(serviceAccountName="worker"))
    ).status_code == 201
    quota = named("ResourceQuota", "q", spec={"hard": {"pods": "1"}})
    quotas = "/api/v1/namespaces/default/resourcequotas"
    await api("clustersync-system", "POST", quotas, quota)
    refused = await api("executor", "POST", PODS, pod("second"))
    assert refused.json()["message"] == (
        'pods "second" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, '
        "limited: pods=1"
    )


async def test_stored_roles_hold(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    path = "/api/v1/namespaces/default/secrets/x"
    assert (await api("fluentbit", "GET", path)).status_code == 403
    role = named("Role", "reader", ROLE, rules=READ_SECRETS)
    await api(MASTER, "POST", f"{RBAC}/namespaces/default/roles", role)
    bound = await api(MASTER, "POST", f"{RBAC}/namespaces/default/rolebindings", binding("reader"))
    assert bound.status_code == 201
    assert (await api("fluentbit", "GET", path)).status_code == 404
    assert (await api("fluentbit", "GET", path.replace("default", "union"))).status_code == 403
    await api(MASTER, "DELETE", f"{RBAC}/namespaces/default/rolebindings/reader")
    assert (await api("fluentbit", "GET", path)).status_code == 403


def binding(role: str, account: str = "fluentbit") -> dict[str, Any]:
    subject = {"kind": "ServiceAccount", "name": account, "namespace": "union"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role}
    return named("RoleBinding", role, ROLE, roleRef=reference, subjects=[subject])


async def test_nobody_gives_what_he_has_not(nursery: trio.Nursery) -> None:
    """The executor may create roles (all plugin objects), but not beyond its own rights."""
    api = Api("compute", nursery)
    everything = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    roles, bindings = (f"{RBAC}/namespaces/default/{name}" for name in ("roles", "rolebindings"))
    mine = named("Role", "mine", ROLE, rules=READ_PODS)
    assert (await api("executor", "POST", roles, mine)).status_code == 201
    refused = await api("executor", "POST", roles, named("Role", "all", ROLE, rules=everything))
    assert "is attempting to grant RBAC permissions" in refused.json()["message"]
    refused = await api("executor", "PUT", f"{roles}/mine", {**mine, "rules": everything})
    assert refused.status_code == 403
    await api(MASTER, "POST", roles, named("Role", "all", ROLE, rules=everything))
    assert (await api("executor", "POST", bindings, binding("all", "executor"))).status_code == 403
    bound = await api("clustersync-system", "POST", bindings, binding("all"))
    assert bound.status_code == 201, "clustersync holds every verb of bindings, `bind` too"


async def test_nobody_is_bound_to_what_is_made_later(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    bindings = f"{RBAC}/namespaces/default/rolebindings"
    refused = await api("executor", "POST", bindings, binding("later", "executor"))
    assert refused.status_code == 404
    bound = await api("clustersync-system", "POST", bindings, binding("later"))
    assert bound.status_code == 201, "`bind` lifts it"


MALFORMED: list[tuple[str, Any]] = [
    ("subjects", ["x"]),
    ("subjects", 7),
    ("roleRef", "x"),
    ("rules", ["x"]),
    ("rules", 7),
    ("rules", [{"verbs": 7}]),
    ("rules", [{"verbs": [7]}]),
]


@pytest.mark.parametrize(("field", "value"), MALFORMED, ids=str)
async def test_no_role_or_binding_breaks_what_is_decided_later(
    field: str, value: Any, nursery: trio.Nursery
) -> None:
    api = Api("compute", nursery)
    roles, bindings = (f"{RBAC}/namespaces/default/{name}" for name in ("roles", "rolebindings"))
    whole = named("Role", "r", ROLE, rules=READ_PODS) if field == "rules" else binding("r")
    path = roles if field == "rules" else bindings
    refused = await api(MASTER, "POST", path, {**whole, field: value})
    assert refused.status_code == 400
    assert (await api(MASTER, "POST", path, whole)).status_code == 201
    assert (await api(MASTER, "PUT", f"{path}/r", {**whole, field: value})).status_code == 400
    assert (await api("proxy-system", "GET", PODS)).status_code == 200


async def test_logs_metrics_and_accounts(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    assert (await api("proxy-system", "GET", f"{PODS}/p/log")).content == LOG
    assert (await api("union-operator-prometheus", "GET", "/metrics")).status_code == 200
    assert (await api("proxy-system", "GET", "/metrics")).status_code == 403
    await api("proxy-system", "GET", "/apis/made.up/v1/secret-words")
    report = (await api(MASTER, "GET", "/_planesplit/access")).json()["access"]
    rows = {(row["user"].rpartition(":")[2], row["resource"], row["allowed"]) for row in report}
    assert ("proxy-system", "pods/log", True) in rows
    assert ("proxy-system", "/metrics", False) in rows
    assert ("proxy-system", "other", False) in rows
    assert "secret-words" not in json.dumps(report), "a caller's own words are not kept"


async def test_who_am_i_and_what_may_i(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    group = "/apis/authorization.k8s.io/v1"
    for verb, expected in (("list", True), ("create", False)):
        asked = {"spec": {"resourceAttributes": {"verb": verb, "resource": "pods"}}}
        answer = await api("proxy-system", "POST", f"{group}/selfsubjectaccessreviews", asked)
        assert answer.json()["status"]["allowed"] is expected
    path = {"spec": {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}}
    answer = await api("proxy-system", "POST", f"{group}/selfsubjectaccessreviews", path)
    assert answer.json()["status"]["allowed"] is False
    rules = await api(
        "proxy-system", "POST", f"{group}/selfsubjectrulesreviews", {"spec": {"namespace": "union"}}
    )
    found = [rule["resources"] for rule in rules.json()["status"]["resourceRules"]]
    assert ["secrets"] in found
    me = await api("proxy-system", "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert me.json()["status"]["userInfo"]["username"].endswith(":proxy-system")


def webhook(**fields: Any) -> dict[str, Any]:
    rule = {"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
    hook = {"name": "w.x", "rules": [rule], "clientConfig": {"url": "http://hook/"}, **fields}
    version = "admissionregistration.k8s.io/v1"
    return named("MutatingWebhookConfiguration", "w", version, webhooks=[hook])


WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


async def with_webhook(nursery: trio.Nursery, answer: Any, **fields: Any) -> httpx.Response:
    """Create a pod while a webhook answers so."""

    def hook(request: httpx.Request) -> httpx.Response:
        if not isinstance(answer, dict):
            return httpx.Response(answer)
        uid = json.loads(request.content)["request"]["uid"]
        return httpx.Response(200, json={"response": {"uid": uid, **answer}})

    api = Api(
        "compute",
        nursery,
        connect=lambda url, bundle: httpx.AsyncClient(transport=httpx.MockTransport(hook)),
    )
    account = "flytepropeller-webhook-system"
    assert (await api(account, "POST", WEBHOOKS, webhook(**fields))).status_code == 201
    return await api("executor", "POST", PODS, pod())


async def test_a_webhook_changes_a_pod(nursery: trio.Nursery) -> None:
    steps = [{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}]
    patch = base64.b64encode(json.dumps(steps).encode()).decode()
    answer = await with_webhook(nursery, {"allowed": True, "patch": patch})
    assert (answer.status_code, answer.json()["metadata"]["labels"]) == (201, {"seen": "yes"})


async def test_a_webhook_refuses_a_pod(nursery: trio.Nursery) -> None:
    status = {"code": 422, "message": "no"}
    answer = await with_webhook(nursery, {"allowed": False, "status": status})
    assert answer.status_code == 422
    assert answer.json()["message"] == 'admission webhook "w.x" denied the request: no'


@pytest.mark.parametrize("answer", [500, {"uid": "another", "allowed": True}])
@pytest.mark.parametrize(("policy", "code"), [("Fail", 500), ("Ignore", 201)])
async def test_a_webhook_that_is_away(
    nursery: trio.Nursery, answer: Any, policy: str, code: int
) -> None:
    assert (await with_webhook(nursery, answer, failurePolicy=policy)).status_code == code
