"""What nobody should send: each is refused in Kubernetes' words, and nobody else notices."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
import trio
from kube_cast import LOG, MASTER, Api, named, pod

from kube.server.bodies import MAX_DEPTH
from kube.server.cluster import ClusterObjects
from kube.server.patches import MAX_PATCHED_BYTES
from kube.server.protobuf import MAGIC, MEDIA_TYPE
from kube.server.status import ApiError
from kube.server.store import Expired
from kube.settings import ApiSettings

SPACE = "/api/v1/namespaces/default"
MAPS, SECRETS, PODS = f"{SPACE}/configmaps", f"{SPACE}/secrets", f"{SPACE}/pods"
RBAC = "rbac.authorization.k8s.io/v1"
ROLES, BINDINGS = (f"/apis/{RBAC}/namespaces/default/{kind}" for kind in ("roles", "rolebindings"))
HOOKS = "admissionregistration.k8s.io/v1"
WEBHOOKS = f"/apis/{HOOKS}/mutatingwebhookconfigurations"
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
DEEP = b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)
JSON = "application/json"


async def raw(api: Api, method: str, path: str, body: bytes, kind: str = JSON) -> httpx.Response:
    """One request of the master's with a body as it is."""
    headers = {"authorization": f"Bearer {MASTER}", "content-type": kind}
    return await api._client.request(method, path, content=body, headers=headers)


@pytest.mark.parametrize(
    "value",
    [DEEP, b"[" * 2000, b"NaN", b"-Infinity", b"1e999", b'"\\ud800"', b'"\xed\xa0\x80"', b'"\xff"'],
    ids=["deep", "deeper", "nan", "infinity", "overflow", "half", "half-utf8", "latin"],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_no_body_is_more_than_a_client_error(
    nursery: trio.Nursery, method: str, value: bytes
) -> None:
    api = Api("compute", nursery)
    await api(MASTER, "POST", MAPS, named("ConfigMap", "c"))
    body = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c"},"data":%b}' % value
    kind = "application/merge-patch+json" if method == "PATCH" else JSON
    answer = await raw(api, method, MAPS if method == "POST" else f"{MAPS}/c", body, kind)
    assert answer.status_code == 400
    assert "data" not in (await api(MASTER, "GET", f"{MAPS}/c")).json()


async def test_whole_characters_beyond_the_first_plane_are_fine(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    body = b'{"metadata":{"name":"c"},"data":{"a":"\\ud83d\\ude00"}}'
    assert (await raw(api, "POST", MAPS, body)).json()["data"]["a"] == "\U0001f600"


def copies(times: int) -> list[dict[str, str]]:
    """A JSON patch that doubles an object with every step."""
    return [{"op": "copy", "from": "/data", "path": f"/data/{i}"} for i in range(times)]


STEPS: list[tuple[Any, int]] = [
    ([{"op": "remove", "path": ""}], 422),
    ([{"op": "add", "path": "/list/-1", "value": 1}], 422),
    ([{"op": "add", "path": "/list/9", "value": 1}], 422),
    ([{"op": "replace", "path": "/list/-1", "value": 1}], 422),
    ([{"op": "remove", "path": "/list/1_0"}], 422),
    (copies(40), 413),
    ([{"op": "copy", "from": "", "path": "/a"}] * 1000, 413),
    ([{"op": "copy", "from": "/data", "path": "/data/x"}] * (MAX_DEPTH + 1), 413),
]


@pytest.mark.parametrize(("steps", "code"), STEPS, ids=[str(i) for i in range(len(STEPS))])
async def test_a_json_patch_within_bounds(nursery: trio.Nursery, steps: Any, code: int) -> None:
    api = Api("compute", nursery)
    made = named("ConfigMap", "c", data={"a": "1" * 1000}, list=[1, 2])
    await api(MASTER, "POST", MAPS, made)
    headers = {"content-type": "application/json-patch+json"}
    assert (await api(MASTER, "PATCH", f"{MAPS}/c", steps, headers=headers)).status_code == code
    assert (await api(MASTER, "GET", f"{MAPS}/c")).json()["list"] == [1, 2]


async def test_many_patches_make_no_object_larger_than_one_request(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    await api(MASTER, "POST", MAPS, named("ConfigMap", "c"))
    headers = {"content-type": "application/merge-patch+json"}
    codes = []
    for key in "abcd":
        patch = {"data": {key: "x" * (MAX_PATCHED_BYTES // 3)}}
        codes.append((await api(MASTER, "PATCH", f"{MAPS}/c", patch, headers=headers)).status_code)
    assert codes == [200, 200, 413, 413]


MERGES: list[tuple[Any, Any]] = [
    ({"secrets": [{"name": "a"}]}, [{"name": "a"}]),
    ({"data": {"$patch": "delete"}}, {}),
    ({"data": {"$retainKeys": ["b"], "c": "3"}}, {"b": "2", "c": "3"}),
    ({"data": {"$retainKeys": 5}}, 400),
    ({"data": {"$patch": "forget"}}, 400),
    ({"$deleteFromPrimitiveList/list": [1]}, 400),
    ({"$setElementOrder/list": [1], "data": {"a": None}}, {"b": "2"}),
]


@pytest.mark.parametrize(("patch", "found"), MERGES, ids=[str(i) for i in range(len(MERGES))])
async def test_no_directive_is_left_out(nursery: trio.Nursery, patch: Any, found: Any) -> None:
    api = Api("compute", nursery)
    made = named("ConfigMap", "c", data={"a": "1", "b": "2"}, secrets=5)
    await api(MASTER, "POST", MAPS, made)
    headers = {"content-type": "application/strategic-merge-patch+json"}
    answer = await api(MASTER, "PATCH", f"{MAPS}/c", patch, headers=headers)
    if isinstance(found, int):
        assert answer.status_code == found
    else:
        assert answer.json()["secrets" if "secrets" in patch else "data"] == found


OPTIONS: list[tuple[Any, int]] = [
    ({"dryRun": ["All"]}, 400),
    ({"preconditions": {"uid": "another"}}, 409),
    ({"preconditions": {"resourceVersion": "1"}}, 409),
    ({"preconditions": 5}, 400),
    ({"preconditions": {}}, 200),
]


@pytest.mark.parametrize(("options", "code"), OPTIONS, ids=[str(i) for i in range(len(OPTIONS))])
async def test_a_deletion_is_done_as_asked_or_not(
    nursery: trio.Nursery, options: Any, code: int
) -> None:
    api = Api("compute", nursery)
    await api(MASTER, "POST", MAPS, named("ConfigMap", "c"))
    assert (await api(MASTER, "DELETE", f"{MAPS}/c", options)).status_code == code
    left = (await api(MASTER, "GET", f"{MAPS}/c")).status_code
    assert left == (404 if code == 200 else 200)


async def test_a_deletion_in_protobuf_too(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    await api(MASTER, "POST", MAPS, named("ConfigMap", "c"))
    meta = b"\x0a\x02v1\x12\x0dDeleteOptions"
    for options, code in (
        (b"\x2a\x03All", 400),
        (b"\x12\x05\x0a\x03uid", 409),
        (b"\x0a\x01x", 400),
    ):
        body = MAGIC + b"\x0a%c" % len(meta) + meta + b"\x12%c" % len(options) + options
        answer = await raw(api, "DELETE", f"{MAPS}/c", body, MEDIA_TYPE)
        assert answer.status_code == code
    assert (await raw(api, "DELETE", f"{MAPS}/c", b"", MEDIA_TYPE)).status_code == 200


async def test_an_immutable_secret_stays(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    secret = named("Secret", "s", data={"a": "YQ=="}, immutable=True)
    assert (await api(MASTER, "POST", SECRETS, secret)).json()["immutable"] is True
    for change in ({"data": {"a": "Yg=="}}, {"immutable": False}, {"immutable": None}):
        refused = await api(MASTER, "PUT", f"{SECRETS}/s", {**secret, **change})
        assert refused.status_code == 422
    labelled = {**secret, "metadata": {"name": "s", "labels": {"a": "b"}}}
    assert (await api(MASTER, "PUT", f"{SECRETS}/s", labelled)).status_code == 200
    wrong = named("Secret", "t", immutable="yes")
    assert (await api(MASTER, "POST", SECRETS, wrong)).status_code == 422


CONTINUES = [b"[" * 2000, b"5", b'{"a":1}', b'[1e999,"a","b"]']


@pytest.mark.parametrize("token", CONTINUES, ids=[str(i) for i in range(len(CONTINUES))])
async def test_a_continue_token_that_is_none(nursery: trio.Nursery, token: bytes) -> None:
    api = Api("compute", nursery)
    query = {"limit": "1", "continue": base64.urlsafe_b64encode(token).decode()}
    assert (await api(MASTER, "GET", MAPS, params=query)).status_code == 400


async def test_a_log_since_ever_and_under_its_own_version_only(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    log = f"{PODS}/p/log?sinceSeconds={'9' * 18}"
    assert (await api(MASTER, "GET", log)).content == LOG
    for version in ("/api/v2", "/apis//v1"):
        path = log.replace("/api/v1", version)
        assert (await api(MASTER, "GET", path)).status_code == 404
    review = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
    path = "/apis/authorization.k8s.io/v9/selfsubjectaccessreviews"
    assert (await api(MASTER, "POST", path, review)).status_code == 404


OBJECTS = [
    ("/api/v1/nodes", named("Node", "n")),
    (f"{SPACE}/events", named("Event", "e")),
    (f"{SPACE}/events", named("Event", "e", lastTimestamp="soon", involvedObject=5)),
    (MAPS, named("ConfigMap", "c", items=5)),
]


@pytest.mark.parametrize(("path", "obj"), OBJECTS, ids=[str(i) for i in range(len(OBJECTS))])
async def test_any_object_is_shown_as_a_table(nursery: trio.Nursery, path: str, obj: Any) -> None:
    api = Api("compute", nursery)
    assert (await api(MASTER, "POST", path, obj)).status_code == 201
    for one in (path, f"{path}/{obj['metadata']['name']}"):
        answer = await api(MASTER, "GET", one, headers=TABLE)
        assert len(answer.json()["rows"]) == 1
    parts = {"accept": "application/json;as=PartialObjectMetadata"}
    answer = await api(MASTER, "GET", f"{path}/{obj['metadata']['name']}", headers=parts)
    assert answer.json()["kind"] == "PartialObjectMetadata"


HOOK = {
    "name": "w.x",
    "clientConfig": {"url": "http://hook/"},
    "rules": [
        {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]},
    ],
}
SHAPES: list[tuple[str, Any]] = [
    (WEBHOOKS, named("MutatingWebhookConfiguration", "o", HOOKS, webhooks=hooks))
    for hooks in (
        5,
        [5],
        [{**HOOK, "name": ""}],
        [{**HOOK, "rules": [5]}],
        [{**HOOK, "rules": [{"operations": [[]]}]}],
        [{**HOOK, "timeoutSeconds": "x"}],
        [{**HOOK, "timeoutSeconds": 0}],
        [{**HOOK, "clientConfig": {"url": 5}}],
        [{**HOOK, "failurePolicy": "ignore"}],
    )
]
SHAPES += [
    (f"{SPACE}/resourcequotas", named("ResourceQuota", "o", spec=spec))
    for spec in ([1], {"hard": "pods"}, {"hard": {"pods": "many"}})
]


@pytest.mark.parametrize(("path", "obj"), SHAPES, ids=[str(i) for i in range(len(SHAPES))])
async def test_what_the_server_goes_by_has_its_shape(
    nursery: trio.Nursery, path: str, obj: Any
) -> None:
    api = Api("compute", nursery)
    assert (await api(MASTER, "POST", path, obj)).status_code == 400
    assert (await api("executor", "POST", PODS, pod())).status_code == 201


def api_with_hook(nursery: trio.Nursery, answer: Any) -> Api:
    """An API whose webhook answers so, about the request that it was asked about."""

    def hook(request: httpx.Request) -> httpx.Response:
        uid = json.loads(request.content)["request"]["uid"]
        said = {"response": {"uid": uid, **answer}} if isinstance(answer, dict) else answer
        return httpx.Response(200, content=said if isinstance(said, bytes) else json.dumps(said))

    return Api(
        "compute",
        nursery,
        connect=lambda url, bundle: httpx.AsyncClient(transport=httpx.MockTransport(hook)),
    )


def patch_of(*steps: Any) -> dict[str, Any]:
    """A webhook's answer that changes an object."""
    patch = base64.b64encode(json.dumps(steps).encode()).decode()
    return {"allowed": True, "patch": patch}


ANSWERS: list[tuple[Any, int]] = [
    ({"allowed": False, "status": {"code": 200}}, 400),
    ({"allowed": False, "status": {"code": "no"}}, 403),
    ({"allowed": False, "status": "no"}, 403),
    ([], 500),
    ({"uid": None}, 500),
    (b'{"response":"x"}', 500),
    (b" " * 2_000_000, 500),
    (patch_of({"op": "remove", "path": "/none"}), 500),
    (patch_of(*copies(40)), 500),
    (patch_of({"op": "replace", "path": "", "value": 5}), 400),
    (patch_of({"op": "remove", "path": "/spec"}), 400),
    (patch_of({"op": "replace", "path": "/metadata/namespace", "value": "union"}), 400),
]


@pytest.mark.parametrize(("answer", "code"), ANSWERS, ids=[str(i) for i in range(len(ANSWERS))])
async def test_no_webhook_breaks_the_server(nursery: trio.Nursery, answer: Any, code: int) -> None:
    api = api_with_hook(nursery, answer)
    hook = named("MutatingWebhookConfiguration", "w", HOOKS, webhooks=[HOOK])
    assert (await api(MASTER, "POST", WEBHOOKS, hook)).status_code == 201
    assert (await api("executor", "POST", PODS, pod())).status_code == code
    assert (await api(MASTER, "GET", "/api/v1/pods")).json()["items"] == []


async def test_no_webhook_lifts_what_its_author_may_not_give(nursery: trio.Nursery) -> None:
    """The executor may make webhooks (all plugin objects): what they change is judged too."""
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]
    api = api_with_hook(nursery, patch_of({"op": "add", "path": "/rules", "value": rules}))
    hook = named("MutatingWebhookConfiguration", "w", HOOKS, webhooks=[HOOK])
    assert (await api("executor", "POST", WEBHOOKS, hook)).status_code == 201
    assert (await api("executor", "POST", ROLES, named("Role", "r", RBAC))).status_code == 403


async def test_a_role_that_takes_long_to_judge_is_refused(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    words = [f"w{i}" for i in range(200)]
    rules = [{"apiGroups": words, "resources": words, "verbs": ["create"]}]
    assert (
        await api("executor", "POST", ROLES, named("Role", "r", RBAC, rules=rules))
    ).status_code == 400
    assert (
        await api(MASTER, "POST", ROLES, named("Role", "r", RBAC, rules=rules))
    ).status_code == 201


async def test_a_name_in_a_rule_is_all_that_it_gives(nursery: trio.Nursery) -> None:
    """Neither methods of one's own nor selectors reach beyond `resourceNames`."""
    api = Api("compute", nursery)
    for name in ("mine", "other"):
        await api(MASTER, "POST", SECRETS, named("Secret", name))
    verbs = ["list", "watch", "deletecollection"]
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": verbs, "resourceNames": ["mine"]}
    await api(MASTER, "POST", ROLES, named("Role", "r", RBAC, rules=[rule]))
    subject = {"kind": "ServiceAccount", "name": "fluentbit", "namespace": "union"}
    bound = named(
        "RoleBinding", "r", RBAC, roleRef={"kind": "Role", "name": "r"}, subjects=[subject]
    )
    await api(MASTER, "POST", BINDINGS, bound)
    chosen = f"{SECRETS}?fieldSelector=metadata.name%3Dmine"
    listed = await api("fluentbit", "GET", chosen)
    assert [each["metadata"]["name"] for each in listed.json()["items"]] == ["mine"]
    for method in ("LIST", "WATCH", "DELETECOLLECTION", "list"):
        assert (await api("fluentbit", method, f"{SECRETS}/mine")).status_code == 403
    assert (await api("fluentbit", "DELETE", chosen)).status_code == 403, "as in Kubernetes"
    assert len((await api(MASTER, "GET", SECRETS)).json()["items"]) == 2


async def test_accounts_stay_bounded_and_well_formed(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    for i in range(50):
        await api._client.request(f"MADE-UP-{i}", "/livez")
    await api(MASTER, "GET", PODS, headers={"impersonate-user": 'a"b\\'})
    found = (await api(MASTER, "GET", "/metrics")).text
    assert "made" not in found.lower()
    assert 'a"b' not in found


def objects(**limits: int) -> ClusterObjects:
    """A cluster within limits."""
    return ClusterObjects(ApiSettings(**limits))


def test_all_objects_together_are_bounded_in_bytes() -> None:
    cluster = objects(max_stored_bytes=65_536)
    maps = cluster.kinds["configmaps"]
    large = {"a": "x" * 30_000}
    for name in "abc":
        maps.create("default", named("ConfigMap", name, data=large))
    with pytest.raises(ApiError, match="max_stored_bytes"):
        maps.create("default", named("ConfigMap", "d"))
    with pytest.raises(ApiError, match="max_stored_bytes"):
        maps.replace("default", "a", named("ConfigMap", "a", data={"a": "x" * 40_000}))
    maps.replace("default", "a", named("ConfigMap", "a"))
    maps.delete("default", "b")
    assert maps.create("default", named("ConfigMap", "d"))
    assert cluster.store.stored_bytes == sum(
        len(json.dumps(obj)) for kind in cluster.kinds for obj in cluster.store.list(kind)
    )


def test_the_history_is_bounded_in_bytes_too() -> None:
    cluster = objects(event_history_bytes=65_536)
    maps, start = cluster.kinds["configmaps"], cluster.store.version
    for number in range(10):
        maps.create("default", named("ConfigMap", f"c{number}", data={"a": "x" * 20_000}))
    with pytest.raises(Expired):
        cluster.store.events_since(start)
    kept = cluster.store.events_since(cluster.store.version - 3)
    assert [event.object["metadata"]["name"] for event in kept] == ["c7", "c8", "c9"]


async def test_a_generated_name_has_a_prefix(nursery: trio.Nursery) -> None:
    api = Api("compute", nursery)
    assert (await api(MASTER, "POST", MAPS, {"metadata": {"generateName": ""}})).status_code == 422
