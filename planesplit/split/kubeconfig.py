"""A kubeconfig for each service account of a cluster, for kubectl and other clients."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from planesplit.ready import write_atomically

NAME = "planesplit"


def write_kubeconfigs(
    directory: Path, url: str, ca_file: str, tokens: Mapping[str, Path]
) -> dict[str, str]:
    """Write a file for each account, mode 0600; it holds the token: not all clients read others.

    Args:
        directory: where; made if it isn't there.
        url: of the API server; plain HTTP takes no tokens from kubectl.
        ca_file: PEM; empty for plain HTTP.
        tokens: token file by account.

    Returns:
        Path by account.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    files = {account: directory / f"{account}.yaml" for account in tokens}
    for account, file in files.items():
        write_atomically(file, _text(url, ca_file, account, tokens[account]))
    return {account: str(file) for account, file in files.items()}


def _text(url: str, ca_file: str, account: str, token_file: Path) -> str:
    cluster = {"server": url} | ({"certificate-authority": ca_file} if ca_file else {})
    context = {"cluster": NAME, "user": account, "namespace": "default"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": cluster}],
        "users": [{"name": account, "user": {"token": token_file.read_text().strip()}}],
        "contexts": [{"name": NAME, "context": context}],
        "current-context": NAME,
    }
    return json.dumps(config, indent=2) + "\n"  # JSON is YAML too
