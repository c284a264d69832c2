"""The image that the registry publishes at start, so that there is something to pull."""

from __future__ import annotations

import io
import tarfile

from customer_stub.registry.build import Image, build_image
from customer_stub.registry.names import OCI_MANIFEST, parse_reference
from customer_stub.registry.store import RegistryStore
from tunnel.settings import SettingError

SCRIPT = b"""#!/bin/sh
# workload [LINES [EXIT_CODE]]: numbered lines, so that a reader can tell loss and disorder
lines=${1:-10}
number=0
while [ "$number" -lt "$lines" ]; do
  printf '%07d from the image at %s\\n' "$number" "$PWD"
  number=$((number + 1))
done
exit "${2:-0}"
"""


def demo_image() -> Image:
    """Return an image of one layer with one script, `bin/workload`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("bin", "app"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(directory)
        script = tarfile.TarInfo("bin/workload")
        script.mode, script.size = 0o755, len(SCRIPT)
        archive.addfile(script, io.BytesIO(SCRIPT))
    return build_image(
        [buffer.getvalue()], entrypoint=["workload"], command=["10"], working_dir="/app"
    )


def publish(store: RegistryStore, reference: str, image: Image) -> str:
    """Put an image into a registry's store and return its digest.

    Raises:
        SettingError: the reference is malformed.
    """
    parsed = parse_reference(reference)
    if parsed is None:
        raise SettingError(f"setting 'registry.demo_image' is '{reference}'; give name:tag")
    for digest, blob in image.blobs.items():
        with store.draft() as draft:
            draft.write(blob)
            store.keep(draft, digest)
    return store.add_manifest(parsed.name, parsed.tag, OCI_MANIFEST, image.manifest)
