"""A configuration file for the unmodified flyte CLI, and the environment that goes with it."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

from planesplit.ready import Credentials, Flyte, Place, write_atomically


def write_flyte_config(
    path: Path, control_url: str, place: Place, ca_file: str, credentials: Credentials | None
) -> Flyte:
    """Write the file.

    Args:
        path: the YAML file; beside it a `home` is made, since the CLI keeps state in HOME.
        ca_file, credentials: empty and None for plain HTTP.

    Returns:
        The file's name and the environment variables that the CLI needs.
    """
    home = path.parent / "flyte-home"
    home.mkdir(mode=0o700, exist_ok=True)
    admin: dict[str, object] = {
        "endpoint": f"dns:///{urlsplit(control_url).netloc}",
        "insecure": credentials is None,
        "disableKeyring": True,
    }
    if credentials:
        admin |= {
            "caCertFilePath": ca_file,
            "authType": "ClientSecret",
            "clientId": credentials.client_id,
            "clientSecretLocation": credentials.client_secret_file,
        }
    task = {"org": place.org, "project": place.project, "domain": place.domain}
    # JSON is YAML: https://yaml.org/spec/1.2.2/#12-yaml-history
    write_atomically(path, json.dumps({"admin": admin, "task": task}, indent=2) + "\n")
    environment = {"DO_NOT_TRACK": "1", "HOME": str(home)}
    if ca_file:  # its OAuth call verifies by OpenSSL's own variable
        environment["SSL_CERT_FILE"] = ca_file
    return Flyte(str(path), environment)
