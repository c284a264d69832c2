"""What the node pulls: checked, cached by digest, refused with a reason; and how pods use it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from registry_stage import PULL, Stage, archive

from customer_stub.pods.container import ContainerSpec
from customer_stub.pods.environment import Additions, store_env
from customer_stub.pods.images import Image, PullError
from customer_stub.registry.build import Image as Built
from customer_stub.registry.build import build_image
from customer_stub.registry.demo import demo_image, publish
from customer_stub.registry.names import OCI_INDEX, OCI_MANIFEST, Reference, digest_of
from customer_stub.registry.settings import Credentials

NAME = "team/app:v1"
REFERENCE = Reference("team/app", "v1")
SCRIPT = ("bin/run", "#!/bin/sh\necho ran", None)


def image(*members: Any, **config: Any) -> Built:
    return build_image([archive(*(members or (SCRIPT,)))], entrypoint=["run"], **config)


async def test_an_image_is_pulled_once(registry: Stage) -> None:
    digest = publish(registry.store, NAME, image())
    images = registry.images()
    found = await images.pull(REFERENCE)
    assert found.digest == digest
    assert (found.root / "bin" / "run").read_text() == "#!/bin/sh\necho ran"
    first = registry.rows.report()["A7"]["down"]
    assert first == sum(map(len, image().blobs.values())) + len(image().manifest)
    assert await images.pull(Reference("team/app", digest=digest)) == found
    assert registry.rows.report()["A7"]["down"] == first + len(image().manifest)


async def test_a_pods_copy_is_whole_and_its_own(registry: Stage, tmp_path: Path) -> None:
    links = (("link", "bin/run", tarfile.SYMTYPE), ("d/e", "", tarfile.DIRTYPE), ("far", "d", b"2"))
    publish(registry.store, NAME, image(SCRIPT, *links))
    images = registry.images()
    (tmp_path / "pod").mkdir()
    copy = await images.instance(REFERENCE, tmp_path / "pod")
    kept = await images.pull(REFERENCE)
    names = sorted(str(path.relative_to(copy.root)) for path in copy.root.rglob("*"))
    assert names == ["bin", "bin/run", "d", "d/e", "far", "link"]
    assert (copy.root / "link").readlink() == Path("bin/run")
    assert (copy.root / "bin" / "run").stat().st_mode & 0o777 == 0o755
    (copy.root / "bin" / "run").write_text("changed")
    assert (kept.root / "bin" / "run").read_text() == SCRIPT[1]
    with pytest.raises(PullError, match="can't be copied"):
        await images.instance(REFERENCE, tmp_path / "absent")


async def test_two_pods_share_a_pull(registry: Stage) -> None:
    publish(registry.store, NAME, image())
    images, found = registry.images(), list[Image]()

    async def pull() -> None:
        found.append(await images.pull(REFERENCE))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(pull)
    assert found[0] == found[1] == found[2]


async def test_a_tag_that_moved_is_followed(registry: Stage) -> None:
    publish(registry.store, NAME, image())
    images = registry.images()
    await images.pull(REFERENCE)
    newer = publish(registry.store, NAME, image(("bin/run", "newer", None)))
    found = await images.pull(REFERENCE)
    assert (found.digest, (found.root / "bin" / "run").read_text()) == (newer, "newer")


async def test_an_index_leads_to_this_platform(registry: Stage) -> None:
    digest = publish(registry.store, NAME, image())
    other = publish(registry.store, "team/app:arm", image(("x", "y", None)))
    entries = [
        {"digest": other, "platform": {"os": "linux", "architecture": "arm64"}},
        {"digest": digest, "platform": {"os": "linux", "architecture": "amd64"}},
    ]
    body = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    registry.store.add_manifest("team/app", "multi", OCI_INDEX, body)
    assert (await registry.images().pull(Reference("team/app", "multi"))).digest == digest
    only = json.dumps({"schemaVersion": 2, "manifests": entries[:1]}).encode()
    registry.store.add_manifest("team/app", "arm-only", OCI_INDEX, only)
    with pytest.raises(PullError, match="other platforms"):
        await registry.images().pull(Reference("team/app", "arm-only"))


def change(registry: Stage, digest: str, alter: Callable[[bytes], bytes]) -> None:
    """Alter a blob on the registry's disk, and what it would check it against."""
    path = registry.root / "registry" / "blobs" / digest[7:]
    path.write_bytes(alter(path.read_bytes()))


class Trusting:
    """A registry that no longer checks what it hands out."""

    def __init__(self, registry: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        import os

        async def unchecked(digest: str) -> int:
            return os.open(registry.store._path(digest), os.O_RDONLY)

        monkeypatch.setattr(registry.store, "open", unchecked)


@pytest.mark.parametrize("where", ["manifest", "layer", "config", "shorter layer", "longer layer"])
async def test_content_of_another_digest_is_refused(
    registry: Stage, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    built = image()
    digest = publish(registry.store, NAME, built)
    Trusting(registry, monkeypatch)
    config, layer = built.blobs
    target = {"manifest": digest, "config": config}.get(where, layer)
    alter = {
        "shorter layer": lambda data: data[:-1],
        "longer layer": lambda data: data + b"x",
        "manifest": lambda data: data + b" ",
    }.get(where, lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    change(registry, target, alter)
    why = "larger than its manifest says" if where == "longer layer" else "digest"
    with pytest.raises(PullError, match=why):
        await registry.images().pull(REFERENCE)
    kept = [path.name for path in (registry.root / "images" / "layers").iterdir()]
    assert all(f"sha256:{name}" == config and where != "config" for name in kept)
    assert not list((registry.root / "images" / "unpacked").iterdir())


async def test_refusals(registry: Stage) -> None:
    publish(registry.store, NAME, image(("../evil", "x", None)))
    publish(registry.store, "team/big:v1", image(("x", "y" * 5000, None)))
    for images, reference, why in (
        (registry.images(), Reference("team/app", "absent"), "no such image"),
        (registry.images(), Reference("absent"), "no such image"),
        (registry.images(Credentials("kubelet", "x")), REFERENCE, "refuses the pull secret"),
        (registry.images(), REFERENCE, "outside the image"),
        (registry.images(max_images_bytes=10), Reference("team/big", "v1"), "larger"),
        (registry.images(max_image_bytes=4000), Reference("team/big", "v1"), "larger"),
        (registry.images(max_image_files=0), Reference("team/big", "v1"), "larger"),
        (registry.images(max_images=0), Reference("team/big", "v1"), "keeps 0 images"),
    ):
        with pytest.raises(PullError, match=why):
            await images.pull(reference)
    unpacked = registry.root / "images" / "unpacked"
    assert not list(unpacked.iterdir()), "nothing half-unpacked is left"


async def test_a_registry_that_is_away_or_silent(
    registry: Stage, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*_: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(registry, "app", silent)
    with pytest.raises(PullError, match=r"took more than 3 s|can't be reached"):
        await registry.images(pull_s=3).pull(REFERENCE)


async def test_malformed_configurations(registry: Stage) -> None:
    for number, config in enumerate((b"[]", b"{", b'{"config": {"Cmd": "x"}}')):
        blob = config
        part = {"mediaType": "x", "digest": digest_of(blob), "size": len(blob)}
        with registry.store.draft() as draft:
            draft.write(blob)
            registry.store.keep(draft, part["digest"])
        body = json.dumps({"schemaVersion": 2, "config": part, "layers": []}).encode()
        registry.store.add_manifest("team/app", f"t{number}", OCI_MANIFEST, body)
        with pytest.raises(PullError, match="malformed"):
            await registry.images().pull(Reference("team/app", f"t{number}"))


async def test_which_images_are_the_registrys(registry: Stage) -> None:
    images = registry.images()
    assert images.reference("registry.local/team/app:v1") == REFERENCE
    for other in ("planesplit/workload", "any", "example.test/team/app:v1", "registry.local"):
        assert images.reference(other) is None
    with pytest.raises(PullError, match="malformed"):
        images.reference("registry.local/Team")


async def test_leftovers_of_a_crash_are_removed(registry: Stage) -> None:
    registry.images()
    root = registry.root / "images"
    (root / "layers" / "x.1.tmp").touch()
    (root / "unpacked" / "y.1.tmp" / "z").mkdir(parents=True)
    registry.images()
    assert not list((root / "layers").iterdir()) + list((root / "unpacked").iterdir())


def local(tmp_path: Path, **config: Any) -> Image:
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "usr" / "bin" / "tool").touch()
    return Image("sha256:0", tmp_path, config)


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        ((), (), ("entry", "default")),
        ((), ("x",), ("entry", "x")),
        (("own",), (), ("own",)),
        (("own",), ("x",), ("own", "x")),
        (("/usr/bin/tool",), (), ("{root}/usr/bin/tool",)),
        (("/bin/sh",), (), ("/bin/sh",)),
    ],
)
def test_commands_as_kubernetes_takes_them(
    tmp_path: Path, command: tuple[str, ...], args: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    image = local(tmp_path, Entrypoint=["entry"], Cmd=["default"])
    spec = Additions().complete(ContainerSpec("i", command, args), image)
    wanted = tuple(part.format(root=tmp_path) for part in expected)
    assert (*spec.command, *spec.args) == wanted


def test_where_an_image_runs(tmp_path: Path) -> None:
    image = local(tmp_path, Env=["PATH=/usr/bin", "A=image", "B=image"], WorkingDir="/app")
    additions = Additions(("/opt/tools",), {"A": "node", "C": "node"})
    spec = additions.complete(ContainerSpec("i", env={"C": "pod", "PATH": "/own"}), image)
    assert spec.working_dir == f"{tmp_path}/app"
    assert spec.env == {
        "A": "node",
        "B": "image",
        "C": "pod",
        "PATH": f"{tmp_path}/usr/bin:/opt/tools:/own",
    }
    outside = additions.complete(ContainerSpec("i", working_dir="/../../etc"), image)
    assert outside.working_dir == f"{tmp_path}/etc"


def test_what_other_pods_get(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")
    additions = Additions(("/opt/a", "/opt/b"), store_env("u", "k", "canary", "r", "/ca.pem"))
    spec = additions.complete(ContainerSpec("i", ("c",)), None)
    assert spec.env["PATH"] == "/opt/a:/opt/b:/usr/bin"
    assert spec.env["FLYTE_AWS_SECRET_ACCESS_KEY"] == "canary"
    assert spec.env["SSL_CERT_FILE"] == spec.env["AWS_CA_BUNDLE"] == "/ca.pem"
    assert "canary" not in repr(additions)
    assert (spec.command, spec.working_dir) == (("c",), None)


def test_the_demo_image_is_the_same_every_time() -> None:
    assert demo_image().digest == demo_image().digest


def test_a_password_is_not_shown() -> None:
    assert PULL.password not in repr(PULL)
