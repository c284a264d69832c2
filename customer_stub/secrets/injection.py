"""Secrets as variables and files of a container, by the pod's annotation `planesplit.io/secrets`.

The annotation names secrets: a JSON list of `{"key", "env_var", "mount_path"}`. Values go straight
to the container and never into the pod object. There are no mount namespaces here: a file's path
is below a private directory, and `FLYTE_SECRETS_DEFAULT_DIR` says where Flyte's own
`/etc/flyte/secrets` is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import trio

from customer_stub.secrets.lookup import Lookup, LookupFailed, scopes
from customer_stub.secrets.settings import SecretsSettings

ANNOTATION = "planesplit.io/secrets"
ADMITTED = "planesplit.io/secrets-admitted-by"  # the webhook's mark
DEFAULT_DIRECTORY = "/etc/flyte/secrets"
DIRECTORY_VARIABLE = "FLYTE_SECRETS_DEFAULT_DIR"
LABELS = ("planesplit/org", "planesplit/project", "planesplit/domain")
FILE_MODE, DIRECTORY_MODE = 0o400, 0o700

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Json = dict[str, Any]


class InjectionFailed(Exception):
    """A pod can't get its secrets; the message names secrets and never holds a value."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One secret that a pod wants.

    Args:
        key: the secret's name.
        env_var: variable for its value; may be empty.
        mount_path: file for its value; may be empty.
    """

    key: str
    env_var: str = ""
    mount_path: str = ""


@dataclass(slots=True)
class Injected:
    """What a container gets; not shown by repr.

    Args:
        env: variables.
        directory: where its files are, None without files.
    """

    env: dict[str, str] = field(default_factory=dict, repr=False)
    directory: Path | None = None

    def close(self) -> None:
        """Remove the files."""
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)


def wishes(pod: Mapping[str, Any], most: int) -> list[Wish]:
    """Read a pod's annotation.

    Raises:
        InjectionFailed: it is malformed.
    """
    text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION, "[]")
    try:
        found = [_wish(item) for item in json.loads(text)]
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise InjectionFailed(f"the annotation {ANNOTATION} is malformed") from None
    if len(found) > most:
        raise InjectionFailed(f"the pod wants {len(found)} secrets; at most {most}")
    return found


def _wish(item: Json) -> Wish:
    values = [item.get(name) or "" for name in ("key", "env_var", "mount_path")]
    wish = Wish(*values)
    path = PurePosixPath(wish.mount_path)
    absolute = not wish.mount_path or (path.is_absolute() and ".." not in path.parts)
    named = not wish.env_var or _ENV_NAME.fullmatch(wish.env_var)
    if not all(isinstance(value, str) for value in values) or not wish.key:
        raise ValueError
    if not absolute or not named or not (wish.env_var or wish.mount_path):
        raise ValueError
    return wish


class Injector:
    """Brings secrets into containers.

    Args:
        lookup: where they are found.
        settings: bounds.
        root: where private directories are made; None for the system's temporary directory.
        marked: whether pods must have the webhook's mark: it is asked before they are stored.
    """

    def __init__(
        self,
        lookup: Lookup,
        settings: SecretsSettings,
        root: Path | None,
        *,
        marked: bool = False,
    ) -> None:
        self._lookup, self._settings, self._root = lookup, settings, root
        self._marked = marked
        if root is not None:
            shutil.rmtree(root, ignore_errors=True)  # of a process that was killed
            root.mkdir(mode=DIRECTORY_MODE, parents=True)

    async def inject(self, pod: Json, tell: Callable[[str], None]) -> Injected:
        """Return what a pod's container gets; a missing secret is waited for.

        Args:
            tell: told what is missing, at every look.

        Raises:
            InjectionFailed: malformed, or still missing after `wait_s`.
        """
        wanted = wishes(pod, self._settings.max_secrets)
        if wanted and self._marked and ADMITTED not in pod["metadata"]["annotations"]:
            raise InjectionFailed("the secrets' webhook has not admitted the pod")
        give_up_at = trio.current_time() + self._settings.wait_s
        while True:
            try:
                values = [(wish, await self._value(pod, wish)) for wish in wanted]
                return self._written(values)
            except LookupFailed as error:
                tell(str(error))
                if trio.current_time() + self._settings.retry_s > give_up_at:
                    raise InjectionFailed(str(error)) from None
            await trio.sleep(self._settings.retry_s)

    async def _value(self, pod: Json, wish: Wish) -> bytes:
        labels = pod["metadata"].get("labels") or {}
        org, project, domain = (labels.get(name) or "-" for name in LABELS)
        for scope in scopes(org, project, domain):
            value = await self._lookup.read((*scope, wish.key))
            if value is not None:
                return value
        where = f"{project}/{domain}, {domain} or the org"
        raise LookupFailed(f'secret "{wish.key}" not found in {where}')

    def _written(self, values: list[tuple[Wish, bytes]]) -> Injected:
        injected = Injected()
        try:
            for wish, value in values:
                if wish.env_var:
                    injected.env[wish.env_var] = _text(wish, value)
                if wish.mount_path:
                    self._write(injected, wish.mount_path, value)
        except BaseException:
            injected.close()
            raise
        return injected

    def _write(self, injected: Injected, mount_path: str, value: bytes) -> None:
        if injected.directory is None:
            made = tempfile.mkdtemp(prefix="planesplit-secrets-", dir=self._root)
            injected.directory = Path(made)
            injected.env[DIRECTORY_VARIABLE] = made + DEFAULT_DIRECTORY
        path = injected.directory / mount_path.lstrip("/")
        try:
            path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with os.fdopen(os.open(path, flags, FILE_MODE), "wb") as file:
                file.write(value)
        except OSError as error:
            why = error.strerror
            raise InjectionFailed(f"cannot write the secret's file: {why}") from None


def _text(wish: Wish, value: bytes) -> str:
    if b"\0" in value:
        raise InjectionFailed(f'secret "{wish.key}" is binary: mount it as a file')
    return os.fsdecode(value)
