"""The ready file of a running split."""

from __future__ import annotations

import os

from planesplit.ready import ClusterAccess, Credentials, Ready, process_started
from planesplit.split.backend import Backend
from planesplit.split.directory import Directory
from planesplit.split.flyte_config import write_flyte_config
from planesplit.split.kubeconfig import write_kubeconfigs
from planesplit.split.kubernetes_users import OPERATOR
from planesplit.split.options import CONTROL, DEMO_CLIENT, RELAY, SplitOptions
from planesplit.split.site import Site

KUBECONFIGS = "kubeconfig"


def describe(options: SplitOptions, files: Directory, planes: Backend) -> Ready:
    """Write the ready file, and the configurations of clients that it names; return it."""
    login = None
    if files.identities:
        login = Credentials(DEMO_CLIENT, str(files.secret_file(DEMO_CLIENT)))
    urls, ca_file = planes.urls, files.ca_file
    flyte_file = files.path / "flyte.yaml"
    return Ready(
        pid=os.getpid(),
        pid_started=process_started(os.getpid()),
        directory=str(files.path),
        insecure=options.insecure,
        place=options.place,
        urls=urls,
        flyte=write_flyte_config(flyte_file, urls.control, options.place, ca_file, login),
        pids=planes.pids,
        seal=planes.seal,
        memory=_handed_over(planes),
        ca_file=ca_file,
        credentials=login,
        clusters=tuple(_access(site, ca_file, planes) for site in files.sites.values()),
        kubernetes=planes.kube_url,
        kubeconfigs=write_kubeconfigs(
            files.path / KUBECONFIGS, planes.kube_url, ca_file, files.kubernetes_accounts
        ),
    ).write(files.path / "ready.json")


def _handed_over(planes: Backend) -> dict[str, tuple[int, ...]]:
    memories = {plane: planes.memory(plane) for plane in (RELAY, CONTROL)}
    return {plane: memory.descriptors for plane, memory in memories.items() if memory}


def _access(site: Site, ca_file: str, planes: Backend) -> ClusterAccess:
    urls, key = planes.site_urls(site), site.store_keys["operator-system"]
    return ClusterAccess(
        cluster=site.cluster,
        kubernetes=urls.kubernetes,
        objects=urls.objects,
        registry=urls.registry,
        clickhouse=urls.clickhouse,
        data=urls.data,
        kubernetes_token_file=str(site.kubernetes_accounts[OPERATOR]),
        kubeconfigs=write_kubeconfigs(
            site.path / KUBECONFIGS, urls.kubernetes, ca_file, site.kubernetes_accounts
        ),
        objects_access_key=key.access_key,
        objects_secret_file=str(key.secret_file),
        clickhouse_user="agent",
        clickhouse_password_file=str(site.secret_file("clickhouse-agent")),
    )
