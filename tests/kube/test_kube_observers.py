"""Log collector, cost, state and GPU metrics read the cluster under their own accounts."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from kube_cast import MASTER, Api, named, pod

from customer_stub.kubernetes.clients import AccountTokens, Clients
from customer_stub.kubernetes.observers import COSTS, GPUS, LOGS, STATE, Observers
from customer_stub.kubernetes.scraper import ACCOUNT as SCRAPER
from customer_stub.samples.sampler import Running, Sampler
from customer_stub.samples.settings import SamplesSettings
from kube.server.node import register_node
from planesplit.split.core import Split
from planesplit.split.memory_http import AsgiTransport
from planesplit.split.options import SplitOptions

METRICS = {
    STATE: {"container.cpu.allocated", "container.memory.allocated"},
    COSTS: {"container.cost"},
    GPUS: {"gpu.utilization"},
}


def sampled(blind: str) -> set[str]:
    """The metrics of a pod with a GPU, while one account sees nothing."""
    sampler = Sampler(SamplesSettings(), cluster="c", node="n")
    sampler.sees = lambda account, pod: account != blind
    wanted = {"requests": {"nvidia.com/gpu": "1"}}
    pod: dict[str, Any] = {
        "metadata": {"name": "p", "namespace": "n", "uid": "u"},
        "spec": {"containers": [{"name": "main", "image": "any", "resources": wanted}]},
    }
    [one] = sampler.due([Running(pod, None)], 0.0, 0)
    return {row["MetricName"] for row in sampler.sample(one, None, now_s=0.0, now_ns=0)}


@pytest.mark.parametrize("account", METRICS)
def test_what_an_account_does_not_see_has_no_metrics(account: str) -> None:
    assert sampled("") - sampled(account) == METRICS[account]


async def observed(root: Path, nursery: trio.Nursery, **tokens: str) -> set[str]:
    """Who sees a pod at an API that checks every right; everybody has a token of his own.

    Args:
        tokens: whose token somebody has instead.
    """
    api = Api("compute", nursery)
    register_node(api.objects, max_pods=110)
    files = {name: root / name for name in (LOGS, COSTS, STATE, GPUS)}
    for name, file in files.items():
        file.write_text(tokens.get(name, name) + "\n")
    served: Any = api.app
    transport = AsgiTransport(lambda: served, nursery.start_soon)
    known = AccountTokens({name: str(file) for name, file in files.items()})
    observers = Observers(Clients("http://kubernetes", known, transport))
    nursery.start_soon(observers.run)
    await api(MASTER, "POST", "/api/v1/namespaces", named("Namespace", "acme"))
    made = await api(MASTER, "POST", "/api/v1/namespaces/acme/pods", pod())
    await observers.see([made.json()])
    return {name for name in files if observers.seen(name, made.json())}


async def test_everybody_sees_a_pod_under_the_own_account(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: Any
) -> None:
    assert await observed(tmp_path, nursery) == {LOGS, COSTS, STATE, GPUS}
    nursery.cancel_scope.cancel()


# union-operator-admission may read no pods, fluentbit no nodes, dcgm-exporter no namespaces.
WRONG = {LOGS: GPUS, COSTS: LOGS, STATE: "union-operator-admission", GPUS: LOGS}


@pytest.mark.parametrize("account", WRONG)
async def test_under_a_wrong_account_nothing_is_seen(
    account: str, tmp_path: Path, nursery: trio.Nursery, autojump_clock: Any
) -> None:
    found = await observed(tmp_path, nursery, **{account: WRONG[account]})
    assert found == WRONG.keys() - {account}
    nursery.cancel_scope.cancel()


async def page(split: Split, path: str, **options: Any) -> Any:
    """A page of the customer's API, as its operator reads it."""
    cluster = split.ready.clusters[0]
    token = Path(cluster.kubernetes_token_file).read_text().strip()
    async with httpx.AsyncClient(trust_env=False, **options) as http:
        answer = await http.get(
            f"{cluster.kubernetes}/_planesplit/{path}", headers={"authorization": f"Bearer {token}"}
        )
    return answer.json()


async def scraped(split: Split, **options: Any) -> dict[str, Any]:
    """The scraper's targets, once each has been tried."""
    with trio.fail_after(60):
        while True:
            targets = (await page(split, "scrapes", **options))["targets"]
            if all(one["scrapes"] or one["status"] for one in targets):
                return {one["job"]: one for one in targets}
            await trio.sleep(0.1)


async def test_a_scraper_under_a_wrong_account_is_refused(tmp_path: Path) -> None:
    kept = tmp_path / "split"
    wrong = kept / "clusters" / "c1" / "secrets" / "kubernetes-opencost"  # reads nodes and pods
    changed = {"accounts": {"files": {SCRAPER: str(wrong)}}}
    options = SplitOptions(mode="inprocess", keep=kept, settings={"customer_stub": changed})
    async with Split(options) as split:
        mounts = split._planes.mounts
        for target in (await scraped(split, mounts=mounts)).values():
            assert (target["up"], target["status"]) == (False, 403)
        rows = (await page(split, "access", mounts=mounts))["access"]
        assert ("get", "/metrics", False) in {
            (row["verb"], row["resource"], row["allowed"]) for row in rows
        }


@pytest.mark.integration
async def test_they_call_in_a_whole_split() -> None:
    """Over TLS, each under its own account; with ClickHouse all of them have something to do."""
    async with Split() as split:
        context = ssl.create_default_context(cafile=split.ready.ca_file)
        run = await split.run(workload="plain", args=("--lines", "2"))
        assert (await split.wait(run)).phase == "SUCCEEDED"
        lines = split._planes.journals["customer_stub"].lines
        assert [line for line in lines if "refused" in line or "denied" in line] == []
        targets = await scraped(split, verify=context)
        assert {job: one["up"] for job, one in targets.items()} == {
            "apiserver": True,
            "cadvisor": True,
        }
        assert targets["apiserver"]["samples"] > 10
        rows = (await page(split, "access", verify=context))["access"]
        assert [row for row in rows if not row["allowed"]] == []
        calls = {(row["user"].rpartition(":")[2], row["verb"], row["resource"]) for row in rows}
        for account, kinds in JOBS.items():
            for kind in kinds:
                assert {(account, "list", kind), (account, "watch", kind)} <= calls
        assert (SCRAPER, "get", "/metrics") in calls


JOBS = {
    LOGS: ("pods", "namespaces"),
    COSTS: ("pods", "nodes"),
    STATE: ("pods",),
    GPUS: ("pods", "nodes"),
    SCRAPER: (
        *("nodes", "services", "endpoints", "pods"),
        *("endpointslices.discovery.k8s.io", "ingresses.networking.k8s.io"),
    ),
}
