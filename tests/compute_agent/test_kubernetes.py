from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
import trio
from fakes import ATTEMPT

from compute_agent.kubernetes import Kubernetes, manifest
from compute_agent.pods import Pod, PodSpec
from compute_agent.settings import ClusterLimits
from compute_agent.workspaces import Workspaces
from kube.client import ClusterError, ClusterRefused, KubernetesApi, WatchExpired
from tunnel.token import TokenFile

SPEC = PodSpec(ATTEMPT, "main", "img", ("sh",), ("-c", "x"), {"B": "2", "A": "1"})


def pod_json(version: int = 1, **status) -> dict:
    meta = {
        "name": ATTEMPT.pod,
        "namespace": ATTEMPT.namespace,
        "uid": "u1",
        "labels": ATTEMPT.labels(),
        "resourceVersion": str(version),
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {"metadata": meta, "status": {"phase": "Pending", **status}}


class Api:
    """Answers from a list, and keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, token: TokenFile | None = None) -> Kubernetes:
        transport = httpx.MockTransport(self)
        return cluster(KubernetesApi("https://k8s", token, None, ClusterLimits(), transport))


def cluster(api: KubernetesApi) -> Kubernetes:
    """The cluster, in which every workspace is there."""
    workspaces = Workspaces(api, 10)
    workspaces._made.add(ATTEMPT.namespace)
    return Kubernetes(api, workspaces)


def answer(status: int, value: object = None) -> httpx.Response:
    return httpx.Response(status, json=value if value is not None else {})


async def test_create_says_whether_the_pod_is_new():
    api = Api(answer(201, pod_json()), answer(409))
    client = api.client()
    assert await client.create(SPEC) is True
    assert await client.create(SPEC) is False
    request = api.requests[0]
    assert (request.method, request.url.path) == ("POST", "/api/v1/namespaces/proj-dev/pods")
    body = json.loads(request.content)
    assert body == manifest(SPEC)
    assert body["spec"] == {
        "restartPolicy": "Never",
        "serviceAccountName": "clusterresource-template",
        "containers": [
            {
                "name": "main",
                "image": "img",
                "command": ["sh"],
                "args": ["-c", "x"],
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            }
        ],
    }


async def test_get_and_delete():
    api = Api(answer(200, pod_json()), answer(404), answer(200), answer(404))
    client = api.client()
    pod = await client.get("proj-dev", "run1-a0-1")
    assert pod is not None
    assert pod.attempt == ATTEMPT
    assert await client.get("proj-dev", "run1-a0-1") is None
    assert [await client.delete("proj-dev", "x"), await client.delete("proj-dev", "x")] == [
        True,
        False,
    ]


@pytest.mark.parametrize("status", [401, 403, 422, 500, 302])
async def test_refusals_carry_the_status_and_no_text(status: int):
    api = Api(answer(status, {"message": "secret detail"}))
    with pytest.raises(ClusterRefused) as failure:
        await api.client().get("a", "b")
    assert failure.value.status == status
    assert "secret" not in str(failure.value)


async def test_network_errors_and_garbage_are_cluster_errors():
    for bad in (httpx.ConnectError("secret url"), httpx.Response(200, content=b"<html>")):
        with pytest.raises(ClusterError) as failure:
            await Api(bad).client().get("a", "b")
        assert "secret" not in str(failure.value)
    for value in ({}, {"items": 3}, [], {"items": [{}], "metadata": {}}):
        with pytest.raises(ClusterError):
            await Api(answer(200, value)).client().list()


async def test_api_that_does_not_answer_has_a_deadline(autojump_clock):
    async def hang(_request: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()

    limits = ClusterLimits()
    transport = httpx.MockTransport(hang)
    client = cluster(KubernetesApi("https://k8s", None, None, limits, transport))
    with pytest.raises(ClusterError):
        await client.get("a", "b")
    with pytest.raises(ClusterError):
        await client.watch("1", print)
    assert trio.current_time() <= limits.watch_s + 3 * limits.request_s + 1


async def test_list_reads_all_pages_and_skips_pods_of_others():
    other = {"metadata": {"name": "x", "namespace": "y", "uid": "z"}}
    first = {"items": [pod_json(), other], "metadata": {"resourceVersion": "7", "continue": "c"}}
    second = {"items": [pod_json()], "metadata": {"resourceVersion": "7"}}
    api = Api(answer(200, first), answer(200, second))
    pods, version = await api.client().list()
    assert (len(pods), version) == (2, "7")
    assert api.requests[1].url.params["continue"] == "c"


def watch_body(*events: object) -> httpx.Response:
    lines = "".join(json.dumps(event) + "\n" for event in events)
    return httpx.Response(200, content=lines.encode())


async def test_watch_tells_changes_and_follows_bookmarks():
    api = Api(
        watch_body(
            {"type": "ADDED", "object": pod_json(3)},
            {"type": "MODIFIED", "object": pod_json(4, phase="Running")},
            {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}},
            {"type": "DELETED", "object": pod_json(10)},
        )
    )
    told = []
    assert await api.client().watch("2", told.append) == "10"
    assert [(c.pod.phase, c.deleted) for c in told] == [
        ("Pending", False),
        ("Running", False),
        ("Pending", True),
    ]
    assert api.requests[0].url.params["resourceVersion"] == "2"
    assert api.requests[0].url.params["watch"] == "true"


@pytest.mark.parametrize(
    "response",
    [
        answer(410),
        watch_body({"type": "ERROR", "object": {"code": 410}}),
    ],
)
async def test_watch_from_too_old_a_version_expires(response: httpx.Response):
    with pytest.raises(WatchExpired):
        await Api(response).client().watch("1", print)


@pytest.mark.parametrize(
    "response",
    [
        answer(403),
        watch_body({"type": "ERROR", "object": {"code": 500}}),
        watch_body({"type": "ADDED", "object": 3}),
        watch_body({"type": "ADDED", "object": {**pod_json(), "status": 1}}),
        httpx.Response(200, content=b"{torn"),
    ],
)
async def test_watch_that_breaks(response: httpx.Response):
    with pytest.raises(ClusterError):
        await Api(response).client().watch("1", print)


async def test_token_is_read_again_when_its_file_changes(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text("one\n")
    api = Api(answer(404), answer(404), answer(404))
    client = api.client(TokenFile(file))
    await client.get("a", "b")
    replacement = tmp_path / "new"
    replacement.write_text("second")
    replacement.replace(file)
    await client.get("a", "b")
    assert [r.headers["authorization"] for r in api.requests] == ["Bearer one", "Bearer second"]
    file.unlink()
    with pytest.raises(ClusterError):
        await client.get("a", "b")


def test_states_of_a_pod():
    running = {"state": {"running": {"startedAt": "2026-01-01T00:00:05Z"}}}
    ended = {
        "state": {
            "terminated": {
                "exitCode": 3,
                "startedAt": "2026-01-01T00:00:05Z",
                "finishedAt": "2026-01-01T00:00:09.5Z",
            }
        }
    }
    pod = Pod.from_json(pod_json(phase="Running", containerStatuses=[running]))
    assert pod is not None
    assert (pod.scheduled, pod.ended, pod.exit_code) == (True, False, None)
    assert pod.started_s is not None
    assert pod.created_s == pod.started_s - 5
    pod = Pod.from_json(pod_json(phase="Failed", containerStatuses=[ended]))
    assert pod is not None
    assert (pod.ended, pod.exit_code) == (True, 3)
    assert pod.finished_s is not None
    assert pod.finished_s - pod.started_s == 4.5
    bare = pod_json()
    del bare["status"]
    assert Pod.from_json(bare).phase == "Pending"
