"""Row A7: an image layer, pushed to the customer's registry and pulled by its node."""

from __future__ import annotations

import io
import ssl
import tarfile
from pathlib import Path
from typing import Any

import httpx

from planesplit.proof import claims
from planesplit.proof.stage import Stage
from planesplit.split.options import CUSTOMER, SplitOptions
from planesplit.viewer import Viewer
from planesplit.workloads import container

PUSH_USER = "builder"
LAYER_BYTES = 65_536
NAME = "proof/layer"
PUSHED = (httpx.codes.CREATED, httpx.codes.ACCEPTED)


def push_secret(options: SplitOptions) -> Path | None:
    """Return the file with the registry's password for pushing, if the split has one."""
    registry: Any = options.settings.get(CUSTOMER, {}).get("registry", {})
    file = registry.get("push_secret_file")
    return Path(file) if file else None


async def images(stage: Stage, viewer: Viewer) -> None:
    """Push an image whose layer is canaries, and run it."""
    from customer_stub.registry.build import build_image
    from customer_stub.registry.names import OCI_MANIFEST

    secret = push_secret(stage.split.options)
    if secret is None:
        stage.failures.append("nobody may push to the split's registry: images were not driven")
        return
    image = build_image([_layer(stage)], command=["/bin/true"])
    ca_file = stage.split.ready.ca_file
    verify = ssl.create_default_context(cafile=ca_file) if ca_file else False
    base = stage.split.ready.clusters[0].registry
    async with httpx.AsyncClient(
        base_url=base, verify=verify, trust_env=False, auth=(PUSH_USER, secret.read_text().strip())
    ) as http:
        for digest, blob in image.blobs.items():
            path = f"/v2/{NAME}/blobs/uploads/?digest={digest}"
            (await http.post(path, content=blob)).raise_for_status()
        headers = {"content-type": OCI_MANIFEST}
        path = f"/v2/{NAME}/manifests/latest"
        (await http.put(path, content=image.manifest, headers=headers)).raise_for_status()
    run = await viewer.run(container(image=f"registry.local/{NAME}"))
    if (await viewer.wait(run)).phase == "SUCCEEDED":
        stage.delivered_to(claims.LAYER)
    else:
        stage.failures.append("the pod of the pushed image failed")


def _layer(stage: Stage) -> bytes:
    buffer = io.BytesIO()
    content = stage.canaries.block(claims.LAYER.row, claims.LAYER.name, LAYER_BYTES)
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("content")
        member.mode, member.size = 0o644, len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
