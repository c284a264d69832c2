"""A whole split with exactly the white paper's rights: who calls what, and who may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
import yaml
from flyteidl2.cluster.payload_pb2 import SelectClusterRequest
from flyteidl2.secret import definition_pb2 as definition
from flyteidl2.secret import payload_pb2 as payload
from flyteidl2.workflow.run_service_pb2 import CreateRunRequest, CreateRunResponse

from planesplit.connect_client import ConnectError
from planesplit.events import open_events
from planesplit.split.core import Split
from planesplit.split.options import SplitOptions
from policy.reach import reaches
from policy.resources import resources
from policy.roles import roles
from policy.uncalled import UNCALLED, uncalled

DISCOVERED = (
    *("nodes", "services", "endpoints", "pods"),
    *("endpointslices.discovery.k8s.io", "ingresses.networking.k8s.io"),
)
# What payload flows and the workings around them need, by account: verb, resource.
COMPUTE = {
    "executor": {"create pods", "get pods", "delete pods", "list pods", "watch pods"},
    "proxy-system": {
        *("get pods/log", "list events", "watch events"),
        *("create secrets", "update secrets", "get secrets", "list secrets", "delete secrets"),
    },
    "operator-system": {"list nodes", "watch nodes", "list pods", "watch pods"},
    "clustersync-system": {
        *("create namespaces", "create serviceaccounts", "create resourcequotas"),
        *(
            "create roles.rbac.authorization.k8s.io",
            "create rolebindings.rbac.authorization.k8s.io",
        ),
    },
    "union-operator-prometheus": {
        "get /metrics",
        *(f"{verb} {kind}" for verb in ("list", "watch") for kind in DISCOVERED),
    },
    "flytepropeller-webhook-system": {
        "get secrets",
        "get mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "create mutatingwebhookconfigurations.admissionregistration.k8s.io",
    },
}
_NAMESPACES = {"list namespaces", "watch namespaces"}
CONTROL = {
    "flyteadmin": {"list namespaces", "create namespaces", "create secrets", "create configmaps"},
    "authorizer": _NAMESPACES,
    "cluster": {*_NAMESPACES, "list nodes", "watch nodes", "list deployments.apps"},
    "dataproxy": {"list secrets", "watch secrets"},
    "executions": {*_NAMESPACES, "list configmaps", "list flyteworkflows.flyte.lyft.com"},
    "queue": _NAMESPACES,
    "run-scheduler": _NAMESPACES,
    "usage": _NAMESPACES,
    "console": {*_NAMESPACES, "list pods", "list flyteworkflows.flyte.lyft.com"},
}


class Story:
    """A split in this process, and its operators' looks at the APIs."""

    def __init__(self, split: Split) -> None:
        self.split = split

    async def access(self, url: str, token_file: str) -> list[dict[str, Any]]:
        headers = {"authorization": f"Bearer {Path(token_file).read_text().strip()}"}
        async with httpx.AsyncClient(mounts=self.split._planes.mounts) as http:
            answer = await http.get(f"{url}/_planesplit/access", headers=headers)
        rows: list[dict[str, Any]] = answer.json()["access"]
        return [row for row in rows if row["user"].startswith("system:serviceaccount:")]

    async def everywhere(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        ready = self.split.ready
        cluster = ready.clusters[0]
        own = Path(ready.directory) / "secrets" / "kubernetes-operator"
        return (
            await self.access(cluster.kubernetes, cluster.kubernetes_token_file),
            await self.access(ready.kubernetes, str(own)),
        )


def used(rows: list[dict[str, Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        account = row["user"].rpartition(":")[2]
        found.setdefault(account, set()).add(f"{row['verb']} {row['resource']}")
    return found


async def secrets_kept(split: Split) -> None:
    """Every call about a secret, through relay and agent."""
    endpoint = await split.viewer.endpoint(SelectClusterRequest.OPERATION_USE_SECRETS)
    place = split.options.place
    name = definition.SecretIdentifier(
        organization=place.org, project=place.project, domain=place.domain, name="token"
    )
    spec = definition.SecretSpec(string_value="hush")
    where = {"project": place.project, "domain": place.domain, "organization": place.org}
    calls: list[tuple[str, Any, type]] = [
        ("Create", payload.CreateSecretRequest(id=name, secret_spec=spec), CREATED),
        ("Update", payload.UpdateSecretRequest(id=name, secret_spec=spec), UPDATED),
        ("Get", payload.GetSecretRequest(id=name), payload.GetSecretResponse),
    ]
    for method, request, answer in calls:
        path = f"{endpoint}/flyteidl2.secret.SecretService/{method}Secret"
        await split.viewer.client.unary(path, request, answer)
    await split.viewer.client.unary(
        f"{endpoint}/flyteidl2.secret.SecretService/ListSecrets",
        payload.ListSecretsRequest(**where),
        payload.ListSecretsResponse,
    )


async def secret_used(split: Split) -> None:
    """A task that wants the secret; then the secret goes."""
    place = split.options.place
    request = CreateRunRequest()
    run = request.run_id
    run.org, run.project, run.domain, run.name = place.org, place.project, place.domain, "secretive"
    template = request.task_spec.task_template
    template.id.name, template.type = "secretive", "container"
    template.container.image = "planesplit/workload"
    template.container.args.extend(["plain", "--lines", "1"])
    template.security_context.secrets.add(key="token", env_var="TOKEN")
    await split.viewer.call("CreateRun", request, CreateRunResponse)
    assert (await split.wait("secretive")).phase == "SUCCEEDED"
    endpoint = await split.viewer.endpoint(SelectClusterRequest.OPERATION_USE_SECRETS)
    name = definition.SecretIdentifier(
        organization=place.org, project=place.project, domain=place.domain, name="token"
    )
    path = f"{endpoint}/flyteidl2.secret.SecretService/DeleteSecret"
    gone = payload.DeleteSecretRequest(id=name)
    await split.viewer.client.unary(path, gone, payload.DeleteSecretResponse)


CREATED, UPDATED = payload.CreateSecretResponse, payload.UpdateSecretResponse


async def whole_story(split: Split) -> None:
    """Secrets; a run that is tailed, watched and ends; one that is aborted."""
    await secrets_kept(split)
    await secret_used(split)
    run = await split.run(workload="plain", args=("--lines", "3"))
    async with split.tail(run) as lines:
        assert len([line async for line in lines]) == 3
    async with open_events(split.viewer, run, follow=True) as events:
        assert [event async for event in events]
    endless = await split.run(workload="plain", args=("--rate", "1"))
    async with split.tail(endless) as lines:
        await anext(lines)
    await split.viewer.abort(endless)
    await split.wait(endless)


async def test_every_part_calls_under_its_account_and_nothing_is_denied(tmp_path: Path) -> None:
    async with Split(SplitOptions(mode="inprocess")) as split:
        await whole_story(split)
        compute, control = await Story(split).everywhere()
        assert [row for row in compute + control if not row["allowed"]] == []
        assert unexplained(used(compute)) == []
        assert refusals(split) == []
        for expected, rows in ((COMPUTE, compute), (CONTROL, control)):
            seen = used(rows)
            assert set(seen) <= set(expected), "nobody else calls"
            missing = {a: calls - seen.get(a, set()) for a, calls in expected.items()}
            assert {a: calls for a, calls in missing.items() if calls} == {}


def unexplained(called: dict[str, set[str]]) -> list[str]:
    """What accounts may do with payload: neither called nor excused, or both."""
    found = []
    actors = {name for role in roles("compute") if role.actor for name in role.accounts}
    known = {f"{one.name}/{sub}" for one in resources().values() for sub in one.subresources}
    for reach in reaches("compute", (*resources(), *sorted(known))):
        calls = {_plain(call) for call in called.get(reach.account, set())}
        excused = {} if reach.namespace else uncalled(reach.account)
        for what in reach.payload if reach.account in actors else ():
            found += [
                f"{reach.account} {verb} {what}"
                for verb in reach.cells[what]
                if (f"{verb} {what}" in calls) == (verb in excused.get(what, ()))
            ]
    return found


def _plain(call: str) -> str:
    """A call without its API group."""
    verb, what = call.split()
    return f"{verb} {what.partition('.')[0]}"


def refusals(split: Split) -> list[str]:
    """What the customer's plane wrote down of refusals and faults."""
    bad = ("refused", "denied", "lost", "error", "failed", "down")
    return [line for line in split._planes.journals["customer_stub"].lines if says(line, bad)]


def says(line: str, words: tuple[str, ...]) -> bool:
    """Whether a journal line's event is called by one of these words."""
    return any(word in json.loads(line)["event"].split("_") for word in words)


@pytest.mark.parametrize(
    ("account", "change", "found"),
    [
        ("proxy-system", {"get pods/log"}, "proxy-system get pods/log"),
        ("proxy-system", {"delete secrets"}, "proxy-system delete secrets"),
        ("executor", {"create pods/exec"}, "executor create pods/exec"),
        ("kube-state-metrics", {"list secrets"}, "kube-state-metrics list secrets"),
    ],
    ids=["a log unread", "a secret undeleted", "a shell", "a list of secrets"],
)
def test_what_is_not_called_or_called_unexpectedly_is_found(
    account: str, change: set[str], found: str
) -> None:
    assert unexplained(COMPUTE) == []
    calls = {**COMPUTE, account: COMPUTE.get(account, set()) ^ change}
    assert unexplained(calls) == [found]


def test_excuses_are_of_accounts_that_call_and_of_what_they_may() -> None:
    actors = {name for role in roles("compute") if role.actor for name in role.accounts}
    names = [what for one in UNCALLED for what in one.resources.split()]
    reached = {reach.account: reach for reach in reaches("compute", names) if not reach.namespace}
    for one in UNCALLED:
        assert one.account in actors
        for what in one.resources.split():
            assert set(one.verbs.split()) <= set(reached[one.account].cells[what])
            assert what in reached[one.account].payload


async def test_the_console_finds_no_customer_pod() -> None:
    """White paper C5 grants it `pods/log`, in a cluster where no task runs."""
    async with Split(SplitOptions(mode="inprocess")) as split:
        run = await split.run(workload="plain", args=("--lines", "3"))
        await split.wait(run)
        ready = split.ready
        of_customer = Pods(split, ready.clusters[0].kubernetes, ready.clusters[0].kubeconfigs)
        of_vendor = Pods(split, ready.kubernetes, ready.kubeconfigs)
        (pod,) = await of_customer.names("proxy-system")
        assert await of_customer.log("proxy-system", *pod) == 200
        assert await of_vendor.names("console") == []
        assert await of_vendor.log("console", *pod) == 404


class Pods:
    """Pods and logs of one cluster, as an account sees them."""

    def __init__(self, split: Split, url: str, kubeconfigs: dict[str, str]) -> None:
        self._split, self._url, self._kubeconfigs = split, url, kubeconfigs

    async def names(self, account: str) -> list[tuple[str, str]]:
        """Namespace and name of each."""
        found = [pod["metadata"] for pod in (await self._get(account, "pods")).json()["items"]]
        return [(pod["namespace"], pod["name"]) for pod in found]

    async def log(self, account: str, namespace: str, name: str) -> int:
        """The answer's status."""
        return (await self._get(account, f"namespaces/{namespace}/pods/{name}/log")).status_code

    async def _get(self, account: str, path: str) -> httpx.Response:
        config = yaml.safe_load(Path(self._kubeconfigs[account]).read_text())
        headers = {"authorization": f"Bearer {config['users'][0]['user']['token']}"}
        async with httpx.AsyncClient(mounts=self._split._planes.mounts) as http:
            return await http.get(f"{self._url}/api/v1/{path}", headers=headers)


@pytest.mark.parametrize("account", ["proxy_system", "clustersync_system"])
async def test_a_capability_under_a_wrong_account_is_refused(tmp_path: Path, account: str) -> None:
    """fluentbit may read pods and namespaces, and nothing that these two do."""
    kept = tmp_path / "split"
    wrong = kept / "clusters" / "c1" / "secrets" / "kubernetes-fluentbit"
    settings = {"compute_agent": {"accounts": {account: str(wrong)}}}
    async with Split(SplitOptions(mode="inprocess", keep=kept, settings=settings)) as split:
        run = await split.run(workload="plain", args=("--lines", "3"))
        if account == "clustersync_system":
            assert (await split.wait(run)).phase == "FAILED"
        else:
            with pytest.raises(ConnectError) as caught, trio.fail_after(30):
                async with split.tail(run) as lines:
                    _ = [line async for line in lines]
            assert caught.value.code == "permission_denied"
        compute, _ = await Story(split).everywhere()
        assert [row["user"] for row in compute if not row["allowed"]]
