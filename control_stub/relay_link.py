"""Requests to the relay's private listener, and what is known of the relay from their answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
import trio
from google.protobuf.message import Message

from control_stub.issuer import Issuer
from control_stub.notices import Notices
from control_stub.policy import POLICY
from control_stub.settings import ControlSettings, Limits
from tunnel.capabilities import CAPABILITIES
from tunnel.exchange import PROOF_HEADER, Scope
from tunnel.journal import Journal
from tunnel.row_counts import RowCounts
from tunnel.tls import client_context

ANSWER_S = 10.0  # what a long poll may take beyond its wait, and a short request altogether
MAX_ANSWER_BYTES = 8 * 1024 * 1024  # an agent's report is at most 4 MiB
FIRST_PAUSE_S = 0.02
_CODE = re.compile(r"[a-z_]{1,32}")
_BOOT = re.compile(r"[A-Za-z0-9._-]{1,64}")

M = TypeVar("M", bound=Message)


class RelayAway(Exception):
    """The relay did not answer, or not as a relay does. Try again later."""


class RpcFailed(Exception):
    """The agent, or the relay in its place, answered with a Connect error; `code` names it."""

    def __init__(self, code: str) -> None:
        self.code = code if _CODE.fullmatch(code) else "unknown"
        super().__init__(self.code)


def relay_http(settings: ControlSettings, transport: httpx.AsyncBaseTransport | None) -> Any:
    """Return an HTTP client for the private listener: mTLS, no proxies, no redirects.

    Args:
        transport: what to use instead of the network, in one process.
    """
    relay = settings.relay
    verify: Any = True
    if relay.control_url.startswith("https:") and transport is None:
        verify = client_context(
            relay.ca_file or None, relay.cert_file or None, relay.key_file or None
        )
    return httpx.AsyncClient(
        base_url=relay.control_url,
        transport=transport,
        verify=verify,
        trust_env=False,
        timeout=httpx.Timeout(ANSWER_S, pool=None),
        limits=httpx.Limits(max_connections=None),  # callers are bounded, each by its setting
    )


class RelayLink:
    """What the parts that talk to the relay share.

    Args:
        http: see relay_http.
        notices: POLICY is touched when another relay (another boot) answers.
        rows: where bodies are counted.
        issuer: signs what is asked of agents.
        time: seconds, monotonic.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        notices: Notices,
        limits: Limits,
        journal: Journal,
        rows: RowCounts,
        issuer: Issuer,
        time: Callable[[], float] = trio.current_time,
    ) -> None:
        self._http, self._notices, self._limits, self._journal = http, notices, limits, journal
        self._rows, self._issuer, self._time = rows, issuer, time
        self.starts: dict[tuple[str, str], str] = {}  # which start of its agent a cluster has
        self._boot = ""
        self._informed = ""  # boot that has the policy
        self._up_at = time()
        self._failures = 0

    @property
    def ready(self) -> bool:
        """Whether the relay that answered last has our policy."""
        return bool(self._boot) and self._informed == self._boot and self._failures == 0

    async def request(
        self,
        method: str,
        path: str,
        *,
        row: str = "",
        wait_s: float = 0.0,
        answer_s: float = ANSWER_S,
        **options: Any,
    ) -> httpx.Response:
        """Send one request.

        Args:
            row: of the white paper that the bodies belong to; empty where they are counted by
                whoever knows.
            wait_s: how long the relay may hold its answer back.
            answer_s: and what it may take beyond.

        Raises:
            RelayAway: no answer, or one that is too large.
        """
        try:
            with trio.fail_after(wait_s + answer_s):
                response = await self._http.request(
                    method, path, timeout=wait_s + answer_s, **options
                )
        except (httpx.HTTPError, trio.TooSlowError):
            self._failed()
            raise RelayAway from None
        self._note(response.headers.get("planesplit-relay", ""), told=method == "PUT")
        if len(response.content) > MAX_ANSWER_BYTES:
            raise RelayAway
        if row:
            self._rows.add(row, "up", len(response.request.content))
            self._rows.add(row, "down", len(response.content))
        return response

    async def call(self, scope: Scope, path: str, message: Message, answer: type[M]) -> M:
        """Call a unary RPC at an agent.

        Raises:
            RelayAway: no answer; whether the agent heard it is not known. Or no tunnel.
            RpcFailed: a Connect error.
        """
        body = message.SerializeToString()
        start = self.starts.get((scope.org, scope.cluster))
        if start is None:
            raise RelayAway  # its tunnel is not heard of yet
        proof = self._issuer.asked(scope.org, scope.cluster, path, body, start)
        response = await self.request(
            "POST",
            scope.prefix + path,
            row=CAPABILITIES[path].row,
            wait_s=self._limits.assign_s,
            content=body,
            headers={
                "content-type": "application/proto",
                "connect-protocol-version": "1",
                PROOF_HEADER: proof,
            },
        )
        try:
            if response.status_code == 200:
                return answer.FromString(response.content)
            code = response.json()["code"]
        except Exception:  # whatever an agent's bytes do to a parser
            raise RpcFailed("unknown") from None
        raise RpcFailed(code if isinstance(code, str) else "unknown")

    def informed(self, response: httpx.Response) -> None:
        """Note that the relay that sent this answer has the policy."""
        self._informed = response.headers.get("planesplit-relay", "")

    async def pause(self) -> None:
        """Wait before another try: briefly while the relay was up a short time ago."""
        limits = self._limits
        if self._time() - self._up_at > limits.away_s:
            await trio.sleep(limits.absent_retry_s)
        else:
            doublings = min(max(self._failures - 1, 0), 16)
            await trio.sleep(min(FIRST_PAUSE_S * 2**doublings, limits.retry_s))

    def _failed(self) -> None:
        self._failures += 1
        if self._failures == 1:
            self._journal.event("relay_away")

    def _note(self, boot: str, *, told: bool) -> None:
        self._up_at, self._failures = self._time(), 0
        if boot == self._boot or not _BOOT.fullmatch(boot):
            return
        self._boot = boot
        self._journal.event("relay_found", boot=boot)
        if not told:
            self._notices.touch(POLICY)
