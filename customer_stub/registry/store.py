"""Blobs by digest, manifests by repository, tags: on disk, with an index in memory.

`{root}/blobs/{hex}` holds blobs and manifests, `{root}/index.json` who has which.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from customer_stub.objects.disk import Draft, Reserve
from customer_stub.registry.errors import RegistryError
from customer_stub.registry.names import INDEXES, MANIFESTS, digest_of
from customer_stub.registry.settings import RegistrySettings
from tunnel.settings import SettingError

CHECK_BYTES = 1_048_576  # hashed at once


@dataclass(slots=True)
class _Repository:
    manifests: dict[str, str] = field(default_factory=dict)  # media type by digest
    tags: dict[str, str] = field(default_factory=dict)  # digest by tag


class RegistryStore:
    """Everything that the registry keeps.

    Args:
        root: its directory, made if absent.
        settings: limits.

    Raises:
        SettingError: the directory can't be used.
    """

    def __init__(self, root: Path, settings: RegistrySettings) -> None:
        self._settings = settings
        self._blobs, self._drafts, self._index = (
            root / "blobs",
            root / "drafts",
            root / "index.json",
        )
        try:
            for directory in (self._blobs, self._drafts):
                directory.mkdir(mode=0o750, parents=True, exist_ok=True)
            for path in self._drafts.iterdir():
                path.unlink()  # of a push that did not end
            sizes = [path.stat().st_size for path in self._blobs.iterdir()]
            self._repositories = _read(self._index)
        except OSError as error:
            raise SettingError(
                f"setting 'data_root': cannot use '{root}': {error.strerror}"
            ) from None
        self._reserve = Reserve(settings.max_stored_bytes - sum(sizes))

    def counts(self) -> dict[str, int]:
        """Return how many repositories, tags, blobs and bytes there are."""
        sizes = [path.stat().st_size for path in self._blobs.iterdir()]
        tags = sum(len(repository.tags) for repository in self._repositories.values())
        repositories = len(self._repositories)
        return {
            "repositories": repositories,
            "tags": tags,
            "blobs": len(sizes),
            "bytes": sum(sizes),
        }

    def tags(self, name: str) -> list[str]:
        """Return the tags of a repository.

        Raises:
            RegistryError: there is no such repository.
        """
        return sorted(self._repository(name).tags)

    def manifest(self, name: str, wanted: str) -> tuple[str, str]:
        """Return digest and media type of a manifest, by tag or digest.

        Raises:
            RegistryError: there is no such manifest in the repository.
        """
        repository = self._repository(name)
        digest = repository.tags.get(wanted, wanted)
        if digest not in repository.manifests:
            raise RegistryError("MANIFEST_UNKNOWN", "there is no such manifest")
        return digest, repository.manifests[digest]

    def size(self, digest: str) -> int:
        """Return the size of a blob.

        Raises:
            RegistryError: there is no such blob.
        """
        try:
            return self._path(digest).stat().st_size
        except FileNotFoundError:
            raise RegistryError("BLOB_UNKNOWN", "there is no such blob") from None

    async def open(self, digest: str) -> int:
        """Return a descriptor of a blob whose content has been checked.

        Raises:
            RegistryError: there is none, or its content is no longer what its digest says.
        """
        self.size(digest)
        descriptor = os.open(self._path(digest), os.O_RDONLY | os.O_CLOEXEC)
        try:
            actual = hashlib.sha256()
            while data := os.read(descriptor, CHECK_BYTES):
                actual.update(data)
                await trio.lowlevel.checkpoint()
            if not hmac.compare_digest(f"sha256:{actual.hexdigest()}", digest):
                raise RegistryError("BLOB_UNKNOWN", "the blob is damaged")
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def new_draft(self) -> Draft:
        """Begin a blob; whoever asked must discard it or keep it."""
        return Draft(self._drafts / uuid.uuid4().hex, self._reserve)

    @contextmanager
    def draft(self) -> Iterator[Draft]:
        """Begin a blob; what is not kept at the end is removed."""
        draft = self.new_draft()
        try:
            yield draft
        finally:
            draft.close()
            if not draft.kept:
                draft.discard()

    def keep(self, draft: Draft, digest: str) -> None:
        """Make a draft a blob.

        Raises:
            RegistryError: its content has another digest.
        """
        if not hmac.compare_digest(f"sha256:{draft.sha256}", digest):
            raise RegistryError("DIGEST_INVALID", "the content does not have this digest")
        if self._path(digest).exists():
            return
        draft.close()
        draft.path.rename(self._path(digest))
        draft.kept = True

    def add_manifest(self, name: str, wanted: str, media_type: str, body: bytes) -> str:
        """Keep a manifest and return its digest.

        Args:
            name: the repository.
            wanted: the tag, or the digest that it must have.
            media_type: by which it will be served.
            body: its bytes, which are the manifest's identity.

        Raises:
            RegistryError: it is malformed, or names what is not here.
        """
        digest = digest_of(body)
        tagged = not wanted.startswith("sha256:")
        if not tagged and wanted != digest:
            raise RegistryError("DIGEST_INVALID", "the manifest does not have this digest")
        repository = self._repositories.get(name, _Repository())
        for needed in references(body, media_type):
            if needed not in repository.manifests and not self._path(needed).exists():
                raise RegistryError("MANIFEST_BLOB_UNKNOWN", "the manifest names an unknown blob")
        known = sum(len(one.manifests) for one in self._repositories.values())
        if digest not in repository.manifests and known >= self._settings.max_manifests:
            raise RegistryError("DENIED", "the registry holds no more manifests")
        with self.draft() as draft:
            draft.write(body)
            self.keep(draft, digest)
        self._repositories[name] = repository
        repository.manifests[digest] = media_type
        if tagged:
            repository.tags[wanted] = digest
        self._write()
        return digest

    def _repository(self, name: str) -> _Repository:
        try:
            return self._repositories[name]
        except KeyError:
            raise RegistryError("NAME_UNKNOWN", "there is no such repository") from None

    def _path(self, digest: str) -> Path:
        return self._blobs / digest.removeprefix("sha256:")

    def _write(self) -> None:
        temporary = self._index.with_suffix(".tmp")
        table = {
            name: {"manifests": one.manifests, "tags": one.tags}
            for name, one in self._repositories.items()
        }
        temporary.write_text(json.dumps(table))
        temporary.rename(self._index)


def references(body: bytes, media_type: str) -> list[str]:
    """Return the digests that a manifest or an index needs.

    Raises:
        RegistryError: it is neither, or not of this media type.
    """
    document = parse_manifest(body)
    if document.get("mediaType", media_type) != media_type:
        raise RegistryError("MANIFEST_INVALID", "the media type is not the manifest's own")
    if media_type in MANIFESTS:
        parts = [document.get("config"), *_list(document, "layers")]
    elif media_type in INDEXES:
        parts = _list(document, "manifests")
    else:
        raise RegistryError("MANIFEST_INVALID", "manifests of this media type are not supported")
    return [_digest(part) for part in parts]


def parse_manifest(body: bytes) -> dict[str, Any]:
    """Parse a manifest's JSON.

    Raises:
        RegistryError: it is no JSON object of schema version 2.
    """
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("schemaVersion") != 2:
        raise RegistryError("MANIFEST_INVALID", "a manifest is JSON of schemaVersion 2")
    return document


def _list(document: dict[str, Any], name: str) -> list[Any]:
    value = document.get(name)
    if not isinstance(value, list):
        raise RegistryError("MANIFEST_INVALID", f"a manifest of this kind has {name}")
    return value


def _digest(part: Any) -> str:
    digest = part.get("digest") if isinstance(part, dict) else None
    if not isinstance(digest, str) or len(digest) != 71 or not digest.startswith("sha256:"):
        raise RegistryError("MANIFEST_INVALID", "a part of the manifest has no SHA-256 digest")
    if not set(digest[7:]) <= set("0123456789abcdef"):
        raise RegistryError("MANIFEST_INVALID", "a part of the manifest has no SHA-256 digest")
    return digest


def _read(path: Path) -> dict[str, _Repository]:
    if not path.exists():
        return {}
    try:
        table = json.loads(path.read_bytes())
        return {name: _Repository(**value) for name, value in table.items()}
    except (ValueError, TypeError, AttributeError):
        raise SettingError(
            f"setting 'data_root': '{path}' is damaged; remove it, or choose another directory"
        ) from None
