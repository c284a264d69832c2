"""Pulls images from the cluster's registry: checked by digest, cached by digest, unpacked once."""

from __future__ import annotations

import hashlib
import json
import shutil
import ssl
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from customer_stub.pods.settings import PodsSettings
from customer_stub.pods.unpack import UnpackError, copy_tree, unpack
from customer_stub.registry.errors import RegistryError
from customer_stub.registry.names import INDEXES, MANIFESTS, Reference, digest_of, parse_reference
from customer_stub.registry.settings import Credentials
from customer_stub.registry.store import parse_manifest, references

if TYPE_CHECKING:
    import httpx

MAX_MANIFEST_BYTES = 4_194_304  # as the registry's own limit
PLATFORM = {"os": "linux", "architecture": "amd64"}


class PullError(Exception):
    """An image can't be had; the message says why, for the pod's status."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image on this node.

    Args:
        digest: of its manifest.
        root: where it is unpacked.
        config: `Entrypoint`, `Cmd`, `Env`, `WorkingDir`.
    """

    digest: str
    root: Path
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Registry:
    """The cluster's registry as the node sees it.

    Args:
        url: base URL.
        hosts: first parts of image names that mean it.
        credentials: the pull secret.
        transport: another way there than a connection, for one-process mode.
    """

    url: str
    hosts: tuple[str, ...]
    credentials: Credentials
    transport: httpx.AsyncBaseTransport | None = None


class Images:
    """The node's images.

    Args:
        root: directory for layers and unpacked images, made if absent.
        registry: where they come from.
        settings: limits, authorities.
    """

    def __init__(self, root: Path, registry: Registry, settings: PodsSettings) -> None:
        self._layers, self._unpacked = root / "layers", root / "unpacked"
        self._registry, self._settings = registry, settings
        self._lock = trio.Lock()  # one pull at a time: two pods of one image share it
        for directory in (self._layers, self._unpacked):
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        for path in (*self._layers.glob("*.tmp"), *self._unpacked.glob("*.tmp")):
            _discard(path)  # of a pull that did not end

    def reference(self, image: str) -> Reference | None:
        """Return what an image means in the registry; None if it is not one of the registry's.

        Raises:
            PullError: it names the registry, but is malformed.
        """
        host, slash, rest = image.partition("/")
        if not slash or host not in self._registry.hosts:
            return None
        reference = parse_reference(rest)
        if reference is None:
            raise PullError("the image's name is malformed")
        return reference

    async def instance(self, reference: Reference, place: Path) -> Image:
        """Pull an image and copy it for one pod, which may then write into it.

        Args:
            reference: of the image.
            place: the pod's own directory; the copy is `rootfs` in it.

        Raises:
            PullError: see `pull`; or there is no room for the copy.
        """
        image = await self.pull(reference)
        try:
            await copy_tree(image.root, place / "rootfs")
        except OSError as error:
            raise PullError(f"the image can't be copied: {error.strerror}") from None
        return replace(image, root=place / "rootfs")

    async def pull(self, reference: Reference) -> Image:
        """Return an image, pulled if it is not here; its tag is resolved every time.

        Raises:
            PullError: the registry has none, refuses, is away, or what came is not what was
                asked for.
        """
        import httpx  # half of the process's start-up time, and few pods need it

        try:
            with trio.fail_after(self._settings.pull_s):
                async with self._lock, self._client() as client:
                    return await self._pull(client, reference)
        except trio.TooSlowError:
            raise PullError(f"the pull took more than {self._settings.pull_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PullError(f"the registry can't be reached: {type(error).__name__}") from None
        except (RegistryError, UnpackError) as error:
            raise PullError(str(error)) from None
        except OSError as error:
            raise PullError(f"the image can't be kept: {error.strerror}") from None

    async def _pull(self, client: httpx.AsyncClient, reference: Reference) -> Image:
        digest, body, media_type = await self._manifest(client, reference.name, reference.wanted)
        if media_type in INDEXES:
            chosen = _choose(body)
            digest, body, media_type = await self._manifest(client, reference.name, chosen)
        config_digest, *layers = references(body, media_type)
        sizes = _sizes(body)
        config = await self._blob(client, reference.name, config_digest, sizes)
        paths = [await self._blob(client, reference.name, layer, sizes) for layer in layers]
        root = await self._unpack(digest, paths)
        return Image(digest, root, _config(config))

    async def _manifest(
        self, client: httpx.AsyncClient, name: str, wanted: str
    ) -> tuple[str, bytes, str]:
        accept = ", ".join((*MANIFESTS, *INDEXES))
        async with client.stream(
            "GET", f"/v2/{name}/manifests/{wanted}", headers={"accept": accept}
        ) as answer:
            _check_status(answer.status_code)
            body = bytearray()
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > MAX_MANIFEST_BYTES:
                    raise PullError("the manifest is too large")
        digest = digest_of(bytes(body))
        named = answer.headers.get("docker-content-digest", digest)
        if digest != named or (wanted.startswith("sha256:") and wanted != digest):
            raise PullError("the manifest does not have the digest that was asked for")
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        return digest, bytes(body), media_type

    async def _blob(
        self, client: httpx.AsyncClient, name: str, digest: str, sizes: Mapping[str, int]
    ) -> Path:
        path = self._layers / digest.removeprefix("sha256:")
        if path.exists():
            return path
        self._check_room(sizes[digest])
        with _temporary(path) as draft:
            actual, size = hashlib.sha256(), 0
            with draft.open("xb") as file:
                async with client.stream("GET", f"/v2/{name}/blobs/{digest}") as answer:
                    _check_status(answer.status_code)
                    async for piece in answer.aiter_raw():
                        size += len(piece)
                        if size > sizes[digest]:
                            raise PullError("a blob is larger than its manifest says")
                        actual.update(piece)
                        file.write(piece)
            if f"sha256:{actual.hexdigest()}" != digest or size != sizes[digest]:
                raise PullError("a blob does not have its digest")
            draft.rename(path)
        return path

    async def _unpack(self, digest: str, layers: list[Path]) -> Path:
        target = self._unpacked / digest.removeprefix("sha256:")
        if target.exists():
            return target
        if sum(1 for _ in self._unpacked.iterdir()) >= self._settings.max_images:
            raise PullError(f"this node keeps {self._settings.max_images} images, and no more")
        with _temporary(target) as draft:
            draft.mkdir()
            await unpack(
                layers,
                draft,
                max_bytes=self._settings.max_image_bytes,
                max_files=self._settings.max_image_files,
            )
            draft.rename(target)
        return target

    def _check_room(self, size_bytes: int) -> None:
        kept = sum(path.stat().st_size for path in self._layers.iterdir())
        if size_bytes > self._settings.max_image_bytes or (
            kept + size_bytes > self._settings.max_images_bytes
        ):
            raise PullError("the image is larger than this node allows")

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        import httpx

        verify: Any = False
        if self._registry.url.startswith("https:"):
            verify = ssl.create_default_context(cafile=self._settings.ca_file or None)
        credentials = self._registry.credentials
        async with httpx.AsyncClient(
            base_url=self._registry.url,
            auth=(credentials.user, credentials.password),
            transport=self._registry.transport,
            verify=verify,
            trust_env=False,
            timeout=self._settings.pull_s,
        ) as client:
            yield client


def _check_status(status: int) -> None:
    if status == 401 or status == 403:
        raise PullError("the registry refuses the pull secret")
    if status == 404:
        raise PullError("the registry has no such image")
    if status != 200:
        raise PullError(f"the registry answered {status}")


def _choose(body: bytes) -> str:
    for entry in parse_manifest(body)["manifests"]:
        platform = entry.get("platform", PLATFORM)
        if isinstance(platform, dict) and PLATFORM.items() <= platform.items():
            return str(entry["digest"])
    raise PullError("the image is for other platforms")


def _sizes(body: bytes) -> dict[str, int]:
    document = parse_manifest(body)
    sizes = {}
    for part in (document["config"], *document["layers"]):
        size = part.get("size")
        if type(size) is not int or size < 0:
            raise PullError("the manifest tells no size of a blob")
        sizes[part["digest"]] = size
    return sizes


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes()).get("config") or {}
    except (ValueError, AttributeError, RecursionError):
        raise PullError("the image's configuration is malformed") from None
    lists = (config.get(name) or [] for name in ("Entrypoint", "Cmd", "Env"))
    well_formed = all(
        isinstance(one, list) and all(isinstance(item, str) and "\0" not in item for item in one)
        for one in lists
    )
    if not well_formed or not isinstance(config.get("WorkingDir", ""), str):
        raise PullError("the image's configuration is malformed")
    return dict(config)


class _temporary:  # noqa: N801 - used like a function
    """A name beside the target that is gone afterwards, unless it was renamed."""

    def __init__(self, target: Path) -> None:
        self._path = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.tmp")

    def __enter__(self) -> Path:
        return self._path

    def __exit__(self, *_: object) -> None:
        _discard(self._path)


def _discard(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
