"""Pods that run real commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import trio
from customer_cast import (
    NAMESPACE,
    cluster,
    directory_of,
    ended,
    lines,
    phases,
    pod,
    terminated,
)

from customer_stub.pods.guardian import VARIABLE
from kube.server.status import ApiError


def shell(script: str, name: str = "p", **spec: object) -> dict[str, object]:
    return pod(name, "any", container={"command": ["sh", "-c", script], "args": []}, **spec)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def until_line(directory: Path, count: int = 1) -> list[bytes]:
    """Wait until the container has written so many lines."""
    with trio.fail_after(20):
        while True:
            path = directory / "0.log"
            if path.exists() and path.read_bytes().count(b" F ") >= count:
                return lines(directory)
            await trio.sleep(0.005)


async def test_both_streams_exit_code_and_phases(tmp_path: Path) -> None:
    async with cluster(tmp_path) as target:
        created = target.pods.create(
            NAMESPACE, shell("cat; echo out; echo err >&2; printf 'no newline'; exit 7")
        )
        (found,) = await ended(target, "p")
        events = []
        async for event in target.pods.watch(
            NAMESPACE, since=int(created["metadata"]["resourceVersion"]), timeout_s=1
        ):
            events.append(event)
            if event["object"]["status"]["phase"] == "Failed":
                break
        assert phases(events) == [
            ("MODIFIED", "Pending"),
            ("MODIFIED", "Running"),
            ("MODIFIED", "Failed"),
        ]
        waiting = events[0]["object"]["status"]["containerStatuses"][0]["state"]["waiting"]
        assert waiting == {"reason": "ContainerCreating"}
        assert "containerStatuses" not in created["status"]
        assert terminated(found)["exitCode"] == 7
        assert lines(directory_of(target, found), "stdout") == [b"out", b"no newline"]
        assert lines(directory_of(target, found), "stderr") == [b"err"]
        status = found["status"]["containerStatuses"][0]
        assert (status["restartCount"], status["ready"]) == (0, False)
        layout = f"{NAMESPACE}_p_{found['metadata']['uid']}/main/0.log"
        assert (tmp_path / layout).exists()


async def test_success_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOT_FOR_PODS", "secret")
    body = shell("env; pwd")
    body["spec"]["containers"][0] |= {  # type: ignore[index]
        "env": [{"name": "LOSS", "value": "0.5"}, {"name": "EMPTY"}],
        "workingDir": str(tmp_path),
    }
    async with cluster(tmp_path / "logs") as target:
        target.pods.create(NAMESPACE, body)
        (found,) = await ended(target, "p")
        assert found["status"]["phase"] == "Succeeded"
        assert terminated(found)["reason"] == "Completed"
        output = lines(directory_of(target, found))
        assert {b"LOSS=0.5", b"EMPTY=", str(tmp_path).encode()} <= set(output)
        assert not any(line.startswith(b"NOT_FOR_PODS") for line in output)


@pytest.mark.parametrize(
    "command", [[], ["/no/such/program"], ["/etc/passwd"], ["true", "x" * 500_000]], ids=len
)
async def test_a_command_that_cannot_start(tmp_path: Path, command: list[str]) -> None:
    async with cluster(tmp_path) as target:
        target.pods.create(NAMESPACE, pod("p", container={"command": command}))
        (found,) = await ended(target, "p")
        state = terminated(found)
        assert (state["exitCode"], state["reason"]) == (128, "StartError")
        assert state["message"].startswith("failed to start the container: ")


async def test_killed_by_a_signal(tmp_path: Path) -> None:
    async with cluster(tmp_path) as target:
        target.pods.create(NAMESPACE, shell("kill -SEGV $$"))
        (found,) = await ended(target, "p")
        assert terminated(found)["exitCode"] == 128 + 11


async def test_delete_asks_first(tmp_path: Path) -> None:
    script = "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    async with cluster(tmp_path) as target:
        created = target.pods.create(NAMESPACE, shell(script))
        await until_line(directory_of(target, created))
        answer = target.pods.delete(NAMESPACE, "p", grace_s=20)
        assert answer["metadata"]["deletionGracePeriodSeconds"] == 20
        with trio.fail_after(10):
            async for event in target.pods.watch(NAMESPACE):
                if event["type"] == "DELETED":
                    break
        assert terminated(event["object"])["exitCode"] == 5
        assert lines(directory_of(target, created)) == [b"ready", b"bye"]
        with pytest.raises(ApiError, match="not found"):
            target.pods.get(NAMESPACE, "p")


async def test_delete_kills_the_deaf_and_a_second_delete_shortens_the_wait(tmp_path: Path) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    async with cluster(tmp_path) as target:
        created = target.pods.create(NAMESPACE, shell(script))
        await until_line(directory_of(target, created))
        target.pods.delete(NAMESPACE, "p", grace_s=3600)
        unchanged = target.pods.delete(NAMESPACE, "p", grace_s=3600)
        assert unchanged["metadata"]["deletionGracePeriodSeconds"] == 3600
        target.pods.delete(NAMESPACE, "p", grace_s=1)
        with trio.fail_after(10):
            async for event in target.pods.watch(NAMESPACE):
                if event["type"] == "DELETED":
                    break
        assert terminated(event["object"])["exitCode"] == 128 + 9


@pytest.mark.parametrize("how", ["background", "own session"])
async def test_what_a_command_leaves_behind_ends_with_it(tmp_path: Path, how: str) -> None:
    prefix = "setsid " if how == "own session" else ""
    script = f"{prefix}sh -c 'echo $$; exec sleep 600' & sleep 0.2; echo done"
    async with cluster(tmp_path) as target:
        target.pods.create(NAMESPACE, shell(script))
        (found,) = await ended(target, "p")
        pid, done = lines(directory_of(target, found))
        assert done == b"done"
        assert not alive(int(pid))


async def test_an_escaped_process_cannot_hold_the_pod_for_long(tmp_path: Path) -> None:
    script = f"setsid env -u {VARIABLE} sh -c 'echo $$; exec sleep 600' & sleep 0.2"
    async with cluster(tmp_path, drain_s=0.2) as target:
        target.pods.create(NAMESPACE, shell(script))
        (found,) = await ended(target, "p")
        (pid,) = lines(directory_of(target, found))
        os.kill(int(pid), 9)


async def test_much_output_on_both_streams_at_once(tmp_path: Path) -> None:
    script = (
        "import os, threading\n"
        "def w(fd, c):\n"
        "    for i in range(40):\n"
        "        data = c * 70_001 + b'\\n' if i % 4 else c * 3_000_000 + b'\\n'\n"
        "        while data: data = data[os.write(fd, data):]\n"
        "t = threading.Thread(target=w, args=(2, b'e')); t.start(); w(1, b'o'); t.join()\n"
    )
    async with cluster(tmp_path, rotate_bytes=1_000_000, rotate_files=100) as target:
        target.pods.create(
            NAMESPACE, pod("p", container={"command": [sys.executable, "-c", script]})
        )
        (found,) = await ended(target, "p")
        assert terminated(found)["exitCode"] == 0
        expected = [70_001 if i % 4 else 3_000_000 for i in range(40)]
        for stream in ("stdout", "stderr"):
            assert [len(line) for line in lines(directory_of(target, found), stream)] == expected


async def test_cancelling_the_node_kills_its_containers(tmp_path: Path) -> None:
    async with cluster(tmp_path) as target:
        created = target.pods.create(NAMESPACE, shell("echo $$; sleep 600 & echo $!; wait"))
        pids = [int(line) for line in await until_line(directory_of(target, created), 2)]
        assert all(map(alive, pids))
    assert not any(map(alive, pids))


async def test_at_most_max_running_at_once_and_the_others_wait(tmp_path: Path) -> None:
    async with cluster(tmp_path, max_running=1) as target:
        first = target.pods.create(NAMESPACE, shell("echo up; exec sleep 600", "first"))
        target.pods.create(NAMESPACE, shell("exit 0", "second"))
        target.pods.create(NAMESPACE, shell("exit 0", "third"))
        await until_line(directory_of(target, first))
        assert target.pods.get(NAMESPACE, "second")["status"]["phase"] == "Pending"
        target.pods.delete(NAMESPACE, "third")
        target.pods.delete(NAMESPACE, "first", grace_s=0)
        (second,) = await ended(target, "second")
        assert second["status"]["phase"] == "Succeeded"
        assert [p["metadata"]["name"] for p in target.pods.list(NAMESPACE)["items"]] == ["second"]


async def test_a_log_that_cannot_be_written_fails_the_pod(tmp_path: Path) -> None:
    async with cluster(tmp_path) as target:
        tmp_path.rmdir()
        tmp_path.write_text("in the way")
        target.pods.create(NAMESPACE, shell("echo x; exec sleep 600"))
        (found,) = await ended(target, "p")
        assert terminated(found)["reason"] == "LogFailed"
    tmp_path.unlink()
    tmp_path.mkdir()


async def test_logs_of_deleted_pods_are_kept_up_to_a_limit(tmp_path: Path) -> None:
    async with cluster(tmp_path, deleted_logs=2) as target:
        directories = []
        for number in range(4):
            name = f"p{number}"
            target.pods.create(NAMESPACE, shell("echo x", name))
            (found,) = await ended(target, name)
            directories.append(directory_of(target, found))
            target.pods.delete(NAMESPACE, name)
        await trio.testing.wait_all_tasks_blocked()
        assert [path.exists() for path in directories] == [False, False, True, True]
        assert target.kubelet.produced(NAMESPACE, "p1") is None
        assert target.kubelet.produced(NAMESPACE, "p2") is not None
