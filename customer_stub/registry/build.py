"""Builds OCI images from directories. The same directory gives the same digests.

`python -m customer_stub.registry.build DIRECTORY LAYOUT` writes an OCI image layout, which tools
such as skopeo can push: `skopeo copy oci:LAYOUT:latest docker://HOST:PORT/name:tag`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customer_stub.registry.names import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, digest_of

MAX_LAYER_BYTES = 268_435_456  # an image is built in memory: for tests and demonstrations
GZIP_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest, and the blobs that it needs by digest."""

    manifest: bytes
    blobs: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """The manifest's digest, which is the image's."""
        return digest_of(self.manifest)


def build_image(
    layers: Iterable[Path | bytes],
    *,
    entrypoint: Sequence[str] = (),
    command: Sequence[str] = (),
    env: Sequence[str] = (),
    working_dir: str = "/",
) -> Image:
    """Build an image.

    Args:
        layers: lowest first: directories, or finished tar archives.
        entrypoint, command: what runs; a pod's `command` and `args` take their places.
        env: `NAME=value`.
        working_dir: within the image.

    Raises:
        ValueError: a layer is too large to be built in memory.
        OSError: a directory can't be read.
    """
    archives = [layer if isinstance(layer, bytes) else _archive(layer) for layer in layers]
    packed = [gzip.compress(archive, GZIP_LEVEL, mtime=0) for archive in archives]
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": list(entrypoint),
                "Cmd": list(command),
                "Env": list(env),
                "WorkingDir": working_dir,
            },
            "rootfs": {"type": "layers", "diff_ids": [digest_of(one) for one in archives]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _descriptor(OCI_CONFIG, config),
            "layers": [_descriptor(OCI_LAYER, layer) for layer in packed],
        }
    )
    return Image(manifest, {digest_of(blob): blob for blob in (config, *packed)})


def write_layout(image: Image, directory: Path, *, tag: str = "latest") -> None:
    """Write an OCI image layout (OCI image specification, "Image Layout").

    Raises:
        OSError: the directory can't be written.
    """
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    for digest, blob in {**image.blobs, image.digest: image.manifest}.items():
        (blobs / digest.removeprefix("sha256:")).write_bytes(blob)
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    entry = _descriptor(OCI_MANIFEST, image.manifest)
    entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    (directory / "index.json").write_bytes(_json(index))


def _archive(directory: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(directory.rglob("*")):
            member = archive.gettarinfo(path, arcname=str(path.relative_to(directory)))
            member.mtime = member.uid = member.gid = 0
            member.uname = member.gname = ""
            if buffer.tell() + member.size > MAX_LAYER_BYTES:
                raise ValueError(f"'{directory}' has more than {MAX_LAYER_BYTES} bytes")
            if member.isreg():
                with path.open("rb") as file:
                    archive.addfile(member, file)
            else:
                archive.addfile(member)
    return buffer.getvalue()


def _descriptor(media_type: str, blob: bytes) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    return {"mediaType": media_type, "digest": digest, "size": len(blob)}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Build an image layout from a directory; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m customer_stub.registry.build",
        description="Builds an OCI image from a directory and writes it as an image layout.",
    )
    parser.add_argument("directory", type=Path, help="becomes the image's only layer")
    parser.add_argument("layout", type=Path, help="directory to write, made if absent")
    parser.add_argument("--tag", default="latest", help="name of the image in the layout")
    parser.add_argument("--entrypoint", nargs="*", default=[], help="what the image runs")
    parser.add_argument("--workdir", default="/", help="working directory within the image")
    options = parser.parse_args(arguments)
    if not options.directory.is_dir():
        sys.stderr.write(f"'{options.directory}' is no directory; give the image's content\n")
        return 2
    image = build_image(
        [options.directory], entrypoint=options.entrypoint, working_dir=options.workdir
    )
    try:
        write_layout(image, options.layout, tag=options.tag)
    except OSError as problem:
        sys.stderr.write(f"cannot write '{options.layout}': {problem.strerror}\n")
        return 2
    sys.stdout.write(image.digest + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
