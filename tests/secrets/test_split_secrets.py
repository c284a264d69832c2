"""Secrets and events on a whole split: the unmodified flyte CLI, a run that uses them, cuts."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import flyte_client as client
import pytest
import trio
from flyteidl2.core import security_pb2
from flyteidl2.workflow import run_service_pb2

from planesplit.events import Event, open_events
from planesplit.harness import Harness, open_portal
from planesplit.proof.canaries import Canaries
from planesplit.split.core import Split
from planesplit.split.options import AGENT, SplitOptions

pytestmark = pytest.mark.integration

PROJECT = ("--project", "demo", "--domain", "development")
LIFE = ["Scheduled", "Pulled", "Created", "Started", "Completed"]


def flyte(split: Harness, *arguments: str, code: int = 0) -> str:
    """Run the CLI with the configuration and the environment of the ready file."""
    return client.flyte(split.ready, *arguments, code=code)


def run_with(split: Harness, script: str, *wanted: security_pb2.Secret) -> str:
    """Start a run whose task wants secrets, as flyte's SDK says it: in its security context."""
    name = f"s{uuid.uuid4().hex[:10]}"

    async def create() -> None:
        viewer = split._split.viewer
        place = viewer.place
        request = run_service_pb2.CreateRunRequest()
        run = request.run_id
        run.org, run.project, run.domain, run.name = place.org, place.project, place.domain, name
        template = request.task_spec.task_template
        template.id.name, template.type = "secretive", "container"
        template.container.image = "any"
        template.container.command.extend(["sh", "-c", script])
        template.security_context.secrets.extend(wanted)
        await viewer.call("CreateRun", request, run_service_pb2.CreateRunResponse)

    split._portal.call(create, timeout_s=20)
    return name


def text_of(split: Harness, run: str) -> str:
    with split.tail(run) as lines:
        return "".join(line.text for line in lines.all())


def test_a_secret_from_the_flyte_cli_into_a_pod(planesplit: Harness, tmp_path: Path) -> None:
    canary = Canaries()
    wide, narrow = canary.make(), canary.make()
    name = f"token-{uuid.uuid4().hex[:8]}"
    file = tmp_path / "value"
    file.write_text(narrow)
    flyte(planesplit, "create", "secret", name, "--value", wide)
    assert "already exists" in flyte(planesplit, "create", "secret", name, "--value", wide, code=1)
    shown = flyte(planesplit, "get", "secret", name)
    assert "FULLY_PRESENT" in shown
    assert name in flyte(planesplit, "get", "secret")
    digest = 'printf %s "$TOKEN" | sha256sum | cut -c1-64'
    key = security_pb2.Secret(
        key=name, env_var="TOKEN", mount_requirement=security_pb2.Secret.MountType.ENV_VAR
    )
    run = run_with(planesplit, digest, key)
    assert text_of(planesplit, run).strip() == hashlib.sha256(wide.encode()).hexdigest()
    flyte(planesplit, "create", "secret", name, "--from-file", str(file), *PROJECT)
    run = run_with(planesplit, digest, key)
    assert text_of(planesplit, run).strip() == hashlib.sha256(narrow.encode()).hexdigest()
    as_file = security_pb2.Secret(key=name, mount_requirement=security_pb2.Secret.MountType.FILE)
    run = run_with(planesplit, f"sha256sum $FLYTE_SECRETS_DEFAULT_DIR/{name}", as_file)
    assert text_of(planesplit, run).startswith(hashlib.sha256(narrow.encode()).hexdigest())
    domain = ("--domain", "development")
    flyte(planesplit, "create", "secret", f"domain-{name}", "--value", canary.make(), *domain)
    assert f"domain-{name}" in flyte(planesplit, "get", "secret", *domain)
    login = ("--registry", "registry.test", "--username", "u", "--password", canary.make())
    flyte(planesplit, "create", "secret", f"pull-{name}", "--type", "image_pull", *login)
    assert "IMAGE_PULL" in flyte(planesplit, "get", "secret", f"pull-{name}")
    assert "NOT FOUND" in flyte(planesplit, "get", "secret", f"no-{name}", code=1)
    flyte(planesplit, "delete", "secret", name)
    flyte(planesplit, "delete", "secret", name, *PROJECT)
    assert canary.scan_tree(tmp_path), "the scan finds what is there"
    assert canary.scan_tree(Path(planesplit.ready.directory)) == []
    assert canary.scan("journals", planesplit.journals().encode()) == []
    assert canary.scan("what the CLI shows", shown.encode()) == []


def test_a_missing_secret_is_told_as_an_event(planesplit: Harness) -> None:
    run = run_with(planesplit, "true", security_pb2.Secret(key="never-made", env_var="X"))
    events = watched(planesplit, run, lambda event: event.reason == "Failed" and event.count > 1)
    assert 'secret "never-made" not found' in events[-1].message
    split = planesplit._split
    planesplit._portal.call(split.viewer.abort, run, timeout_s=20)
    assert planesplit.wait(run, timeout=60).phase == "ABORTED"


def test_events_over_cuts_and_a_new_agent(planesplit: Harness) -> None:
    run = planesplit.run(exec="for i in 1 2 3 4; do echo $i; sleep 1; done")

    async def faults(split: Split) -> None:
        await trio.sleep(1)
        split.cut()
        await trio.sleep(1)
        await split.kill(AGENT)
        await split.restart(AGENT)

    events = watched(planesplit, run, faults=faults)
    assert [event.reason for event in events] == LIFE
    assert all(event.count == 1 for event in events)


async def _no_faults(_split: Split) -> None:
    """Everything stays as it is."""


def watched(
    harness: Harness,
    run: str,
    until: Callable[[Event], bool] = lambda event: False,
    faults: Callable[[Split], Awaitable[None]] = _no_faults,
) -> list[Event]:
    """Watch a run's events to their end, or until one of them, while faults happen."""
    split = harness._split

    async def watch() -> list[Event]:
        events: list[Event] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(faults, split)
            async with open_events(split.viewer, run) as told:
                async for event in told:
                    events.append(event)
                    if until(event):
                        break
        return events

    return harness._portal.call(watch, timeout_s=60)


def test_a_secret_of_the_org_is_in_every_cluster() -> None:
    portal, made = open_portal(SplitOptions(clusters=("c2",), clickhouse=False))
    try:
        split = Harness(portal, made, "everywhere")
        flyte(split, "create", "secret", "everywhere", "--value", "value-of-everywhere")
        shown = flyte(split, "get", "secret", "everywhere")
        assert shown.count("PRESENT") == 3  # FULLY_PRESENT, and once for each cluster
        for cluster in ("c1", "c2"):
            run = split.run(exec="true", cluster=cluster)
            assert split.wait(run).cluster == cluster
            assert f"'{cluster}'" in shown
        listed = flyte(split, "get", "secret")
        assert listed.count("everywhere") == 2
        flyte(split, "delete", "secret", "everywhere")
        assert "not_found" in flyte(split, "get", "secret", "everywhere", code=1)
    finally:
        portal.stop()
