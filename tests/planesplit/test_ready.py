"""The ready file: written whole, private, and found only while its split runs."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from planesplit.commands.outcome import UsageError
from planesplit.commands.up import up
from planesplit.ready import (
    ENVIRONMENT,
    Credentials,
    Flyte,
    NoSplit,
    Place,
    Ready,
    Urls,
    find,
    process_started,
    registered,
    runtime_directory,
    write_atomically,
)
from planesplit.split.options import SplitOptions


def ready(pid: int | None = None) -> Ready:
    return Ready(
        pid=pid or os.getpid(),
        pid_started=process_started(pid or os.getpid()),
        directory="/nowhere",
        insecure=False,
        place=Place("acme", "demo", "development", "c1"),
        urls=Urls("https://localhost:1", "https://localhost:2", "http://127.0.0.1:3"),
        flyte=Flyte("/nowhere/flyte.yaml", {"SSL_CERT_FILE": "/nowhere/ca.pem"}),
        pids={"relay": 7},
        ca_file="/nowhere/ca.pem",
        credentials=Credentials("demo", "/nowhere/secret"),
    )


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(tmp_path / "run")}


def test_round_trip_through_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    written = ready().write(path)
    assert written.planesplit_ready == str(path)
    assert Ready.read(path) == written
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]  # no temporary file is left


async def test_the_file_of_a_split_that_runs_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    ready().write(path)
    before = path.read_text()
    with pytest.raises(UsageError, match="is that of a split that runs"):
        await up(ready_file=path, options=SplitOptions())
    assert path.read_text() == before


def test_round_trip_without_tls(tmp_path: Path) -> None:
    insecure = dataclasses.replace(ready(), insecure=True, ca_file="", credentials=None)
    written = insecure.write(tmp_path / "r.json")
    assert Ready.read(tmp_path / "r.json") == written


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.json"
    write_atomically(path, "old")

    def fail(self: Path, target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert [p.read_text() for p in tmp_path.iterdir()] == ["old"]


def ended_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_what_is_no_ready_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    with pytest.raises(NoSplit, match="cannot read ready file"):
        Ready.read(path)
    for text in ("", "[]", "{}", '{"pid": "x"}'):
        path.write_text(text)
        with pytest.raises(NoSplit, match="is not a ready file"):
            Ready.read(path)


def test_another_version_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({**dataclasses.asdict(ready()), "version": 99}))
    with pytest.raises(NoSplit, match="has version 99; this is version 1"):
        Ready.read(path)


def test_an_ended_split_is_not_found(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    ready(ended_pid()).write(path)
    with pytest.raises(NoSplit, match="has ended"):
        Ready.read(path)


def test_a_reused_process_id_is_not_the_split(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    dataclasses.replace(ready(), pid_started=1).write(path)
    with pytest.raises(NoSplit, match="has ended"):
        Ready.read(path)


def test_order_of_discovery(tmp_path: Path, environment: dict[str, str]) -> None:
    names = ("given", "named", "latest")
    given, named, latest = (tmp_path / f"{name}.json" for name in names)
    for path in (given, named, latest):
        ready().write(path)
    with registered(latest, environment):
        assert find(None, environment).planesplit_ready == str(latest)
        environment[ENVIRONMENT] = str(named)
        assert find(None, environment).planesplit_ready == str(named)
        assert find(given, environment).planesplit_ready == str(given)


def test_registration_ends_with_its_context(tmp_path: Path, environment: dict[str, str]) -> None:
    path = tmp_path / "r.json"
    ready().write(path)
    with registered(path, environment):
        find(None, environment)
    with pytest.raises(NoSplit, match="start one with 'planesplit up'"):
        find(None, environment)


def test_entries_of_killed_supervisors_are_skipped_and_removed(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    ready(ended_pid()).write(old)
    ready().write(new)
    directory = runtime_directory(environment)
    directory.mkdir(mode=0o700, parents=True)
    (directory / "1.json").symlink_to(old)
    with registered(new, environment):
        assert [link.name for link in directory.iterdir()] == [f"{os.getpid()}.json"]
        (directory / "9.json").symlink_to(old)  # newer, but dead
        assert find(None, environment).planesplit_ready == str(new)


def test_a_directory_that_others_can_write_to_is_refused(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    path = tmp_path / "r.json"
    ready().write(path)
    runtime_directory(environment).mkdir(parents=True, mode=0o777)
    runtime_directory(environment).chmod(0o777)
    with pytest.raises(NoSplit, match="private to you"), registered(path, environment):
        pytest.fail("it must not register there")
    with pytest.raises(NoSplit, match="no running split"):
        find(None, environment)
