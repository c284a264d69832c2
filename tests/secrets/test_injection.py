"""Secrets in pods: which one, as what, seen where, and what happens without."""

from __future__ import annotations

import json
import secrets as random_secrets
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from secret_cast import DOMAIN, ORG, PROJECT, World, create, exchange, world
from test_secret_service import service_of

from compute_agent.attempts import Attempt
from compute_agent.kubernetes import manifest
from compute_agent.pods import PodSpec, SecretWish
from customer_stub.secrets.injection import ANNOTATION, Injected, InjectionFailed, wishes

ATTEMPT = Attempt(ORG, PROJECT, DOMAIN, "run1", "a0", 1)
NAMESPACE = ATTEMPT.namespace
SCOPES = {"project": (PROJECT, DOMAIN), "domain": ("", DOMAIN), "org": ("", "")}


async def keep(target: World, name: str, values: dict[str, str]) -> None:
    """Write a secret as a user does, with one value for each scope."""
    service = service_of(target)
    for scope, value in values.items():
        with exchange(*SCOPES[scope]):
            await service.create_secret(create(name, value, *SCOPES[scope]), None)


def start(target: World, script: str, *wanted: SecretWish) -> dict[str, Any]:
    spec = PodSpec(ATTEMPT, "main", "img", ("sh", "-c", script), secrets=wanted)
    return target.cluster.pods.create(NAMESPACE, manifest(spec))


async def ended(target: World) -> dict[str, Any]:
    with trio.fail_after(20):
        while True:
            pod = target.cluster.pods.get(NAMESPACE, ATTEMPT.pod)
            if pod["status"]["phase"] in ("Succeeded", "Failed"):
                return pod
            await trio.sleep(0.01)


def output(target: World) -> str:
    pod = target.cluster.pods.get(NAMESPACE, ATTEMPT.pod)
    file = target.cluster.kubelet.log_directory(pod) / "0.log"
    return "\n".join(line.split(" ", 3)[3] for line in file.read_text().splitlines())


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (("project", "domain", "org"), "project"),
        (("domain", "org"), "domain"),
        (("org",), "org"),
    ],
)
async def test_the_narrowest_scope_wins(
    tmp_path: Path, where: tuple[str, ...], expected: str
) -> None:
    async with world(tmp_path) as target:
        await keep(target, "my-token", {scope: f"value-of-{scope}" for scope in where})
        start(target, "echo $MY_TOKEN", SecretWish("my-token", "MY_TOKEN"))
        await ended(target)
        assert output(target) == f"value-of-{expected}"


async def test_a_file_and_its_end(tmp_path: Path) -> None:
    async with world(tmp_path, data_root=str(tmp_path / "data")) as target:
        await keep(target, "cert", {"org": "line 1\nline 2"})
        wish = SecretWish("cert", mount_path="/etc/flyte/secrets/group/cert")
        script = 'F=$FLYTE_SECRETS_DEFAULT_DIR/group/cert; stat -c "%a %n" $F; cat $F; echo'
        script += "; sleep 60"
        start(target, script, wish)
        root = tmp_path / "data" / "injected"
        with trio.fail_after(20):
            while not (found := list(root.rglob("cert"))):
                await trio.sleep(0.01)
            while "line 2" not in _log(target):
                await trio.sleep(0.01)
        assert output(target).splitlines() == [f"400 {found[0]}", "line 1", "line 2"]
        assert stat.S_IMODE(root.stat().st_mode) == 0o700
        target.cluster.pods.delete(NAMESPACE, ATTEMPT.pod, grace_s=1)
        with trio.fail_after(20):
            while list(root.iterdir()):
                await trio.sleep(0.01)


def _log(target: World) -> str:
    pod = target.cluster.pods.get(NAMESPACE, ATTEMPT.pod)
    file = target.cluster.kubelet.log_directory(pod) / "0.log"
    return file.read_text() if file.exists() else ""


async def test_files_left_by_a_killed_node_are_removed(tmp_path: Path) -> None:
    left = tmp_path / "data" / "injected" / "planesplit-secrets-x"
    left.mkdir(parents=True)
    (left / "value").write_text("left over")
    async with world(tmp_path, data_root=str(tmp_path / "data")):
        assert not left.exists()


async def test_no_object_or_event_shows_a_value(tmp_path: Path) -> None:
    canary = random_secrets.token_hex(16)
    async with world(tmp_path) as target:
        await keep(target, "token", {"org": canary})
        start(
            target,
            '[ "$TOKEN" ] && exit 3',
            SecretWish("token", "TOKEN"),
            SecretWish("token", mount_path="/etc/flyte/secrets/token"),
        )
        pod = await ended(target)
        assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 3
        objects = [
            target.cluster.objects.kinds[kind].list(None) for kind in ("pods", "events", "nodes")
        ]
        history = [
            event.object
            for event in target.cluster.pods._store._events
            if event.resource != "secrets"
        ]
        assert canary not in json.dumps([objects, history, target.journal])
        assert "TOKEN" in json.dumps(objects), "the name is there"
    assert canary not in repr(Injected({"TOKEN": canary}))


async def test_a_missing_secret_is_waited_for(tmp_path: Path) -> None:
    async with world(tmp_path) as target:
        target.cluster.kubelet.injector._settings = _patience(target, wait_s=60)
        start(target, "echo $LATE", SecretWish("late", "LATE"))
        with trio.fail_after(20):
            while _events(target, "Failed") != [2]:
                await trio.sleep(0.01)
        pod = target.cluster.pods.get(NAMESPACE, ATTEMPT.pod)
        waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]
        assert pod["status"]["phase"] == "Pending"
        assert waiting["reason"] == "CreateContainerConfigError"
        assert 'secret "late" not found' in waiting["message"]
        await keep(target, "late", {"domain": "there now"})
        await ended(target)
        assert output(target) == "there now"


def _patience(target: World, wait_s: float) -> Any:
    return replace(target.cluster.kubelet.injector._settings, wait_s=wait_s, retry_s=0.05)


def _events(target: World, reason: str) -> list[int]:
    found = target.cluster.objects.kinds["events"].list(NAMESPACE)["items"]
    return [min(event["count"], 2) for event in found if event["reason"] == reason]


async def test_a_secret_that_never_comes_fails_the_pod(tmp_path: Path) -> None:
    async with world(tmp_path) as target:
        target.cluster.kubelet.injector._settings = _patience(target, wait_s=0.1)
        start(target, "true", SecretWish("never", "NEVER"))
        pod = await ended(target)
        state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        assert (pod["status"]["phase"], state["exitCode"]) == ("Failed", 128)
        assert state["reason"] == "CreateContainerConfigError"
        assert 'secret "never" not found' in state["message"]


async def test_a_pod_that_waits_for_a_secret_can_be_deleted(tmp_path: Path) -> None:
    async with world(tmp_path) as target:
        start(target, "true", SecretWish("never", "NEVER"))
        with trio.fail_after(20):
            while not _events(target, "Failed"):
                await trio.sleep(0.01)
            target.cluster.pods.delete(NAMESPACE, ATTEMPT.pod)
            while target.cluster.pods.list(NAMESPACE)["items"]:
                await trio.sleep(0.01)


async def test_a_binary_value_is_no_variable(tmp_path: Path) -> None:
    async with world(tmp_path) as target:
        service = service_of(target)
        with exchange():
            await service.create_secret(create("key", b"a\0b"), None)
        start(target, "true", SecretWish("key", "KEY"))
        pod = await ended(target)
        state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        assert "mount it as a file" in state["message"]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "7",
        '[{"key": "a"}]',
        '[{"env_var": "A"}]',
        '[{"key": "a", "env_var": "A=B"}]',
        '[{"key": "a", "mount_path": "relative"}]',
        '[{"key": "a", "mount_path": "/etc/../../x"}]',
        '[{"key": ["a"], "env_var": "A"}]',
        "[" * 5000,
        json.dumps([{"key": "a", "env_var": "A"}] * 3),
    ],
)
def test_bad_annotations(text: str) -> None:
    with pytest.raises(InjectionFailed) as caught:
        wishes({"metadata": {"annotations": {ANNOTATION: text}}}, most=2)
    assert len(str(caught.value)) < 100


def test_pods_without_secrets() -> None:
    for metadata in ({}, {"annotations": None}, {"annotations": {"other": "x"}}):
        assert wishes({"metadata": metadata}, most=2) == []
