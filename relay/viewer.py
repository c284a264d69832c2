"""The viewers' side: admits a request by its token, path and nothing else, then couples it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from relay.auth import Caller
from relay.calls import Call
from relay.connect_errors import ConnectCode, ConnectError, streaming_type
from relay.core import Core
from relay.coupling import Coupler
from relay.downlink import answer_error
from relay.fan_out import check_request
from relay.http1 import Http1
from relay.http_head import Request
from relay.metrics import Reason
from relay.policy import Policy, PolicyHolder
from relay.serving import Rest
from tunnel.capabilities import Capability, Opener
from tunnel.exchange import NONE, REQUEST_HEADERS, Headers, RequestHead, Scope, allowed, shared


@dataclass(frozen=True, slots=True)
class Permitted:
    """Says when called whether policy still allows what was admitted."""

    policy: PolicyHolder
    caller: Caller
    scope: Scope
    capability: Capability

    def __call__(self) -> bool:
        policy, scope = self.policy.current, self.scope
        return (
            policy is not None
            and _permitted(policy, self.caller, scope, self.capability)
            and (scope.cluster == NONE or (scope.org, scope.cluster) in policy.clusters)
        )


class ViewerSide:
    """Answers viewers' requests.

    Args:
        core: the relay's.
        coupler: runs what is admitted.
    """

    def __init__(self, core: Core, coupler: Coupler) -> None:
        self._core, self._coupler = core, coupler

    async def handle(self, http: Http1, request: Request) -> Rest | None:
        """Answer one request."""
        streaming = streaming_type(request.get("content-type"))
        try:
            self._core.drain.check()
            call = self._admit(http, request)
            del request  # its headers, a token among them, are of no more use
            return await self._coupler.run(call)
        except ConnectError as error:
            self._core.metrics.reject(error.reason)
            await answer_error(http, streaming, error)
        return None

    def _admit(self, http: Http1, request: Request) -> Call:
        policy = current(self._core.policy)
        authorization = request.get("authorization")
        caller = self._core.authenticator.viewer(policy, authorization, self._core.clock())
        scope, capability = route(request, self._core.capabilities, "viewer")
        if not _permitted(policy, caller, scope, capability):
            # One text for what does not exist and for what the caller may not see.
            text = "there is no such scope, or no right in it"
            raise ConnectError(ConnectCode.PERMISSION_DENIED, Reason.FORBIDDEN, text)
        everywhere = capability.fan_out and scope.cluster == NONE
        if not everywhere:
            check_cluster(policy, scope)
        headers = crossing(request, REQUEST_HEADERS)
        asked = request.method, capability.path, scope, caller.subject, headers, caller.proof
        head = shared(RequestHead(*asked))
        clusters = self._clusters(policy, head, capability) if everywhere else ()
        streaming = streaming_type(request.get("content-type"))
        permitted = Permitted(self._core.policy, caller, scope, capability)
        # A write that has begun is finished: nobody could tell whether it took effect.
        expires_at = caller.expires_at if capability.permission == "view" else math.inf
        return Call(http, streaming, head, capability, permitted, clusters, expires_at)

    def _clusters(
        self, policy: Policy, head: RequestHead, capability: Capability
    ) -> tuple[str, ...]:
        """Everybody whom a call to all clusters reaches."""
        check_request(head, capability.permission)
        clusters = policy.clusters_of(head.scope.org)
        if not clusters:
            text = "this organisation has no enabled cluster"
            raise ConnectError(ConnectCode.NOT_FOUND, Reason.UNKNOWN_CLUSTER, text)
        limit = self._core.settings.max_fan_out
        if len(clusters) > limit:
            text = f"at most {limit} clusters are asked at a time; name one"
            raise ConnectError(ConnectCode.FAILED_PRECONDITION, Reason.FAN_OUT, text)
        return clusters


def current(holder: PolicyHolder) -> Policy:
    """Return the policy.

    Raises:
        ConnectError: UNAVAILABLE: none was pushed yet.
    """
    if holder.current is None:
        text = "the relay has no policy yet"
        raise ConnectError(ConnectCode.UNAVAILABLE, Reason.NOT_READY, text)
    return holder.current


def route(
    request: Request, capabilities: Mapping[str, Capability], opener: Opener
) -> tuple[Scope, Capability]:
    """Return what a request's path names.

    Raises:
        ConnectError: NOT_FOUND or UNIMPLEMENTED.
    """
    try:
        scope, path = Scope.from_path(request.target)
    except ValueError as error:
        raise ConnectError(ConnectCode.NOT_FOUND, Reason.NOT_FOUND, str(error)) from None
    capability = capabilities.get(path)
    if capability is None or capability.opened_by != opener:
        text = "this RPC does not cross the relay"
        raise ConnectError(ConnectCode.UNIMPLEMENTED, Reason.UNKNOWN_RPC, text)
    if request.method != "POST":
        text = "this RPC is called with POST"
        raise ConnectError(ConnectCode.UNIMPLEMENTED, Reason.METHOD, text)
    return scope, capability


def check_cluster(policy: Policy, scope: Scope) -> None:
    """Refuse a cluster that is unknown or disabled.

    Raises:
        ConnectError: NOT_FOUND.
    """
    if (scope.org, scope.cluster) not in policy.clusters:
        text = "there is no such cluster in this organisation"
        raise ConnectError(ConnectCode.NOT_FOUND, Reason.UNKNOWN_CLUSTER, text)


def crossing(request: Request, names: frozenset[str]) -> Headers:
    """Return the headers that may cross, each at most once.

    Raises:
        ConnectError: INVALID_ARGUMENT: one is repeated.
    """
    headers = allowed(request.headers, names)
    if len({name for name, _ in headers}) < len(headers):
        text = "a header that must be single is repeated"
        raise ConnectError(ConnectCode.INVALID_ARGUMENT, Reason.SMUGGLING, text)
    return headers


def _permitted(policy: Policy, caller: Caller, scope: Scope, capability: Capability) -> bool:
    return (
        caller.org in (None, scope.org)
        and not policy.is_revoked(caller.subject, caller.issued_at)
        and policy.allows(caller.subject, scope, capability.permission)
    )
