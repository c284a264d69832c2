"""Live byte counters of every row of the white paper, per hop, and whether they are as claimed."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from planesplit.ready import ClusterAccess, Ready
from planesplit.tokens import Tokens
from tunnel.rows import APPENDIX_A, SIGNED, Row, Transit

TIMEOUT_S = 5.0
_SAMPLE = re.compile(r'(?:relay|control)_row_bytes_total\{row="(\w+)",direction="\w+"\} (\d+)')

SIGNED_ROW = Row(
    SIGNED, "Presigned URLs (Appendix B)", "nowhere", "Signed via tunnel", "memory", ()
)
CLAIMS: dict[Transit, str] = {
    "no": "no",
    "metadata": "metadata, stored",
    "yes": "yes, stored",
    "memory": "in memory, not stored",
}


class CountersAway(Exception):
    """A hop's counters cannot be read; names it."""


@dataclass(frozen=True, slots=True)
class Counted:
    """One row and the bytes that its data had on each hop.

    Args:
        relay, control: through the relay, and through the control plane's own API.
        direct: between client or pod and the customer's infrastructure, past both.
    """

    row: Row
    relay: int
    control: int
    direct: int

    @property
    def as_claimed(self) -> bool:
        """Whether the counters agree with what the white paper says of this row."""
        match self.row.transits:
            case "no":
                return not self.relay and not self.control
            case "memory":
                return not self.control
            case _:
                return True

    def table(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "row": self.row.id,
            "data": self.row.data,
            "stored_in": self.row.stored_in,
            "transits": self.row.transits,
            "relay_bytes": self.relay,
            "control_bytes": self.control,
            "direct_bytes": self.direct,
            "as_claimed": self.as_claimed,
        }


@dataclass(slots=True)
class Hops:
    """Bytes by row, hop by hop; rows add up over clusters."""

    relay: dict[str, int] = field(default_factory=dict)
    control: dict[str, int] = field(default_factory=dict)
    direct: dict[str, int] = field(default_factory=dict)

    def rows(self) -> list[Counted]:
        """Return every row of Appendix A, then the signed URLs."""
        return [
            Counted(
                row,
                self.relay.get(row.id, 0),
                self.control.get(row.id, 0),
                self.direct.get(row.id, 0),
            )
            for row in (*APPENDIX_A.values(), SIGNED_ROW)
        ]


async def count(
    ready: Ready, mounts: Mapping[str, httpx.AsyncBaseTransport] | None = None
) -> list[Counted]:
    """Read every hop's counters.

    Args:
        mounts: transports by URL pattern, instead of the network.

    Raises:
        CountersAway: naming the hop.
    """
    verify = ssl.create_default_context(cafile=ready.ca_file) if ready.ca_file else False
    hops = Hops()
    async with httpx.AsyncClient(
        verify=verify, trust_env=False, timeout=TIMEOUT_S, mounts=mounts
    ) as http:
        add(hops.relay, samples(await _text(http, "relay", f"{ready.urls.ops}/metrics")))
        url = f"{ready.urls.control}/metrics"
        add(hops.control, samples(await _text(http, "control plane", url)))
        viewer = await _viewer(http, ready)
        for cluster in ready.clusters:
            await _direct(http, cluster, hops, viewer)
    return hops.rows()


async def _viewer(http: httpx.AsyncClient, ready: Ready) -> dict[str, str]:
    if ready.credentials is None:
        return {}
    login = ready.credentials
    secret_file = Path(login.client_secret_file)
    token = await Tokens(http, ready.urls.control, login.client_id, secret_file)()
    return {"authorization": f"Bearer {token}"}


async def _direct(
    http: httpx.AsyncClient, cluster: ClusterAccess, hops: Hops, viewer: dict[str, str]
) -> None:
    hop = f"cluster {cluster.cluster}"
    urls = [(f"{cluster.kubernetes}/_planesplit/rows", _operator(cluster))]
    if cluster.data:
        urls.append((f"{cluster.data}/_planesplit/rows", viewer))
    for url, headers in urls:
        table = (await _get(http, hop, url, headers)).json()["direct"]
        add(hops.direct, ((row, sum(bytes_.values())) for row, bytes_ in table.items()))


def _operator(cluster: ClusterAccess) -> dict[str, str]:
    token = Path(cluster.kubernetes_token_file).read_text(encoding="utf-8").strip()
    return {"authorization": f"Bearer {token}"}


def samples(text: str) -> Iterable[tuple[str, int]]:
    """Return row and bytes of each row counter in Prometheus' text."""
    return [(found[1], int(found[2])) for found in _SAMPLE.finditer(text)]


def add(counts: dict[str, int], more: Iterable[tuple[str, int]]) -> None:
    """Add bytes to a table of rows."""
    for row, amount in more:
        counts[row] = counts.get(row, 0) + amount


async def _text(http: httpx.AsyncClient, hop: str, url: str) -> str:
    return (await _get(http, hop, url, {})).text


async def _get(
    http: httpx.AsyncClient, hop: str, url: str, headers: dict[str, str]
) -> httpx.Response:
    try:
        answer = await http.get(url, headers=headers)
    except httpx.HTTPError as error:
        raise CountersAway(
            f"the {hop} does not tell its counters: {type(error).__name__}"
        ) from None
    if answer.status_code != httpx.codes.OK:
        raise CountersAway(f"the {hop} does not tell its counters: status {answer.status_code}")
    return answer
