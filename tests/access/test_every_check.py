"""Every check of who somebody is and what may be done is needed: without it somebody gets in."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import stage
import test_lying_relay as lying
import test_relay_access as viewers
import test_relay_tunnels as tunnels
import test_verifier as tokens
from agent_cast import NOW_S, access_of
from connectrpc.errors import ConnectError
from mutation import without_each_check

from compute_agent.access import Access
from compute_agent.proof import Flaw, ProofRefused
from relay.auth import Authenticator
from relay.connect_errors import ConnectError as RelayRefused
from relay.policy import Policy
from relay.settings import RelaySettings
from relay.tenants import Tenants
from tunnel import verifier
from tunnel.capabilities import CAPABILITIES
from tunnel.exchange import RequestHead

Mutants = dict[str, tuple[Any, str, Callable[..., Any]]]


def mutants(owner: Any, *names: str) -> Mutants:
    """Return the owner's functions without each of their checks, by what the check was."""
    return {
        f"{name}: {condition}": (owner, name, mutant)
        for name in names
        for condition, mutant in without_each_check(getattr(owner, name))
    }


AGENT = mutants(Access, "check", "_check_viewer", "_check_control", "_proved", "_use")
# Each lie is told by whoever else could be named; a replay is one more.
NOT_REACHED = {
    # Full is full: it bounds memory, and lets nobody in.
    "_use: len(self._used) >= MAX_USED",
}


def _let_through(head: RequestHead, access: Access) -> str:
    try:
        access.check(head, CAPABILITIES[head.path])
    except ProofRefused as error:
        return str(error.flaw)
    except ConnectError as error:
        return str(error.code.value)
    except (KeyError, TypeError):
        return "broken"
    return "ok"


def _lies() -> dict[str, str]:
    """Return what became of each lie."""
    revoked = {"gone": int(NOW_S) + 1}
    told = {
        name: _let_through(make(), access_of(lying.ISSUER, revoked=revoked))
        for name, (make, _) in lying.LIES.items()
    }
    access, head = access_of(lying.ISSUER), lying._controls()
    return {**told, "first": _let_through(head, access), "again": _let_through(head, access)}


EXPECTED = {name: str(outcome) for name, (_, outcome) in lying.LIES.items()} | {
    "first": "ok",
    "again": str(Flaw.REPLAYED),
}


def test_nobody_gets_through_at_the_agent() -> None:
    assert _lies() == EXPECTED


@pytest.mark.parametrize("check", sorted(AGENT.keys() - NOT_REACHED))
def test_at_the_agent(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*AGENT[check])
    assert _lies() != EXPECTED


TOKENS = mutants(verifier, "_verified") | mutants(verifier.Verifier, "verify")
# Long tokens are refused before they cost anything; what they say would be judged all the same.
COSTS = {"verify: len(token) > MAX_TOKEN_BYTES"}


@pytest.mark.parametrize("check", sorted(TOKENS.keys() - COSTS))
def test_at_the_verifier(check: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*TOKENS[check])
    judged = {}
    for name, make in tokens.BAD.items():
        try:
            judged[name] = tokens.judge(make())
        except TypeError:
            judged[name] = "broken"
    assert judged != dict.fromkeys(tokens.BAD, "not valid") | {"expired": "expired"}


RELAY = mutants(Authenticator, "agent", "_verify")
# Bounded twice: by a setting here, by the verifier for everybody.
TWICE = {"_verify: len(token) > self._settings.max_token_bytes"}


async def _dialed(theatre: stage.Stage) -> dict[str, str]:
    """Return with which code each bad agent was refused, "" for one that is in."""
    codes = {}
    for name, (how, _, _) in tunnels.REFUSED.items():
        agent = theatre.dial(**(how() if callable(how) else how))
        theatre.nursery.start_soon(agent.run)
        await theatre.settled()
        codes[name] = agent.closed.code.name if agent.closed else ""
        agent.session.close()
        await theatre.settled()
    await theatre.push(revoked={"agent:acme/c1": stage.EPOCH + 60})
    agent = theatre.dial()
    theatre.nursery.start_soon(agent.run)
    await theatre.settled()
    return {**codes, "revoked": agent.closed.code.name if agent.closed else ""}


@pytest.mark.parametrize("check", sorted(RELAY.keys() - TWICE))
async def test_at_the_relay(check: str, autojump_clock: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(*RELAY[check])
    async with stage.stage() as theatre:
        assert "" in (await _dialed(theatre)).values()


async def test_nobody_gets_in_at_the_relay(autojump_clock: Any) -> None:
    async with stage.stage() as theatre:
        expected = {name: code for name, (_, code, _) in tunnels.REFUSED.items()}
        assert await _dialed(theatre) == {**expected, "revoked": "REVOKED"}


VIEWERS = mutants(Authenticator, "viewer")


@pytest.mark.parametrize("check", sorted(VIEWERS))
async def test_at_the_relay_for_viewers(check: str, autojump_clock: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(*VIEWERS[check])
    known = Policy.from_json(json.dumps(stage.policy()).encode())
    judged = {}
    for name, (make, _) in viewers.BAD_TOKENS.items():
        try:
            caller = Authenticator(RelaySettings(), insecure=False).viewer(
                known, make(), stage.now()
            )
            judged[name] = caller.subject
        except RelayRefused as error:
            judged[name] = str(error.reason)
    assert judged != {name: reason for name, (_, reason) in viewers.BAD_TOKENS.items()}


BOUNDS = mutants(Tenants, "enter")


def test_the_list_is_long_enough() -> None:
    """A check that is written otherwise than `if ...: raise` would be missing here."""
    counts = [len(found) for found in (AGENT, TOKENS, RELAY, VIEWERS, BOUNDS)]
    assert counts >= [9, 4, 7, 2, 3]
