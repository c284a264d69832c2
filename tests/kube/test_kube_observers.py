"""Log collector, cost, state and GPU metrics read the cluster under their own accounts."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from customer_stub.kubernetes.observers import COSTS, GPUS, LOGS, STATE
from customer_stub.samples.sampler import Running, Sampler
from customer_stub.samples.settings import SamplesSettings
from planesplit.split.core import Split

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


@pytest.mark.integration
async def test_they_call_in_a_whole_split() -> None:
    async with Split() as split:
        run = await split.run(workload="plain", args=("--lines", "2"))
        assert (await split.wait(run)).phase == "SUCCEEDED"
        cluster = split.ready.clusters[0]
        token = Path(cluster.kubernetes_token_file).read_text().strip()
        context = ssl.create_default_context(cafile=split.ready.ca_file)
        async with httpx.AsyncClient(verify=context, trust_env=False) as http:
            answer = await http.get(
                f"{cluster.kubernetes}/_planesplit/access",
                headers={"authorization": f"Bearer {token}"},
            )
        rows = answer.json()["access"]
        assert [row for row in rows if not row["allowed"]] == []
        calls = {(row["user"].rpartition(":")[2], row["verb"], row["resource"]) for row in rows}
        for account in (LOGS, COSTS, STATE, GPUS):
            assert {(account, "list", "pods"), (account, "watch", "pods")} <= calls
