"""Settings of the node that runs pods: what it adds to them, and how it pulls images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tunnel.settings import SettingError, setting


@dataclass(frozen=True, slots=True)
class PodsSettings:
    """`[pods]`."""

    path: tuple[str, ...] = setting((), why="directories before PATH of a pod's process")
    objects_url: str = setting("", why="object store in pods' environment; empty: our own")
    ca_file: str = setting(
        "", why="PEM authorities for pods, and for pulls; empty: those of the system"
    )
    pull_s: float = setting(120.0, low=0.1, high=3600.0, why="time for one image's pull")
    max_image_bytes: int = setting(
        2_147_483_648, low=1, high=1_099_511_627_776, why="one image unpacked: no archive bombs"
    )
    max_image_files: int = setting(
        100_000, low=1, high=10_000_000, why="files and directories of one image"
    )
    max_images_bytes: int = setting(
        10_737_418_240, low=1, high=10_995_116_277_760, why="layers that the node keeps, 10 GiB"
    )
    max_images: int = setting(100, low=1, high=10_000, why="unpacked images that the node keeps")

    def check(self) -> PodsSettings:
        """Return self if the files and directories can be used.

        Raises:
            SettingError: there is no such file, or a directory can't be in PATH.
        """
        if self.ca_file and not Path(self.ca_file).is_file():
            raise SettingError(f"setting 'pods.ca_file': there is no file '{self.ca_file}'")
        for directory in self.path:
            if not directory.startswith("/") or ":" in directory:
                raise SettingError(
                    f"setting 'pods.path': '{directory}' must be absolute and without a colon"
                )
        return self
