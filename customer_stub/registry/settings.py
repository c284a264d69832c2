"""Settings of the container registry."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from tunnel.settings import SettingError, setting

SECRET_BYTES = 1024
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?")
_USER = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """`[registry]`: names, credentials, and the bound of everything."""

    alias: str = setting(
        "registry.local", why="images that start with it are pulled; needs no name resolution"
    )
    pull_user: str = setting("kubelet", why="the cluster's pull secret; it may read")
    pull_secret_file: str = setting("", why="its password; empty: one of this process alone")
    push_user: str = setting("builder", why="who may push too")
    push_secret_file: str = setting("", why="its password; empty: nobody pushes")
    demo_image: str = setting(
        "planesplit/workload:latest", why="published at start, so that something can be pulled"
    )
    max_requests: int = setting(64, low=1, high=10_000, why="requests at once; more get 429")
    max_blob_bytes: int = setting(
        2_147_483_648, low=1, high=1_099_511_627_776, why="largest layer, 2 GiB"
    )
    max_manifest_bytes: int = setting(
        4_194_304, low=1024, high=16_777_216, why="4 MiB: what clients of the specification push"
    )
    max_stored_bytes: int = setting(
        21_474_836_480, low=1, high=10_995_116_277_760, why="all blobs together on this disk"
    )
    max_manifests: int = setting(
        10_000, low=1, high=1_000_000, why="manifests in all repositories, held in memory"
    )
    max_uploads: int = setting(32, low=1, high=1000, why="blobs being pushed at once")
    idle_s: float = setting(
        20.0, low=0.1, high=600.0, why="a push that sends nothing for so long is given up"
    )
    upload_s: int = setting(
        600, low=1, high=86_400, why="an upload without a request for so long is forgotten"
    )

    def check(self) -> RegistrySettings:
        """Return self if names are well-formed.

        Raises:
            SettingError: one is not.
        """
        if not _HOST.fullmatch(self.alias):
            raise SettingError(f"setting 'registry.alias' is '{self.alias}'; give a host name")
        for name in ("pull_user", "push_user"):
            if not _USER.fullmatch(getattr(self, name)):
                raise SettingError(
                    f"setting 'registry.{name}' must be 1 to 64 of A-Z a-z 0-9 . _ -"
                )
        if self.pull_user == self.push_user:
            raise SettingError("setting 'registry': pull_user and push_user need different names")
        return self


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's name and password; the password is not shown."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.user})"


def read_credentials(settings: RegistrySettings) -> tuple[Credentials, Credentials | None]:
    """Return the credentials for pulls, and those for pushes or None.

    Raises:
        SettingError: a file can't be read or is empty; never shows content.
    """
    pull = secrets.token_urlsafe(24)
    if settings.pull_secret_file:
        pull = _password("pull_secret_file", settings.pull_secret_file)
    push = None
    if settings.push_secret_file:
        password = _password("push_secret_file", settings.push_secret_file)
        push = Credentials(settings.push_user, password)
    return Credentials(settings.pull_user, pull), push


def _password(name: str, path: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise SettingError(f"setting 'registry.{name}': cannot read '{path}'") from None
    if not 0 < len(text) <= SECRET_BYTES:
        raise SettingError(f"setting 'registry.{name}': '{path}' must hold a password")
    return text
