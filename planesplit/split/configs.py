"""The configuration table of each plane."""

from __future__ import annotations

from typing import Any

from planesplit.pki import Leaf
from planesplit.split.directory import Directory
from planesplit.split.options import SplitOptions

LOOPBACK = "127.0.0.1"


def relay(options: SplitOptions, files: Directory, ports: dict[str, int]) -> dict[str, Any]:
    """Return the relay's table.

    Args:
        ports: those of its earlier life, so that it comes back where it was.
    """
    table: dict[str, Any] = {"host": LOOPBACK, **ports}
    if files.identities:
        tls = {**_pair(files.identities.relay), "ca_file": files.ca_file}
        return {**table, "tls": tls}
    return {**table, "insecure": True}


def customer(options: SplitOptions, files: Directory, port: int = 0) -> dict[str, Any]:
    """Return the customer infrastructure's table."""
    table: dict[str, Any] = {
        "host": LOOPBACK,
        "port": port,
        "log_root": str(files.log_root),
        "token_file": str(files.kubernetes_tokens),
    }
    if files.identities:
        return {**table, "tls": _pair(files.identities.customer)}
    return {**table, "insecure": True}


def control(
    options: SplitOptions, files: Directory, control_url: str, viewer_url: str, port: int = 0
) -> dict[str, Any]:
    """Return the control plane's table.

    Args:
        control_url: the relay's private listener.
        viewer_url: the relay as viewers see it.
        port: that of its earlier life.
    """
    table: dict[str, Any] = {
        "host": LOOPBACK,
        "port": port,
        "db_file": str(files.path / "control" / "metadata.db"),
        "relay": {"control_url": control_url, "viewer_url": viewer_url},
        "orgs": _orgs(options),
    }
    if not files.identities:
        return {**table, "insecure": True}
    table["relay"] |= {"ca_file": files.ca_file, **_pair(files.identities.control_client)}
    return {**table, "tls": _pair(files.identities.control), "apps": _apps(options, files)}


def agent(
    options: SplitOptions, files: Directory, relay_port: int, kubernetes_port: int
) -> dict[str, Any]:
    """Return the agent's table.

    Args:
        relay_port: of the link, or of the relay's agent listener.
        kubernetes_port: of the customer's Kubernetes API.
    """
    place = options.place
    secure = files.identities is not None
    table: dict[str, Any] = {
        "org": place.org,
        "cluster": place.cluster,
        "relay_url": f"{'wss' if secure else 'ws'}://{LOOPBACK}:{relay_port}/tunnel",
        "kubernetes_url": f"{'https' if secure else 'http'}://{LOOPBACK}:{kubernetes_port}",
        "kubernetes_token_file": str(files.secret_file("kubernetes-agent")),
        "log_root": str(files.log_root),
        "state_dir": str(files.path / "agent"),
    }
    if not files.identities:
        return table
    tls = {"ca_file": files.ca_file, **_pair(files.identities.agent)}
    tokens = {"token_file": str(files.agent_token), "kubernetes_ca_file": files.ca_file}
    return {**table, **tokens, "tls": tls}


def _pair(leaf: Leaf) -> dict[str, str]:
    return {"cert_file": str(leaf.cert_file), "key_file": str(leaf.key_file)}


def _orgs(options: SplitOptions) -> list[dict[str, Any]]:
    place = options.place
    names = dict.fromkeys((place.org, *(client.org for client in options.clients)))
    return [
        {
            "name": name,
            "projects": [place.project],
            "domains": [place.domain],
            "clusters": [place.cluster],
        }
        for name in names
    ]


def _apps(options: SplitOptions, files: Directory) -> list[dict[str, Any]]:
    place = options.place
    agent_app = {
        "client_id": files.agent_client,
        "secret_file": str(files.secret_file(files.agent_client)),
        "org": place.org,
        "cluster": place.cluster,
    }
    viewers = [
        {
            "client_id": client.client_id,
            "secret_file": str(files.secret_file(client.client_id)),
            "org": client.org,
            "roles": [{"role": client.role, "project": client.project, "domain": client.domain}],
        }
        for client in files.clients
    ]
    return [agent_app, *viewers]
