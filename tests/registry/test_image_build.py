"""Images from directories: repeatable, well-formed, written as a layout."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from customer_stub.registry import build
from customer_stub.registry.build import build_image, main, write_layout
from customer_stub.registry.names import OCI_MANIFEST, digest_of


def content(root: Path) -> Path:
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "x").write_text("#!/bin/sh")
    (root / "bin" / "x").chmod(0o755)
    (root / "link").symlink_to("bin/x")
    return root


def test_the_same_directory_gives_the_same_image(tmp_path: Path) -> None:
    first = build_image([content(tmp_path / "a")], entrypoint=["x"])
    second = build_image([content(tmp_path / "b")], entrypoint=["x"])
    assert first == second
    assert first.digest != build_image([tmp_path / "a"], entrypoint=["y"]).digest


def test_an_image_is_what_its_manifest_says(tmp_path: Path) -> None:
    image = build_image([content(tmp_path / "a"), b""], env=["A=b"], working_dir="/app")
    manifest = json.loads(image.manifest)
    assert manifest["mediaType"] == OCI_MANIFEST
    parts = [manifest["config"], *manifest["layers"]]
    for part in parts:
        assert part["size"] == len(image.blobs[part["digest"]])
    config = json.loads(image.blobs[manifest["config"]["digest"]])
    assert config["config"]["WorkingDir"] == "/app"
    layers = [gzip.decompress(image.blobs[part["digest"]]) for part in manifest["layers"]]
    assert config["rootfs"]["diff_ids"] == [digest_of(layer) for layer in layers]
    with tarfile.open(fileobj=io.BytesIO(layers[0])) as tar:
        members = {member.name: member for member in tar}
        assert sorted(members) == ["bin", "bin/x", "link"]
        assert (members["bin/x"].mode, members["bin/x"].mtime) == (0o755, 0)
        assert members["link"].linkname == "bin/x"


def test_a_layer_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MAX_LAYER_BYTES", 100)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        build_image([content(tmp_path / "a")])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = content(tmp_path / "a")
    layout = tmp_path / "layout"
    assert main([str(directory), str(layout), "--tag", "v1", "--entrypoint", "x"]) == 0
    digest = capsys.readouterr().out.strip()
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    assert entry["digest"] == digest
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "v1"
    blob = layout / "blobs" / "sha256" / digest.removeprefix("sha256:")
    assert digest_of(blob.read_bytes()) == digest
    assert main([str(tmp_path / "absent"), str(layout)]) == 2
    assert "is no directory" in capsys.readouterr().err
    assert main([str(directory), "/dev/null/x"]) == 2
    assert "cannot write '/dev/null/x'" in capsys.readouterr().err


def test_a_layout_can_be_written_over(tmp_path: Path) -> None:
    image = build_image([content(tmp_path / "a")])
    for _ in range(2):
        write_layout(image, tmp_path / "layout")
    assert (tmp_path / "layout" / "oci-layout").exists()
