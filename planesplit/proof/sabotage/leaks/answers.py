"""Leaks into answers: payload where its reader did not ask for it, or must not have it."""

from __future__ import annotations

import base64
from typing import Any

from planesplit.proof.sabotage.catalogue import AGENT, leak
from planesplit.proof.sabotage.taps import Longest, answer_heads, relayed_answers, relayed_requests
from planesplit.proof.sabotage.tries import Tries

MAX_TEXT = 512
LINES_AND_SECRETS = frozenset({"A8", "A9"})


@leak(
    "wrong-tenant",
    "tells another tenant log lines in an error",
    sealed="answers",
    unsealed="answers",
)
def wrong_tenant(tries: Tries) -> None:
    """Put the last body into the error that a refused caller gets."""
    from relay import downlink, viewer

    last = Longest(MAX_TEXT)
    answer_error = downlink.answer_error

    async def answered(http: Any, streaming: str, error: Any) -> None:
        error.message = f"{error.message}; last: {last.piece.decode('latin-1')}"
        await answer_error(http, streaming, error)

    setattr(viewer, "answer_error", answered)  # noqa: B010 - not exported: a leak has no manners
    relayed_answers(tries.guard(last.add), "A8")


@leak(
    "response-header",
    "returns log lines in a header of other answers",
    rows=LINES_AND_SECRETS,
    sealed="answers",
    unsealed="answers",
)
def response_header(tries: Tries) -> None:
    """Add the last log line to the heads of answers that are not logs."""
    last = Longest(MAX_TEXT)

    def change(row: str, head: Any) -> Any:
        if row == "A8" or not last.piece:
            return head
        status, headers = head
        return status, (*headers, ("x-debug", base64.b64encode(last.piece).decode()))

    relayed_answers(tries.guard(last.add), "A8")
    answer_heads(change)


@leak(
    "secret-echo-header",
    "echoes a secret's request in a header of its answer",
    rows=frozenset({"A9"}),
    sealed="answers",
    unsealed="answers",
)
def secret_echo_header(tries: Tries) -> None:
    """Answer a secret's write with what was written."""
    last = [""]

    def sink(payload: bytes) -> None:
        last[0] = base64.b64encode(payload[:MAX_TEXT]).decode()

    def change(row: str, head: Any) -> Any:
        status, headers = head
        return (status, (*headers, ("x-request", last[0]))) if row == "A9" and last[0] else head

    relayed_requests(tries.guard(sink), "A9")
    answer_heads(change)


@leak(
    "secret-echo",
    "returns a secret's value when it is read",
    plane=AGENT,
    rows=frozenset({"A9"}),
    sealed="answers",
    unsealed="answers",
)
def secret_echo(tries: Tries) -> None:
    """Remember values by name, and describe a secret with its value."""
    from compute_agent.secrets.service import SecretService

    values: dict[str, bytes] = {}
    described = SecretService._described

    def remember(method: Any) -> Any:
        async def remembered(self: SecretService, request: Any, ctx: Any) -> Any:
            spec = request.secret_spec
            values[request.id.name] = spec.binary_value or spec.string_value.encode()
            return await method(self, request, ctx)

        return remembered

    def echo(payload: bytes) -> None:
        """What is counted as a try: the value goes into an answer."""

    guarded = tries.guard(echo)

    def told(self: SecretService, scope: Any, info: Any) -> Any:
        secret = described(self, scope, info)
        if value := values.get(info.name):
            guarded(value)
            secret.secret_metadata.secret_status.cluster_status[0].cluster.name = value.decode()
        return secret

    _set(SecretService, "_described", told)
    _set(SecretService, "create_secret", remember(SecretService.create_secret))
    _set(SecretService, "update_secret", remember(SecretService.update_secret))


@leak(
    "secret-in-error",
    "puts a secret's value into the text of the error that refuses it",
    plane=AGENT,
    rows=frozenset({"A9"}),
    sealed="answers",
    unsealed="answers",
)
def secret_in_error(tries: Tries) -> None:
    """Explain a refusal too well."""
    from connectrpc.errors import ConnectError

    from compute_agent.secrets.service import SecretService

    guarded = tries.guard(lambda payload: None)

    def talkative(method: Any) -> Any:
        async def told(self: SecretService, request: Any, ctx: Any) -> Any:
            value = request.secret_spec.string_value
            try:
                return await method(self, request, ctx)
            except ConnectError as error:
                guarded(value.encode())
                raise ConnectError(error.code, f"{error.message}: {value[:MAX_TEXT]}") from None

        return told

    _set(SecretService, "create_secret", talkative(SecretService.create_secret))
    _set(SecretService, "update_secret", talkative(SecretService.update_secret))


@leak(
    "objects-through-relay",
    "sends an object's bytes along with its signed URL",
    plane=AGENT,
    rows=frozenset({"A6", "B"}),
    sealed="answers",
    unsealed="answers",
)
def objects_through_relay(tries: Tries) -> None:
    """Read what a URL is signed for, and put it into the same answer: it crosses the relay."""
    from compute_agent.objects import service
    from compute_agent.objects.signer import Identity

    download = service.ObjectService._download
    answer = service._answer
    inline: dict[str, bytes] = {}

    async def downloaded(self: Any, place: Any, ttl_s: int) -> Any:
        signed = await download(self, place, ttl_s)
        body = await self._objects().store.get(Identity.PROXY_SYSTEM, place, 1_048_576)
        inline[signed.url] = body or b""
        return signed

    guarded = tries.guard(lambda payload: None)

    def answered(signed: Any) -> Any:
        made = answer(signed)
        if body := inline.pop(signed.url, b""):
            guarded(body)
            made.headers["x-content"] = base64.b64encode(body).decode()
        return made

    _set(service.ObjectService, "_download", downloaded)
    service._answer = answered


def _set(kind: type, name: str, method: Any) -> None:
    setattr(kind, name, method)
