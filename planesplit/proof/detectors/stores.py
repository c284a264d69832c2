"""The customer's own stores, asked as the customer asks them: here payload must be found."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx

from planesplit.proof import claims
from planesplit.proof.detectors.base import Detector
from planesplit.proof.find import Find
from planesplit.proof.stage import Stage
from planesplit.ready import ClusterAccess

ASK_S = 20.0
OBJECTS = (
    ("secrets", claims.SECRETS),
    ("events", claims.KUBERNETES),
    ("pods", claims.KUBERNETES),
    ("nodes", claims.KUBERNETES),
)
TABLES = (
    "SELECT Body, ResourceAttributes FROM otel.otel_logs",
    "SELECT toString(Value), Attributes, ResourceAttributes FROM otel.otel_metrics_gauge",
)


class Stores(Detector):
    """Asks Kubernetes and ClickHouse; objects, images and logs are files, which `files` reads."""

    name = "stores"
    blind_to = "backends beside the ones of this split, such as a cloud's secrets manager"

    async def look(self, stage: Stage) -> list[Find]:
        """Scan secrets, events, pods, log records and samples of every cluster."""
        ca_file = stage.split.ready.ca_file
        verify = ssl.create_default_context(cafile=ca_file) if ca_file else False
        finds: list[Find] = []
        size = 0
        async with httpx.AsyncClient(verify=verify, trust_env=False, timeout=ASK_S) as http:
            for cluster in stage.split.ready.clusters:
                for place, store, answer in await _asked(http, cluster):
                    if answer.status_code != httpx.codes.OK:
                        finds.append(Find(self.name, place, f"status {answer.status_code}"))
                        continue
                    size += len(answer.content)
                    finds += stage.canaries.scan(place, answer.content, self.name, store)
        self.looked = f"{len(stage.split.ready.clusters)} clusters, {size / 1e6:.1f} MB of answers"
        return finds


async def _asked(
    http: httpx.AsyncClient, cluster: ClusterAccess
) -> list[tuple[str, str, httpx.Response]]:
    headers = {"authorization": f"Bearer {_text(cluster.kubernetes_token_file)}"}
    answers = []
    for name, store in OBJECTS:
        answer = await http.get(f"{cluster.kubernetes}/api/v1/{name}", headers=headers)
        answers.append((f"Kubernetes API of {cluster.cluster}: {name}", store, answer))
    if cluster.clickhouse:
        for sql in TABLES:
            answer = await http.post(
                cluster.clickhouse, content=f"{sql} FORMAT JSONEachRow", headers=_user(cluster)
            )
            answers.append((f"ClickHouse: {sql.rpartition(' ')[2]}", claims.CLICKHOUSE, answer))
    return answers


def _user(cluster: ClusterAccess) -> dict[str, str]:
    password = _text(cluster.clickhouse_password_file)
    return {"x-clickhouse-user": cluster.clickhouse_user, "x-clickhouse-key": password}


def _text(file: str) -> str:
    return Path(file).read_text(encoding="utf-8").strip()
