"""Assignments become pods: templates, environment, what is put into the store beforehand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import trio
from signing_stage import ATTEMPT, BUNDLES, METADATA, Stage, exchange

from compute_agent import templates
from compute_agent.kubernetes import manifest
from compute_agent.objects.records import bundle_of
from compute_agent.objects.store import StoreError
from compute_agent.staging import CannotStage, Staging
from tunnel.messages.planesplit_v1_pb2 import AssignRequest, SecretMount

BASE = f"s3://{METADATA}/acme/demo/dev/"
PREFIX = BASE + "run1/a0/1"
BUNDLE = f"s3://{BUNDLES}/acme/demo/dev/0123/fast.tar.gz"
COMMAND = (
    "a0 --inputs {{.input}} --outputs-path {{.outputPrefix}} --raw-data-path "
    "{{.rawOutputDataPrefix}} --checkpoint-path {{.checkpointOutputPrefix}} --prev-checkpoint "
    "{{.prevCheckpointPrefix}} --run-name {{.runName}} --name {{.actionName}} --run-start-time "
    "{{.runStartTime}} --tgz " + BUNDLE
).split()


@pytest.fixture
async def stage(tmp_path: Path, nursery: trio.Nursery) -> Stage:
    exchange()
    made = Stage(tmp_path)
    nursery.start_soon(made.objects.copies.run)
    return made


def staging(stage: Stage | None) -> Staging:
    return Staging(stage.objects if stage else None, "main", "localhost:9")


def assignment(*args: str, **fields: object) -> AssignRequest:
    request = AssignRequest(task_name="env.main", task_version="v1", **fields)
    request.container.image = "img"
    request.container.args.extend(args)
    return request


async def test_what_flytes_runtime_is_told(stage: Stage) -> None:
    await stage.put(BUNDLES, "acme/demo/dev/0123/fast.tar.gz", b"code")
    request = assignment(*COMMAND, inputs_uri=BASE + "inputs/i/inputs.pb")
    request.container.env["ACTION_NAME"] = "forged"
    request.container.env["WHERE"] = "{{ .outputPrefix }}/x"
    request.created_at.FromJsonString("2026-11-22T21:00:00.5Z")
    spec = await staging(stage).prepare(ATTEMPT, request)
    told = dict(zip(spec.args[1::2], spec.args[2::2], strict=True))
    staged = f"s3://{METADATA}/acme/demo/dev/bundles/0123/fast.tar.gz"
    assert told == {
        "--inputs": BASE + "inputs/i/inputs.pb",
        "--outputs-path": PREFIX,
        "--raw-data-path": PREFIX + "/raw",
        "--checkpoint-path": PREFIX + "/checkpoint",
        "--prev-checkpoint": "",
        "--run-name": "run1",
        "--name": "a0",
        "--run-start-time": "2026-11-22T21:00:00.500000Z",
        "--tgz": staged,
    }
    env = spec.env
    assert env["ACTION_NAME"] == "a0", "nobody speaks for another action"
    assert env["WHERE"] == PREFIX + "/x"
    assert env["_U_RUN_BASE"] == BASE + "run1"
    assert env["_U_EP_OVERRIDE"] == "localhost:9"
    assert env["FLYTE_ATTEMPT_NUMBER"] == "0"
    record = await stage.objects.records.of(ATTEMPT)
    assert record is not None
    assert (record.inputs, record.bundle) == (BASE + "inputs/i/inputs.pb", BUNDLE)
    assert await stage.read(stage.objects.layout.staged(_place(BUNDLE))) == b"code"


def _place(uri: str) -> object:
    from compute_agent.objects.keys import Place

    return Place.parse(uri)


async def test_a_second_attempt_sees_the_first_ones_checkpoint(stage: Stage) -> None:
    request = assignment("x", "{{.prevCheckpointPrefix}}")
    spec = await staging(stage).prepare(ATTEMPT.numbered(2), request)
    assert spec.args == ("x", PREFIX + "/checkpoint")
    assert spec.env["FLYTE_ATTEMPT_NUMBER"] == "1"


async def test_a_command_that_reads_inputs_finds_some(stage: Stage) -> None:
    spec = await staging(stage).prepare(ATTEMPT, assignment("cat", "{{.input}}"))
    assert spec.args[1] == PREFIX + "/inputs.pb"
    assert await stage.read(stage.objects.layout.of(ATTEMPT, "inputs.pb")) == b""


async def test_the_same_bundle_is_staged_once(stage: Stage) -> None:
    place = await stage.put(BUNDLES, "acme/demo/dev/0123/fast.tar.gz", b"code")
    target = stage.objects.layout.staged(place)
    executor = staging(stage)
    puts = []
    for _ in range(2):
        await executor.prepare(ATTEMPT, assignment(*COMMAND))
        puts.append(stage.asked.count("PUT"))
        stage.asked.clear()
    assert puts[0] == puts[1] + 2, "the object itself, and its copy, once each"
    found = await stage.objects.store.head(_executor(), target)
    assert found is not None
    assert found.md5 == hashlib.md5(b"code").hexdigest()


def _executor() -> object:
    from compute_agent.objects.signer import Identity

    return Identity.EXECUTOR


async def test_a_slow_copy_goes_on_without_its_caller(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compute_agent.objects.copies.WAIT_S", 0.01)
    place = await stage.put(BUNDLES, "acme/demo/dev/0123/fast.tar.gz", b"code")
    slow, calls = trio.Event(), 0
    copy = stage.objects.store.copy

    async def slowly(*args: object) -> bool:
        nonlocal calls
        calls += 1
        await slow.wait()
        return await copy(*args)

    monkeypatch.setattr(stage.objects.store, "copy", slowly)
    for _ in range(2):
        with pytest.raises(StoreError, match="still being staged"):
            await staging(stage).prepare(ATTEMPT, assignment(*COMMAND))
    assert calls == 1
    slow.set()
    monkeypatch.setattr("compute_agent.objects.copies.WAIT_S", 10)
    await staging(stage).prepare(ATTEMPT, assignment(*COMMAND))
    assert await stage.read(stage.objects.layout.staged(place)) == b"code"


async def test_large_bundles_are_copied_whole(stage: Stage) -> None:
    content = bytes(range(256)) * 8192  # 2 MiB, several reads
    place = await stage.put(BUNDLES, "acme/demo/dev/0123/fast.tar.gz", content)
    await staging(stage).prepare(ATTEMPT, assignment(*COMMAND))
    copied = await stage.objects.store.get(
        _executor(), stage.objects.layout.staged(place), len(content)
    )
    assert copied == content


async def test_what_can_never_run(stage: Stage) -> None:
    with pytest.raises(CannotStage, match="bundle"):
        await staging(stage).prepare(ATTEMPT, assignment(*COMMAND))
    for uri in ("s3://b/k", f"s3://{METADATA}/acme/other/dev/inputs/i/inputs.pb", "nonsense"):
        with pytest.raises(CannotStage, match="inputs"):
            await staging(stage).prepare(ATTEMPT, assignment("x", inputs_uri=uri))
    with pytest.raises(CannotStage, match="not configured"):
        await staging(None).prepare(ATTEMPT, assignment("x", "{{.outputPrefix}}"))
    with pytest.raises(CannotStage, match="not configured"):
        await staging(None).prepare(ATTEMPT, assignment("x", inputs_uri=BASE + "inputs/i/i"))


async def test_others_bundles_are_neither_staged_nor_kept(stage: Stage) -> None:
    await stage.put(BUNDLES, "acme/other/dev/0/f.tgz", b"theirs")
    theirs = f"s3://{BUNDLES}/acme/other/dev/0/f.tgz"
    spec = await staging(stage).prepare(ATTEMPT, assignment("a0", "--tgz", theirs))
    assert spec.args == ("a0", "--tgz", theirs), "pods have no right on that bucket"
    assert await stage.objects.records.of(ATTEMPT) is None


async def test_without_a_store_plain_commands_run(stage: Stage) -> None:
    spec = await staging(None).prepare(ATTEMPT, assignment("echo", "{{.runName}}", "{{.x}}"))
    assert spec.args == ("echo", "run1", "{{.x}}")
    assert "_U_RUN_BASE" not in spec.env


async def test_a_store_that_is_away_is_told(stage: Stage) -> None:
    stage.down = True
    with pytest.raises(StoreError):
        await staging(stage).prepare(ATTEMPT, assignment(*COMMAND))


async def test_secrets_are_wishes(stage: Stage) -> None:
    request = assignment("x")
    request.container.secrets.append(SecretMount(key="db", env_var="DB"))
    spec = await staging(stage).prepare(ATTEMPT, request)
    text = manifest(spec)["metadata"]["annotations"]["planesplit.io/secrets"]
    assert json.loads(text) == [{"key": "db", "env_var": "DB", "mount_path": ""}]
    assert (
        "annotations"
        not in manifest(await staging(stage).prepare(ATTEMPT, assignment("x")))["metadata"]
    )


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{.Input}}|{{ .input }}", "I|I"),
        ("{{.inputs.x}}", "{{.inputs.x}}"),
        ("{.input}", "{.input}"),
        ("a{{.unknown}}b", "a{{.unknown}}b"),
        ("{{.input}}{{.input}}", "II"),
    ],
)
def test_templates(text: str, filled: str) -> None:
    assert templates.substitute(text, {"input": "I"}) == filled


def test_what_is_substituted_is_not_a_template_again() -> None:
    assert templates.substitute("{{.a}}", {"a": "{{.b}}", "b": "x"}) == "{{.b}}"


def test_bundles_are_found_in_a_command() -> None:
    assert bundle_of(("a0", "--pkl", "s3://b/k")) == "s3://b/k"
    assert bundle_of(("a0", "--tgz")) == ""
    assert bundle_of(()) == ""
