"""What pods use now, by the latest samples in the customer's ClickHouse: two numbers, no rows."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

import httpx

from compute_agent.clickhouse import ClickHouseSettings
from tunnel.tls import client_context
from tunnel.token import TokenFile, TokenUnreadable

# Samples come every second or few; what is older than this has stopped.
QUERY = """
SELECT sumIf(v, n = 'container.cpu.usage'), sumIf(v, n = 'container.memory.usage')
FROM (
    SELECT MetricName AS n, argMax(Value, TimeUnix) AS v
    FROM otel_metrics_gauge
    WHERE n IN ('container.cpu.usage', 'container.memory.usage')
        AND TimeUnix > now64() - INTERVAL 60 SECOND
        AND ResourceAttributes['k8s.pod.uid'] IN {pods:Array(String)}
    GROUP BY n, ResourceAttributes['k8s.pod.uid'], ResourceAttributes['k8s.container.name']
)
FORMAT TabSeparated
"""
EXECUTION_S = 2  # of the server: the numbers are not worth more
MAX_ANSWER_BYTES = 1_024


class Samples:
    """Asks for the sums over some pods.

    Args:
        settings: where ClickHouse is, and as whom to ask.
    """

    def __init__(self, settings: ClickHouseSettings) -> None:
        self._settings = settings
        self._context: ssl.SSLContext | bool = False
        if settings.url.startswith("https:"):
            self._context = client_context(settings.ca_file or None)
        self._password = TokenFile(settings.password_file) if settings.password_file else None

    async def __call__(self, pods: Sequence[str]) -> tuple[float, float]:
        """Return cores and bytes in use by pods, named by uid; zeros where nobody can say."""
        parameters: dict[str, str | int] = {
            "database": self._settings.database,
            "param_pods": "[" + ",".join(f"'{uid}'" for uid in pods if _plain(uid)) + "]",
            "max_execution_time": EXECUTION_S,
        }
        try:
            async with httpx.AsyncClient(verify=self._context, trust_env=False) as http:
                answer = await http.post(
                    self._settings.url, params=parameters, content=QUERY, headers=self._headers()
                )
            if answer.status_code != httpx.codes.OK or len(answer.content) > MAX_ANSWER_BYTES:
                return 0.0, 0.0
            cores, used_bytes = answer.text.split("\t")
            return float(cores), float(used_bytes)
        except (httpx.HTTPError, TokenUnreadable, ValueError):
            return 0.0, 0.0

    def _headers(self) -> dict[str, str]:
        headers = {"X-ClickHouse-User": self._settings.user}
        if self._password is not None:
            headers["X-ClickHouse-Key"] = self._password.current().reveal().decode()
        return headers


def _plain(uid: str) -> bool:
    return uid.replace("-", "").isalnum() and uid.isascii()
