"""A relay that lies to the agent about who asks, and what: each lie is refused, and named."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from agent_cast import CONTROL_RPCS, NOW_S, URL, VIEWER_RPCS, access_of, new, new_issuer, push
from connectrpc.code import Code as ConnectCode
from connectrpc.errors import ConnectError

from compute_agent.access import Access
from compute_agent.exchange import Body
from compute_agent.proof import Flaw, ProofRefused
from compute_agent.trust import Trust
from control_stub.issuer import Issuer
from tunnel.capabilities import (
    ABORT,
    ASSIGN,
    CAPABILITIES,
    CREATE_SECRET,
    PUT_ACCESS,
    TAIL_LOGS,
    Capability,
)
from tunnel.exchange import RequestHead, Scope
from tunnel.verifier import CONTROL, IDENTITY, VIEWER, TokenInvalid, embedded_identity

PLACE = Scope("acme", "p1", "d1", "c1")
OTHER_PLACE = Scope("acme", "p2", "d2", "c1")
CLUSTER = Scope("acme", "-", "-", "c1")
BODY = b"what the control plane asks"
KEY = Issuer.new_key()[1]
ISSUER = Issuer(URL, [KEY], token_s=600, clock=lambda: NOW_S)


def _identity(subject: str, org: str = "acme", by: Issuer = ISSUER) -> str:
    return embedded_identity(by.viewer_token(subject, org))


def _viewers(subject: str, scope: Scope = PLACE, path: str = TAIL_LOGS, **changes: Any) -> Any:
    """What an honest relay says of a viewer's exchange."""
    return RequestHead("POST", path, scope, subject, **{"proof": _identity(subject), **changes})


def _controls(path: str = ASSIGN, body: bytes = BODY, **changes: Any) -> RequestHead:
    """What an honest relay says of an exchange of the control plane."""
    proof = ISSUER.asked("acme", "c1", path, body)
    scope = changes.pop("scope", CLUSTER)
    return RequestHead("POST", path, scope, "control", **{"proof": proof, **changes})


def _outcome(head: RequestHead, access: Access | None = None) -> str:
    """Return what the agent makes of an exchange: ok, the proof's flaw, or an error's code."""
    access = access or access_of(ISSUER)
    try:
        access.check(head, CAPABILITIES[head.path])
    except ProofRefused as error:
        return str(error.flaw)
    except ConnectError as error:
        return str(error.code.value)
    return "ok"


def test_an_honest_relays_exchanges_are_let_through() -> None:
    for capability in VIEWER_RPCS:
        subject = {"view": "vic", "run": "dev", "manage": "admin"}[capability.permission]
        assert _outcome(_viewers(subject, path=capability.path)) == "ok", capability.path
    for capability in CONTROL_RPCS:
        assert _outcome(_controls(capability.path)) == "ok", capability.path


def _later(seconds: float) -> Issuer:
    """The issuer as it was that long ago."""
    return Issuer(URL, [KEY], token_s=600, clock=lambda: NOW_S - seconds)


def _of_any_body() -> str:
    """A signature of the control plane that names no body."""
    said = {"sub": "control", "org": "acme", "cluster": "c1", "path": ASSIGN}
    return ISSUER._sign(CONTROL, said, life_s=60)


# What a lying relay may say, and what the agent makes of it. Each is a planted mutant of the relay.
LIES: dict[str, tuple[Callable[[], RequestHead], str]] = {
    "no proof": (lambda: _viewers("vic", proof=""), Flaw.MISSING),
    "somebody mightier": (
        lambda: RequestHead("POST", TAIL_LOGS, PLACE, "admin", proof=_identity("vic")),
        Flaw.OTHER_SUBJECT,
    ),
    "the same name of another org": (
        lambda: _viewers("admin", proof=_identity("admin", "globex")),
        Flaw.OTHER_SUBJECT,
    ),
    "another org": (
        lambda: _viewers("vic", Scope("globex", "p1", "d1", "c1")),
        "permission_denied",
    ),
    "a wider scope": (lambda: _viewers("vic", CLUSTER), "permission_denied"),
    "another scope": (lambda: _viewers("vic", OTHER_PLACE), "permission_denied"),
    "more than viewing": (lambda: _viewers("vic", path=CREATE_SECRET), "permission_denied"),
    "a proof of its own": (
        lambda: _viewers("vic", proof=_identity("vic", by=new_issuer())),
        Flaw.INVALID,
    ),
    "the viewer's whole token": (
        lambda: _viewers("vic", proof=ISSUER.viewer_token("vic", "acme")),
        Flaw.INVALID,
    ),
    "what the control plane asked": (
        lambda: _viewers("vic", proof=ISSUER.asked("acme", "c1", TAIL_LOGS, b"")),
        Flaw.INVALID,
    ),
    "an altered proof": (
        lambda: _viewers("vic", proof=_identity("vic")[:-4] + "AAAA"),
        Flaw.INVALID,
    ),
    "an old proof": (
        lambda: _viewers("vic", proof=_identity("vic", by=_later(700))),
        Flaw.EXPIRED,
    ),
    "a revoked viewer": (
        lambda: _viewers("gone", proof=_identity("gone")),
        Flaw.REVOKED,
    ),
    "it is the control plane": (lambda: _controls(proof=""), Flaw.MISSING),
    "it is the control plane, whatever the body": (
        lambda: _controls(proof=_of_any_body()),
        Flaw.INVALID,
    ),
    "it is the control plane, by a viewer's proof": (
        lambda: _controls(proof=_identity("admin")),
        Flaw.INVALID,
    ),
    "a viewer opens what is the control plane's": (
        lambda: RequestHead("POST", ASSIGN, CLUSTER, "admin", proof=_identity("admin")),
        "permission_denied",
    ),
    "another call than was signed": (
        lambda: _controls(ABORT, proof=ISSUER.asked("acme", "c1", ASSIGN, BODY)),
        Flaw.OTHER_EXCHANGE,
    ),
    "another cluster's call": (
        lambda: _controls(proof=ISSUER.asked("acme", "c2", ASSIGN, BODY)),
        Flaw.OTHER_EXCHANGE,
    ),
    "another org's call": (
        lambda: _controls(proof=ISSUER.asked("globex", "c1", ASSIGN, BODY)),
        Flaw.OTHER_EXCHANGE,
    ),
    "a call into another org": (
        lambda: _controls(scope=Scope("globex", "-", "-", "c1")),
        "permission_denied",
    ),
    "a call of last minute": (
        lambda: _controls(proof=_later(70).asked("acme", "c1", ASSIGN, BODY)),
        Flaw.EXPIRED,
    ),
    "a call for another start of the agent": (
        lambda: _controls(proof=ISSUER.asked("acme", "c1", ASSIGN, BODY, "zeroth")),
        Flaw.OTHER_START,
    ),
    "a forged push": (
        lambda: _controls(PUT_ACCESS, proof=new_issuer().asked("acme", "c1", PUT_ACCESS, BODY)),
        Flaw.INVALID,
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_relay_gets_nothing(lie: str) -> None:
    make, outcome = LIES[lie]
    assert _outcome(make(), access_of(ISSUER, revoked={"gone": int(NOW_S) + 1})) == outcome


def test_what_the_control_plane_asks_is_good_once() -> None:
    access, head = access_of(ISSUER), _controls()
    assert _outcome(head, access) == "ok"
    assert _outcome(head, access) == Flaw.REPLAYED
    assert _outcome(_controls(), access) == "ok"


def _for_start(start: str, path: str = ASSIGN) -> RequestHead:
    return _controls(path, proof=ISSUER.asked("acme", "c1", path, BODY, start))


def _started(name: str, **options: Any) -> Access:
    access = new(server_id=name, **options)
    access.put(push(ISSUER))
    return access


def test_what_was_used_is_not_good_for_the_agents_next_start() -> None:
    first, second = _started("first"), _started("second")
    head = _for_start("first")
    assert _outcome(head, first) == "ok"
    assert _outcome(head, second) == Flaw.OTHER_START
    with pytest.raises(ProofRefused) as refused:
        second.check(head, CAPABILITIES[ASSIGN])
    assert refused.value.code is ConnectCode.UNAVAILABLE, "the control plane signs again"
    assert _outcome(_for_start("second"), second) == "ok"
    assert _outcome(_for_start(""), second) == Flaw.OTHER_START


def test_a_control_plane_of_before_names_no_start() -> None:
    mixed = _started("first", require_proof=False)
    assert _outcome(_for_start(""), mixed) == "ok"
    assert _outcome(_for_start("zeroth"), mixed) == Flaw.OTHER_START


def test_what_was_used_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compute_agent.access.MAX_USED", 3)
    clock = SimpleNamespace(now=NOW_S)
    access = access_of(ISSUER, now_s=lambda: clock.now)
    for _ in range(3):
        assert _outcome(_controls(), access) == "ok"
    assert _outcome(_controls(), access) == "resource_exhausted"
    clock.now += 66
    later = Issuer(URL, [KEY], token_s=600, clock=lambda: clock.now)
    assert _outcome(_controls(proof=later.asked("acme", "c1", ASSIGN, BODY)), access) == "ok"


def test_a_signed_body_is_this_one() -> None:
    told: list[str] = []
    digest = access_of(ISSUER).check(_controls(), CAPABILITIES[ASSIGN])
    body = Body(ASSIGN)
    body.expect(digest, lambda _path, flaw: told.append(flaw))
    body.feed(BODY)
    body.close()
    assert told == []
    body.feed(b" and more")
    with pytest.raises(ProofRefused, match="not the one that was signed"):
        body.close()
    assert told == [Flaw.ALTERED]


@pytest.mark.parametrize(("path", "lasts_s"), [(TAIL_LOGS, 605), (CREATE_SECRET, math.inf)])
def test_a_read_lasts_as_long_as_its_proof_and_a_write_is_finished(
    path: str, lasts_s: float
) -> None:
    clock = SimpleNamespace(now=NOW_S)
    access, head = access_of(ISSUER, now_s=lambda: clock.now), _viewers("admin", path=path)
    assert access.lasts_s(head, CAPABILITIES[path]) == lasts_s
    clock.now += 605
    assert access.lasts_s(head, CAPABILITIES[path]) == math.inf
    assert _outcome(head, access) == Flaw.EXPIRED, "the gate's to refuse"


@pytest.mark.parametrize("why", ["its identity has ended", "its key is out of use"])
@pytest.mark.parametrize("by", ["a revocation", "a role"])
def test_what_runs_on_without_a_good_proof_ends_when_it_is_withdrawn(why: str, by: str) -> None:
    now_s = NOW_S
    access, head = access_of(ISSUER, now_s=lambda: now_s), _viewers("vic")
    access.check(head, CAPABILITIES[TAIL_LOGS])
    keys = ISSUER if why == "its identity has ended" else new_issuer()
    now_s += 100_000
    access.put(push(keys, version=2, revoked={"vic": int(NOW_S)}))
    assert not access.withdrawn(head, CAPABILITIES[TAIL_LOGS])
    changes: dict[str, Any] = {"bindings": ()}
    if by == "a revocation":
        changes = {"revoked": {"vic": int(NOW_S) + 1}}
    access.put(push(keys, version=3, **changes))
    assert access.withdrawn(head, CAPABILITIES[TAIL_LOGS])


def test_what_the_agent_was_told_runs_out_and_is_renewed() -> None:
    clock = SimpleNamespace(now=NOW_S)
    access = access_of(ISSUER, now_s=lambda: clock.now, version=3, expires_s=int(NOW_S) + 50)
    assert _outcome(_viewers("vic"), access) == "ok"
    clock.now += 60
    assert _outcome(_viewers("vic"), access) == "unavailable"
    assert access.put(push(ISSUER, version=2, expires_s=int(NOW_S) + 9000)) == 3
    assert _outcome(_viewers("vic"), access) == "unavailable"
    assert access.put(push(ISSUER, version=3, expires_s=int(NOW_S) + 100)) == 3
    assert _outcome(_viewers("vic"), access) == "ok"


def test_proof_is_not_asked_for_while_releases_are_mixed() -> None:
    access = new(require_proof=False)
    access.put(push(ISSUER))
    assert _outcome(_viewers("vic", proof=""), access) == "ok"
    assert _outcome(_controls(proof=""), access) == "ok"
    assert _outcome(_viewers("admin", proof=_identity("vic")), access) == Flaw.OTHER_SUBJECT
    assert _outcome(_viewers("mallory", proof=""), access) == "permission_denied"


def test_keys_of_a_push_without_proof_are_not_taken() -> None:
    access = new(require_proof=False)
    access.put(push(ISSUER))
    assert access.put(push(new_issuer(), version=2), proven=False) == 2
    assert _outcome(_viewers("vic"), access) == "ok", "the keys from before still count"


def test_without_tokens_the_relay_is_believed_and_roles_hold() -> None:
    access = Access("acme", now_s=lambda: NOW_S, trust=None)
    access.put(push(ISSUER))
    assert _outcome(_viewers("vic", proof=""), access) == "ok"
    assert _outcome(_viewers("mallory", proof=""), access) == "permission_denied"
    assert _outcome(_controls(proof=""), access) == "ok"


# Each check taken out of the agent: some lie gets through.
MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "believes its relay": lambda m: m.setattr(Access, "check", lambda *_args, **_options: ""),
    "does not look at roles": lambda m: m.setattr(Access, "permits", lambda *_: True),
    "does not look at proofs": lambda m: m.setattr(
        Access,
        "_proved",
        lambda self, trust, head, *_: _unverified(head),
    ),
    "asks for no proof": lambda m: m.setattr(Access, "_check_viewer", _roles_alone),
    "takes any kind of token": lambda m: m.setattr(
        Trust, "verify", lambda self, token, kind: _any_kind(self, token)
    ),
    "forgets what was used": lambda m: m.setattr(Access, "_use", lambda *_: None),
}


def _unverified(head: RequestHead) -> dict[str, Any]:
    payload = head.proof.split(".")[1] if head.proof else ""
    if not payload:
        return {
            "sub": head.viewer,
            "org": "acme",
            "iat": NOW_S,
            "exp": NOW_S,
            "jti": "",
            "body": "",
        }
    return dict(json.loads(base64.urlsafe_b64decode(payload + "==")))


def _roles_alone(self: Access, head: RequestHead, capability: Capability) -> None:
    scope = head.scope
    if not self.permits(head.viewer, scope.org, scope.project, scope.domain, capability.permission):
        raise ConnectError(ConnectCode.PERMISSION_DENIED, "")


def _any_kind(trust: Trust, token: str) -> dict[str, Any]:
    for kind in (IDENTITY, CONTROL, VIEWER):
        try:
            return trust._verified(token, kind)
        except TokenInvalid:
            pass
    raise TokenInvalid


@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_check_is_needed(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[mutant](monkeypatch)
    with pytest.raises((AssertionError, KeyError)):
        _every_lie()


def _every_lie() -> None:
    for lie in LIES:
        test_a_lying_relay_gets_nothing(lie)
    test_what_the_control_plane_asks_is_good_once()
