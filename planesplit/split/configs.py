"""The configuration table of each plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from planesplit.pki import Leaf
from planesplit.split.directory import Directory
from planesplit.split.options import SplitOptions
from planesplit.split.site import CLICKHOUSE_USERS, Site
from tunnel.handover import NOTHING

Table = dict[str, Any]

# Service accounts that the agent's parts call Kubernetes under.
AGENT_ACCOUNTS = ("executor", "proxy-system", "operator-system", "clustersync-system")


@dataclass(frozen=True, slots=True)
class SiteUrls:
    """Where one cluster's infrastructure listens; empty where it has none."""

    kubernetes: str
    objects: str = ""
    registry: str = ""
    clickhouse: str = ""
    data: str = ""


def relay(
    options: SplitOptions, files: Directory, ports: dict[str, int], prover_fd: int = NOTHING
) -> Table:
    """Return the relay's table.

    Args:
        ports: those of its earlier life, so that it comes back where it was.
        prover_fd: where it sends its memory.
    """
    mode = "on" if options.seal else "off"
    seal = {"mode": mode, "require": options.require_seal, "prover_fd": prover_fd}
    table: Table = {"host": options.vendor.listen, **ports, "seal": seal}
    if files.identities:
        tls = {**_pair(files.identities.relay), "ca_file": files.ca_file}
        tls["control_file"] = str(files.identities.control_client.cert_file)
        return {**table, "tls": tls}
    return {**table, "insecure": True}


def clickhouse(options: SplitOptions, site: Site, ports: dict[str, int]) -> Table:
    """Return the table of a cluster's ClickHouse."""
    users = [
        {
            "name": name,
            "password_file": str(site.secret_file(f"clickhouse-{name}")),
            "readonly": readonly,
        }
        for name, readonly in CLICKHOUSE_USERS.items()
    ]
    table = {"host": options.customer.address, **ports, "users": users}
    return {**table, "data_dir": str(site.path / "clickhouse"), **_serving(site)}


def customer(
    options: SplitOptions, files: Directory, site: Site, ports: dict[str, int], clickhouse_url: str
) -> Table:
    """Return the customer infrastructure's table.

    Args:
        ports: those of its earlier life.
        clickhouse_url: where pods' metrics and logs go; empty for nowhere.
    """
    identities = [{"name": name, **_store_key(site, name)} for name in site.store_keys]
    collected: Table = {}
    if clickhouse_url:
        target = {"url": clickhouse_url, "ca_file": files.ca_file} | _user(site, "collector")
        collector = {"sink": "clickhouse", "cluster": site.cluster}
        collected = {"clickhouse": target, "collector": collector}
    return {
        "host": options.customer.address,
        **ports,
        "log_root": str(site.log_root),
        "data_root": str(site.data_root),
        "token_file": str(site.kubernetes_tokens),
        "accounts": {
            "files": {name: str(file) for name, file in site.kubernetes_accounts.items()},
            "ca_file": files.ca_file,
        },
        "objects": {"identities": identities},
        "pods": {"path": list(options.pod_path), "ca_file": files.ca_file},
        **collected,
        **_serving(site),
    }


def kube(options: SplitOptions, files: Directory, ports: dict[str, int]) -> Table:
    """Return the table of the control plane's own Kubernetes API."""
    table: Table = {"host": options.vendor.address, **ports}
    table["token_file"] = str(files.kubernetes_tokens)
    if files.identities:
        return {**table, "tls": _pair(files.identities.kube)}
    return {**table, "insecure": True}


def control(
    options: SplitOptions,
    files: Directory,
    control_url: str,
    viewer_url: str,
    kubernetes_url: str,
    port: int = 0,
    prover_fd: int = NOTHING,
) -> Table:
    """Return the control plane's table.

    Args:
        control_url: the relay's private listener.
        viewer_url: the relay as viewers see it.
        kubernetes_url: the control plane's own cluster.
        port: that of its earlier life.
        prover_fd: where it sends its memory.
    """
    table: Table = {
        "host": options.vendor.address,
        "port": port,
        "prover_fd": prover_fd,
        "db_file": str(files.path / "control" / "metadata.db"),
        "relay": {"control_url": control_url, "viewer_url": viewer_url},
        "orgs": _orgs(options),
        "kubernetes": {
            "url": kubernetes_url,
            "ca_file": files.ca_file,
            "files": {name: str(file) for name, file in files.kubernetes_accounts.items()},
        },
    }
    if not files.identities:
        return {**table, "insecure": True}
    table["relay"] |= {"ca_file": files.ca_file, **_pair(files.identities.control_client)}
    return {**table, "tls": _pair(files.identities.control), "apps": _apps(options, files)}


def agent(
    options: SplitOptions,
    files: Directory,
    site: Site,
    relay_url: str,
    urls: SiteUrls,
    ports: dict[str, int],
) -> Table:
    """Return the agent's table.

    Args:
        relay_url: `ws://` or `wss://`, of the link, or of the relay's agent listener.
        urls: of its cluster's infrastructure.
        ports: those of its earlier life.
    """
    table: Table = {
        "org": options.place.org,
        "cluster": site.cluster,
        "relay_url": relay_url,
        "kubernetes_url": urls.kubernetes,
        "accounts": {
            account.replace("-", "_"): _token(site, account) for account in AGENT_ACCOUNTS
        },
        "log_root": str(site.log_root),
        "state_dir": str(site.state_dir),
        **_stores(files, site, urls),
    }
    if options.mode == "processes":
        table["data_endpoint"] = _data_endpoint(options, site, ports)
    if site.leaves is None:
        return table
    tls = {"ca_file": files.ca_file, **_pair(site.leaves.agent)}
    tokens = {
        "token_file": str(site.agent_token),
        "issuer_file": str(site.issuer_file),
        "kubernetes_ca_file": files.ca_file,
    }
    return {**table, **tokens, "tls": tls}


def _stores(files: Directory, site: Site, urls: SiteUrls) -> Table:
    """Return the tables of the stores that the agent uses, where the cluster has them."""
    table: Table = {"secrets": {"backend": "kubernetes"}}
    if urls.clickhouse:
        table["clickhouse"] = {"url": urls.clickhouse, "ca_file": files.ca_file} | _user(
            site, "agent"
        )
        table["history"] = {"backend": "clickhouse"}
    if urls.objects:
        table["objects"] = {
            "endpoint_url": urls.objects,
            "ca_file": files.ca_file,
            "executor": _store_key(site, "executor"),
            "proxy_system": _store_key(site, "proxy-system"),
        }
    return table


def _data_endpoint(options: SplitOptions, site: Site, ports: dict[str, int]) -> Table:
    table: Table = {"host": options.customer.address, "port": ports.get("data_port", 0)}
    return table | ({"tls": _pair(site.leaves.customer)} if site.leaves else {})


def _user(site: Site, name: str) -> Table:
    return {"user": name, "password_file": str(site.secret_file(f"clickhouse-{name}"))}


def _token(site: Site, account: str) -> str:
    return str(site.kubernetes_accounts[account])


def _store_key(site: Site, account: str) -> Table:
    key = site.store_keys[account]
    return {"access_key": key.access_key, "secret_file": str(key.secret_file)}


def _serving(site: Site) -> Table:
    return {"tls": _pair(site.leaves.customer)} if site.leaves else {"insecure": True}


def _pair(leaf: Leaf) -> dict[str, str]:
    return {"cert_file": str(leaf.cert_file), "key_file": str(leaf.key_file)}


def _orgs(options: SplitOptions) -> list[Table]:
    place = options.place
    names = dict.fromkeys((place.org, *(client.org for client in options.clients)))
    return [
        {
            "name": name,
            "projects": [place.project],
            "domains": [place.domain],
            "clusters": list(options.all_clusters),
        }
        for name in names
    ]


def _apps(options: SplitOptions, files: Directory) -> list[Table]:
    agents = [
        {
            "client_id": site.agent_client,
            "secret_file": str(site.secret_file(site.agent_client)),
            "org": options.place.org,
            "cluster": site.cluster,
        }
        for site in files.sites.values()
    ]
    viewers = [
        {
            "client_id": client.client_id,
            "secret_file": str(files.secret_file(client.client_id)),
            "org": client.org,
            "roles": [{"role": client.role, "project": client.project, "domain": client.domain}],
        }
        for client in files.clients
    ]
    return [*agents, *viewers]
