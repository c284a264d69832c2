"""Settings of the stores: what is refused at start, with the name and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from customer_stub.objects.disk import Entry
from customer_stub.objects.settings import IdentityFile, ObjectsSettings, read_identities
from customer_stub.pods.settings import PodsSettings
from customer_stub.registry.settings import RegistrySettings, read_credentials
from customer_stub.settings import CustomerSettings
from customer_stub.stores import Stores
from tunnel.journal import Journal
from tunnel.settings import SettingError


def identity(name: str = "executor", key: str = "AKEY", file: str = "x") -> IdentityFile:
    return IdentityFile(name, key, file)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ObjectsSettings(metadata_bucket="No"), "objects.metadata_bucket"),
        (ObjectsSettings(metadata_bucket="abc", fast_registration_bucket="abc"), "different"),
        (ObjectsSettings((identity("root"),)), "'root' is no service account of Appendix E"),
        (ObjectsSettings((identity(key="a/b"),)), "access key of 'executor'"),
        (ObjectsSettings((identity(), identity("proxy-system"))), "its own"),
        (RegistrySettings(alias="Registry/local"), "registry.alias"),
        (RegistrySettings(pull_user="a:b"), "registry.pull_user"),
        (RegistrySettings(pull_user="a", push_user="a"), "different names"),
        (PodsSettings(ca_file="/no/such"), "pods.ca_file"),
        (PodsSettings(path=("bin",)), "must be absolute"),
        (PodsSettings(path=("/a:/b",)), "without a colon"),
    ],
)
def test_settings_that_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        settings.check()


def test_secrets_are_read_and_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    settings = ObjectsSettings((identity(file=str(file)),)).check()
    with pytest.raises(SettingError, match="cannot read"):
        read_identities(settings)
    file.write_text("short")
    with pytest.raises(SettingError, match="must hold 8 to 1024 bytes"):
        read_identities(settings)
    file.write_text("canary-of-the-store\n")
    found = read_identities(settings)["AKEY"]
    assert found.secret == b"canary-of-the-store"
    assert "canary" not in repr(found)


def test_credentials_of_the_registry(tmp_path: Path) -> None:
    pull, push = read_credentials(RegistrySettings())
    assert push is None, "nobody pushes unless a password is configured"
    assert pull.password != read_credentials(RegistrySettings())[0].password
    file = tmp_path / "secret"
    settings = RegistrySettings(push_secret_file=str(file), pull_secret_file=str(file))
    with pytest.raises(SettingError, match="cannot read"):
        read_credentials(settings)
    file.write_text(" \n")
    with pytest.raises(SettingError, match="must hold a password"):
        read_credentials(settings)
    file.write_text("canary\n")
    pull, push = read_credentials(settings)
    assert push is not None
    assert (pull.user, pull.password, push.user) == ("kubelet", "canary", "builder")


def stores(tmp_path: Path, **settings: Any) -> Stores:
    options = CustomerSettings("logs", data_root=str(tmp_path / "data"), **settings)
    journal = Journal("customer", write=lambda line: None)
    return Stores(options, journal=journal, clock=lambda: 0)


def test_what_pods_are_given(tmp_path: Path) -> None:
    assert stores(tmp_path).additions("http://own").env == {}, "without an identity no credentials"
    secret = tmp_path / "secret"
    secret.write_text("pods-secret")
    objects = ObjectsSettings((identity("clusterresource-template", file=str(secret)),))
    env = stores(tmp_path, objects=objects).additions("http://own").env
    assert (env["AWS_ENDPOINT_URL"], env["AWS_SECRET_ACCESS_KEY"]) == ("http://own", "pods-secret")
    pods = PodsSettings(objects_url="http://seen-by-pods", path=("/opt/x",))
    given = stores(tmp_path, objects=objects, pods=pods).additions("http://own")
    assert (given.path, given.env["FLYTE_AWS_ENDPOINT"]) == (("/opt/x",), "http://seen-by-pods")


def test_directories_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="demo_image"):
        stores(tmp_path, registry=RegistrySettings(demo_image="NO"))
    made = stores(tmp_path)
    (tmp_path / "data" / "images").touch()
    with pytest.raises(SettingError, match="data_root"):
        made.images("http://registry")
    (tmp_path / "file").touch()
    for name in ("objects", "registry"):
        place = tmp_path / name
        (place / "data").mkdir(parents=True)
        (place / "data" / name).touch()
        with pytest.raises(SettingError, match="data_root"):
            stores(place)
    with pytest.raises(SettingError, match="max_stored_bytes"):
        _overfull(tmp_path / "full")


def _overfull(root: Path) -> None:
    bucket = stores(root)._objects.bucket("planesplit-metadata")
    with bucket.draft() as draft:
        draft.write(b"12345")
        bucket.commit(Entry("k", 5, draft.sha256, draft.md5, 0, {}, ""), draft)
    stores(root, objects=ObjectsSettings(max_stored_bytes=4))
