"""The private directory: secrets for nobody else, configurations that the planes accept."""

from __future__ import annotations

import dataclasses
import os
import stat
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest

from compute_agent.settings import AgentSettings
from control_stub.settings import load_settings
from customer_stub.settings import CustomerSettings
from kube.settings import KubeSettings
from planesplit.ready import process_started
from planesplit.split import configs
from planesplit.split.configs import SiteUrls
from planesplit.split.directory import Directory, merge, private_directory
from planesplit.split.options import Client, SplitOptions
from relay.settings import RelayConfig
from tunnel.settings import load


@pytest.fixture(params=[False, True], ids=["tls", "insecure"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Directory:
    return Directory(tmp_path, SplitOptions(insecure=request.param))


def test_it_is_private_and_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with private_directory(None) as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        (path / "state").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_what_killed_splits_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    alive = tmp_path / f"planesplit-{os.getpid()}-{process_started(os.getpid())}-x"
    orphan = tmp_path / f"planesplit-{os.getpid()}-1-x"
    other = tmp_path / "planesplit-of-somebody-else"
    for path in (alive, orphan, other):
        path.mkdir()
        (path / "secret").write_text("x")
    with private_directory(None):
        assert (alive.exists(), orphan.exists(), other.exists()) == (True, False, True)


def test_a_kept_directory_stays_and_is_not_shared(tmp_path: Path) -> None:
    with private_directory(tmp_path / "kept") as path:
        (path / "state").write_text("x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    with pytest.raises(FileExistsError, match="is not empty"), private_directory(path):
        pytest.fail("it is in use")


def test_every_file_is_for_its_owner_only(files: Directory) -> None:
    files.write_config("relay", {"host": "127.0.0.1"})
    modes = {stat.S_IMODE(p.stat().st_mode) for p in files.path.rglob("*") if p.is_file()}
    assert modes == {0o600}


def test_every_plane_accepts_its_configuration(files: Directory) -> None:
    options = SplitOptions(insecure=files.identities is None, clients=(Client("reader", "globex"),))
    again = Directory(_new(files.path / "again"), options)
    scheme = "http" if options.insecure else "https"
    control = configs.control(
        options, again, f"{scheme}://h:1", f"{scheme}://h:2", f"{scheme}://h:3"
    )
    orgs = load_settings(written(again, "control_stub", control)).orgs
    assert [org.name for org in orgs] == ["acme", "globex"]
    relay = load(RelayConfig, written(again, "relay", configs.relay(options, again, {})))
    assert relay.insecure == options.insecure
    kube = load(KubeSettings, written(again, "kube", configs.kube(options, again, {})))
    assert kube.check().insecure == options.insecure
    home, url = again.home, f"{scheme}://127.0.0.1:6"
    customer = load(
        CustomerSettings, written(again, "c", configs.customer(options, again, home, {}, url))
    )
    assert customer.check().log_root == str(home.log_root)
    urls = SiteUrls(url, url, url, url)
    agent = load(
        AgentSettings, written(again, "a", configs.agent(options, again, home, "wss://h", urls, {}))
    )
    assert agent.relay_url == "wss://h"
    assert (agent.tls is None) == options.insecure


def written(files: Directory, plane: str, table: dict[str, Any]) -> dict[str, Any]:
    return tomllib.loads(files.write_config(plane, table).read_text())


def _new(path: Path) -> Path:
    path.mkdir()
    return path


def test_the_callers_settings_win(tmp_path: Path) -> None:
    options = dataclasses.replace(SplitOptions(), settings={"relay": {"limits": {"drain_s": 1.0}}})
    table = written(Directory(tmp_path, options), "relay", {"host": "h", "limits": {"hold_s": 2}})
    assert table == {"host": "h", "limits": {"hold_s": 2, "drain_s": 1.0}}


def test_merging_replaces_what_is_no_table() -> None:
    assert merge({"a": {"b": 1}, "c": [1]}, {"a": {"d": 2}, "c": [2]}) == {
        "a": {"b": 1, "d": 2},
        "c": [2],
    }


def test_every_cluster_has_its_own_files_and_secrets(tmp_path: Path) -> None:
    options = SplitOptions(clusters=("c2",), clickhouse=True)
    one, two = Directory(tmp_path, options).sites.values()
    assert (one.cluster, two.cluster) == ("c1", "c2")
    ours = {path.read_text() for path in (one.path / "secrets").iterdir()}
    theirs = {path.read_text() for path in (two.path / "secrets").iterdir()}
    assert not ours & theirs
    assert one.leaves != two.leaves
    assert options.planes == (
        *("relay", "kube", "control_stub", "customer_stub", "clickhouse", "compute_agent"),
        *("customer_stub@c2", "clickhouse@c2", "compute_agent@c2"),
    )
    assert options.kind("clickhouse@c2") == ("clickhouse", "c2")
    assert options.kind("relay") == ("relay", "")
