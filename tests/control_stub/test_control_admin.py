"""Administration: clusters are let in and shut out, identities get and lose roles and tokens."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio
from control_cast import (
    Caller,
    Cast,
    RpcError,
    phase_of,
    report_health,
    running,
    settings,
    until,
)
from flyteidl2.common import phase_pb2

from control_stub import directory
from control_stub.directory import Tunnel
from control_stub.policy import HELD_S
from tunnel.messages import planesplit_v1_pb2 as v1

CLUSTERS = "planesplit.v1.ClusterAdminService"
IDENTITIES = "planesplit.v1.IdentityAdminService"


async def _outcome(caller: Any, service: str, method: str, request: Any) -> tuple[str, str]:
    try:
        await caller.call(service, method, request)
    except RpcError as error:
        return error.code, error.message
    return "ok", ""


async def _clusters(caller: Any) -> dict[str, Any]:
    answer = await caller.call(CLUSTERS, "ListClusters", v1.ListClustersRequest())
    return {cluster.cluster: cluster for cluster in answer.clusters}


async def test_clusters_show_tunnel_health_and_usage(autojump_clock: Any) -> None:
    usage = v1.Usage(nodes=2, pods_running=3, cpu_cores=8, cpu_used_cores=1.5, memory_bytes=1 << 34)
    async with running() as cast:
        vic = await cast.caller("vic")
        assert {name: c.tunnel for name, c in (await _clusters(vic)).items()} == {
            "c1": "CREATED",
            "c2": "CREATED",
        }
        cast.relay.set_tunnels(("acme", "c1", "ONLINE"))
        await until(lambda: bool(cast.events("cluster_state")))
        assert await report_health(cast, usage=usage, data_url="https://127.0.0.1:7") == "200"
        found = (await _clusters(vic))["c1"]
        assert (found.tunnel, found.healthy, found.usage, found.rtt_ms) == (
            "ONLINE",
            True,
            usage,
            1.0,
        )
        assert found.heard_at.seconds
        reasons = ["object_store_unreachable", "kubernetes_unreachable"]
        await report_health(cast, healthy=False, reasons=reasons)
        found = (await _clusters(vic))["c1"]
        assert (found.healthy, list(found.reasons)) == (False, sorted(reasons))
        await report_health(cast)
        cast.relay.set_tunnels(("acme", "c1", "LOST"))
        await until(lambda: _state(cast) == "LOST")
        assert not (await _clusters(vic))["c1"].healthy
        for _ in range(3):
            await report_health(cast, healthy=False, reasons=reasons, usage=usage)
        assert [e["healthy"] for e in cast.events("health_reported")] == [True, False] * 2


async def test_reports_of_health_are_checked(autojump_clock: Any) -> None:
    async with running() as cast:
        for fields in (
            {"reasons": ["Traceback (most recent call last): secret"]},
            {"data_url": "https://evil.example/path?x=1"},
            {"data_url": "javascript:alert(1)"},
        ):
            assert await report_health(cast, **fields) == "400"
        assert await report_health(cast, cluster="c2") == "403"
        assert await report_health(cast, org="globex") == "403"
        clusters = await cast.plane._store.call(directory.clusters)
        assert not any(cluster.heard_ns for cluster in clusters)
        odd = v1.Usage(cpu_cores=float("inf"), cpu_used_cores=float("nan"), memory_bytes=2**64 - 1)
        assert await report_health(cast, usage=odd) == "200"


async def test_a_cluster_is_lost_when_the_relay_says_so_or_nothing(autojump_clock: Any) -> None:
    async with running() as cast:
        vic = await cast.caller("vic")
        for lose in (lambda: cast.relay.set_tunnels(("acme", "c1", "LOST")), cast.relay.leave):
            cast.relay.away = False
            cast.relay.set_tunnels(("acme", "c1", "ONLINE"))
            await until(lambda: _state(cast) == "ONLINE")
            lose()
            await until(lambda: _state(cast) == "LOST", within_s=10)
            assert (await _clusters(vic))["c1"].tunnel == "LOST"


def _state(cast: Cast) -> str:
    events = cast.events("cluster_state")
    return str(events[-1]["state"]) if events else ""


async def test_a_disabled_cluster_is_shut_out_and_told(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        await until(lambda: bool(cast.relay.policies))
        for enabled in (False, True):
            request = v1.SetClusterRequest(cluster="c1", enabled=enabled)
            before = len(cast.relay.policies)
            answer = await alice.call(CLUSTERS, "SetCluster", request)
            assert answer.cluster.enabled == enabled
            await until(lambda before=before: len(cast.relay.policies) > before, within_s=0.5)
            pushed = {(c["org"], c["cluster"]): c["enabled"] for c in _policy(cast)["clusters"]}
            assert pushed["acme", "c1"] == enabled
            assert pushed["globex", "c1"]


def _policy(cast: Cast) -> Any:
    return cast.relay.policies[-1]


async def test_runs_go_to_the_other_cluster_or_to_none(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        for cluster, expected in (("c1", "c2"), ("c2", "")):
            request = v1.SetClusterRequest(cluster=cluster, enabled=False)
            await alice.call(CLUSTERS, "SetCluster", request)
            if expected:
                key = await alice.create(f"not-{cluster}")
                assert (await alice.details(key)).attempts[0].cluster == expected
                assert await phase_of(alice, key) == phase_pb2.ACTION_PHASE_QUEUED
        with pytest.raises(RpcError, match="disabled"):
            await alice.create("nowhere")


async def test_who_may_administer_clusters(autojump_clock: Any) -> None:
    expected = {"alice": "ok", "carol": "permission_denied", "vic": "permission_denied"}
    expected |= {"bob": "not_found", "": "unauthenticated"}
    request = v1.SetClusterRequest(org="acme", cluster="c1", enabled=True)
    async with running() as cast:
        for name, code in expected.items():
            caller = await cast.caller(name)
            assert (await _outcome(caller, CLUSTERS, "SetCluster", request))[0] == code
            listed = v1.ListClustersRequest(org="acme")
            got = (await _outcome(caller, CLUSTERS, "ListClusters", listed))[0]
            assert got == ("ok" if name in ("alice", "carol", "vic") else code)
        bob = await cast.caller("bob")
        answers = {
            await _outcome(bob, CLUSTERS, "SetCluster", v1.SetClusterRequest(org=o, cluster=c))
            for o, c in (("acme", "c1"), ("acme", "absent"), ("absent", "c1"))
        }
        assert len(answers) == 1


def _bind(subject: str, role: str, project: str = "", domain: str = "", org: str = "") -> Any:
    binding = v1.Binding(subject=subject, role=role, org=org, project=project, domain=domain)
    return v1.BindRequest(binding=binding)


async def _principals(caller: Any) -> dict[str, Any]:
    answer = await caller.call(IDENTITIES, "ListPrincipals", v1.ListPrincipalsRequest())
    return {found.subject: found for found in answer.principals}


async def test_roles_come_and_go(autojump_clock: Any) -> None:
    async with running() as cast:
        alice, vic = await cast.caller("alice"), await cast.caller("vic")
        with pytest.raises(RpcError, match="permission_denied"):
            await vic.create("early")
        for _ in range(2):
            await alice.call(IDENTITIES, "Bind", _bind("vic", "Contributor", "p1", "development"))
        assert (await vic.create("now")).run == "now"
        kinds = {name: found.kind for name, found in (await _principals(alice)).items()}
        assert kinds == {
            "agent-c1": "agent",
            "alice": "application",
            "carol": "application",
            "vic": "application",
        }
        assert len((await _principals(alice))["vic"].bindings) == 2
        await alice.call(IDENTITIES, "Unbind", _bind("vic", "Contributor", "p1", "development"))
        with pytest.raises(RpcError, match="permission_denied"):
            await vic.create("late")
        again = _bind("vic", "Contributor", "p1", "development")
        assert (await _outcome(alice, IDENTITIES, "Unbind", again))[0] == "not_found"


async def test_every_change_reaches_the_relay_and_the_agents(autojump_clock: Any) -> None:
    async with running() as cast:
        cast.relay.set_tunnels(("acme", "c1", "ONLINE"))
        await until(lambda: bool(cast.relay.accesses) and bool(cast.relay.policies))
        alice = await cast.caller("alice")
        await alice.call(IDENTITIES, "Bind", _bind("zoe", "Viewer", "p2"))
        await until(lambda: len(cast.relay.accesses) == 2, within_s=0.5)
        pushed = [b for b in cast.relay.accesses[-1][1].bindings if b.subject == "zoe"]
        assert [(b.role, b.project, b.domain) for b in pushed] == [("Viewer", "p2", "*")]
        await until(
            lambda: any(b["subject"] == "zoe" for b in _policy(cast)["bindings"]), within_s=0.5
        )
        assert (await _principals(alice))["zoe"].kind == "user"


# caller, project, domain of the binding -> whether it may be given: who manages that level
LEVELS = {
    ("alice", "", ""): "ok",
    ("alice", "p1", "development"): "ok",
    ("alice", "absent", ""): "not_found",
    ("alice", "p1", "absent"): "not_found",
    ("pam", "", ""): "permission_denied",
    ("pam", "p1", ""): "ok",
    ("pam", "p1", "production"): "ok",
    ("pam", "p2", ""): "not_found",
    ("pam", "", "development"): "permission_denied",
    ("dom", "", "development"): "ok",
    ("dom", "p2", "development"): "ok",
    ("dom", "p2", ""): "permission_denied",
    ("dom", "p2", "production"): "not_found",
    ("vic", "p1", "development"): "permission_denied",
    ("bob", "p1", "development"): "not_found",
    ("", "p1", "development"): "unauthenticated",
}


@pytest.mark.parametrize("case", LEVELS, ids="/".join)
async def test_roles_are_given_by_whoever_manages_the_level(
    autojump_clock: Any, case: tuple[str, str, str]
) -> None:
    name, project, domain = case
    async with running() as cast:
        alice = await cast.caller("alice")
        await alice.call(IDENTITIES, "Bind", _bind("pam", "Admin", "p1"))
        await alice.call(IDENTITIES, "Bind", _bind("dom", "Admin", "", "development"))
        caller = _caller_as(cast, name)
        request = _bind("zoe", "Viewer", project, domain, org="acme")
        assert (await _outcome(caller, IDENTITIES, "Bind", request))[0] == LEVELS[case]


def _caller_as(cast: Cast, subject: str) -> Any:
    """Return a caller with a token of the issuer, for users who are no apps too."""
    org = "globex" if subject == "bob" else "acme"
    token = cast.plane.issuer.viewer_token(subject, org) if subject else ""
    return Caller(cast.http, token)


async def test_a_projects_admin_sees_the_roles_of_its_project(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        await alice.call(IDENTITIES, "Bind", _bind("pam", "Admin", "p1"))
        await alice.call(IDENTITIES, "Bind", _bind("vic", "Viewer", "p2"))
        seen = await _principals(_caller_as(cast, "pam"))
        assert set(seen) == {"carol", "pam", "vic"}
        assert [b.project for b in seen["vic"].bindings] == ["p1"]
        request = v1.ListPrincipalsRequest()
        for name, code in (("carol", "permission_denied"), ("nobody", "not_found")):
            caller = _caller_as(cast, name)
            assert (await _outcome(caller, IDENTITIES, "ListPrincipals", request))[0] == code


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (_bind("zoe", "Owner"), "invalid_argument"),
        (_bind("", "Viewer"), "invalid_argument"),
        (_bind("a b", "Viewer"), "invalid_argument"),
        (_bind("agent-c1", "Viewer"), "invalid_argument"),
        (_bind("zoe", "Viewer", "a b"), "invalid_argument"),
        (_bind("zoe", "Viewer", org="globex"), "not_found"),
        (_bind("zoe", "Viewer", org="absent"), "not_found"),
    ],
)
async def test_malformed_bindings_are_refused(
    autojump_clock: Any, request_: Any, code: str
) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        assert (await _outcome(alice, IDENTITIES, "Bind", request_))[0] == code


async def test_the_last_admin_stays(autojump_clock: Any) -> None:
    async with running() as cast:
        alice = await cast.caller("alice")
        last = _bind("alice", "Admin")
        assert (await _outcome(alice, IDENTITIES, "Unbind", last))[0] == "failed_precondition"
        await alice.call(IDENTITIES, "Bind", _bind("vic", "Admin"))
        assert (await _outcome(alice, IDENTITIES, "Unbind", last))[0] == "ok"


async def test_revoked_tokens_are_void_and_new_ones_count(autojump_clock: Any) -> None:
    async with running() as cast:
        alice, vic = await cast.caller("alice"), await cast.caller("vic")
        await alice.call(IDENTITIES, "Revoke", v1.RevokeRequest(subject="vic"))
        listed = v1.ListClustersRequest()
        assert (await _outcome(vic, CLUSTERS, "ListClusters", listed))[0] == "unauthenticated"
        assert (await _outcome(alice, CLUSTERS, "ListClusters", listed))[0] == "ok"
        await trio.sleep(1)
        again = await cast.caller("vic")
        assert (await _outcome(again, CLUSTERS, "ListClusters", listed))[0] == "ok"
        await alice.call(IDENTITIES, "Revoke", v1.RevokeRequest(subject="agent-c1"))
        await until(lambda: "agent:acme/c1" in _policy(cast)["revoked"])


async def test_who_is_held_gets_no_token_until_it_is_released(autojump_clock: Any) -> None:
    listed = v1.ListClustersRequest()
    async with running() as cast:
        alice, vic = await cast.caller("alice"), await cast.caller("vic")
        await alice.call(IDENTITIES, "Revoke", v1.RevokeRequest(subject="vic", hold=True))
        agent = v1.RevokeRequest(subject="agent:acme/c1", hold=True)
        await alice.call(IDENTITIES, "Revoke", agent)
        await alice.call(IDENTITIES, "Revoke", v1.RevokeRequest(subject="vic"))  # holds on
        await trio.sleep(2)
        for name, scope in (("vic", "all"), ("agent-c1", "tunnel")):
            with pytest.raises(httpx.HTTPStatusError, match="400"):
                await cast.token(name, scope)
        assert _policy(cast)["revoked"] == {"vic": HELD_S, "agent:acme/c1": HELD_S}
        await alice.call(IDENTITIES, "Revoke", v1.RevokeRequest(subject="vic", release=True))
        await trio.sleep(2)
        again = await cast.caller("vic")
        assert (await _outcome(again, CLUSTERS, "ListClusters", listed))[0] == "ok"
        assert (await _outcome(vic, CLUSTERS, "ListClusters", listed))[0] == "unauthenticated"


async def test_one_org_cannot_shut_out_anothers_subject(autojump_clock: Any) -> None:
    async with running() as cast:
        alice, bob = await cast.caller("alice"), await cast.caller("bob")
        for subject in ("bob", "absent"):  # no difference to be seen
            request = v1.RevokeRequest(subject=subject)
            assert (await _outcome(alice, IDENTITIES, "Revoke", request))[0] == "not_found"
            await alice.call(IDENTITIES, "Bind", _bind(subject, "Viewer"))
            assert (await _principals(alice))[subject].kind == "user"
            assert (await _outcome(alice, IDENTITIES, "Revoke", request))[0] == "ok"
        await trio.sleep(1)
        assert "bob" not in _policy(cast)["revoked"]
        assert (await _outcome(bob, CLUSTERS, "ListClusters", v1.ListClustersRequest()))[0] == "ok"


async def test_roles_given_outlive_a_restart_until_the_configuration_changes(
    autojump_clock: Any, tmp_path: Any
) -> None:
    config = settings(db_file=str(tmp_path / "control.db"))
    async with running(config) as cast:
        alice = await cast.caller("alice")
        await alice.call(IDENTITIES, "Bind", _bind("vic", "Contributor", "p1"))
        await alice.call(CLUSTERS, "SetCluster", v1.SetClusterRequest(cluster="c1", enabled=False))
    async with running(config) as cast:
        alice = await cast.caller("alice")
        assert len((await _principals(alice))["vic"].bindings) == 2
        assert not (await _clusters(alice))["c1"].enabled
    apps = tuple(app for app in config.apps if app.client_id == "alice")
    async with running(settings(db_file=config.db_file, apps=apps)) as cast:
        assert len((await _principals(await cast.caller("alice")))["vic"].bindings) == 2
    vic = next(app for app in config.apps if app.client_id == "vic")
    renamed = type(vic)("vic", "", "acme", roles=(type(vic.roles[0])("Viewer"),))
    async with running(settings(db_file=config.db_file, apps=(*apps, renamed))) as cast:
        assert len((await _principals(await cast.caller("alice")))["vic"].bindings) == 1


def test_a_cluster_with_two_tunnels_is_online_since_the_first() -> None:
    assert Tunnel((5, 9)).since_ns == 5
