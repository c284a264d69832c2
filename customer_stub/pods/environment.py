"""What the customer's side adds to a container: where it runs in its image, store credentials.

None of it is in the pod's specification, so the API never shows it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from customer_stub.pods.container import ContainerSpec
from customer_stub.pods.images import Image

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Additions:
    """What every pod's process gets.

    Args:
        path: directories before its PATH.
        env: variables, which the pod's own override; not shown, they hold a secret.
    """

    path: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)

    def complete(self, spec: ContainerSpec, image: Image | None) -> ContainerSpec:
        """Return the specification that is run.

        Args:
            spec: what the pod says.
            image: what it is run in, if it was pulled. There is no isolation: the process sees
                the whole machine, but finds its working directory and programs in the image.
        """
        own = dict(spec.env)
        path = own.pop("PATH", None) or os.environ.get("PATH", _DEFAULT_PATH)
        if image is None:
            env = {**self.env, **own, "PATH": ":".join((*self.path, path))}
            return replace(spec, env=env)
        image_env = dict(item.partition("=")[::2] for item in image.config.get("Env") or ())
        in_image = image_env.pop("PATH", _DEFAULT_PATH).split(":")
        inside = [str(_inside(image.root, directory)) for directory in in_image]
        env = {**image_env, **self.env, **own, "PATH": ":".join((*inside, *self.path, path))}
        command, args = _command(spec, image)
        where = _inside(image.root, spec.working_dir or image.config.get("WorkingDir") or "/")
        where.mkdir(parents=True, exist_ok=True)
        return replace(spec, command=command, args=args, env=env, working_dir=str(where))


def store_env(url: str, access_key: str, secret: str, region: str, ca_file: str) -> dict[str, str]:
    """Return the variables by which flyte's runtime and AWS's libraries find the object store.

    Args:
        url: of the store.
        access_key, secret: of the service account of task pods.
        region: part of every signature.
        ca_file: PEM authorities; empty for those of the system.
    """
    env = {
        "FLYTE_AWS_ENDPOINT": url,
        "FLYTE_AWS_ACCESS_KEY_ID": access_key,
        "FLYTE_AWS_SECRET_ACCESS_KEY": secret,
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": region,
    }
    if ca_file:
        env |= {"SSL_CERT_FILE": ca_file, "AWS_CA_BUNDLE": ca_file}
    return env


def _command(spec: ContainerSpec, image: Image) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Kubernetes' rule: `command` replaces entrypoint and arguments, `args` the arguments."""
    command = spec.command or tuple(image.config.get("Entrypoint") or ())
    args = spec.args
    if not spec.command and not spec.args:
        args = tuple(image.config.get("Cmd") or ())
    if not command:
        command, args = args[:1], args[1:]
    if command and command[0].startswith("/"):
        program = image.root / command[0].lstrip("/")
        if program.exists():
            command = (str(program), *command[1:])
    return command, args


def _inside(root: Path, path: str) -> Path:
    """Return a path of the image on this machine; `..` does not lead out."""
    return root / os.path.normpath(f"/{path}").lstrip("/")
