"""The control plane as a process, and the unmodified flyte CLI against it."""

from __future__ import annotations

import json
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from anycorn.app_wrappers import ASGIWrapper
from anycorn.config import Config, Sockets
from anycorn.run import worker_serve
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from control_cast import RUNS, Caller, event, report, run_id, task_spec
from fake_relay import FakeRelay
from flyte_client import ABORTED, FLYTE, MISSING
from flyteidl2.common import phase_pb2
from flyteidl2.dataproxy import dataproxy_service_pb2 as dataproxy
from flyteidl2.logs.dataplane import payload_pb2 as logs
from flyteidl2.task import task_service_pb2
from flyteidl2.workflow import run_service_pb2 as wire

from control_stub.runs import RunKey
from planesplit.pki import Authority
from tunnel.messages.rpc import connect_app
from tunnel.tls import client_context

ROOT = Path(__file__).parents[2]
DATA_PROXY = dataproxy.DESCRIPTOR.services_by_name["DataProxyService"]

MINIMAL = """
[relay]
control_url = "http://127.0.0.1:1"
viewer_url = "http://127.0.0.1:1"
[[orgs]]
name = "acme"
projects = ["p1"]
domains = ["development"]
clusters = ["c1"]
"""

pytestmark = pytest.mark.integration
needs_flyte = pytest.mark.skipif(not FLYTE.exists(), reason=MISSING)


class Viewers:
    """The relay's viewer endpoint: serves tails and remembers who asked.

    Args:
        open_to_all: without it a token is asked for; the CLI sends none before it is refused.
    """

    def __init__(self, open_to_all: bool) -> None:
        self._open_to_all = open_to_all
        self.seen: list[tuple[str, str]] = []
        self._app = connect_app((DATA_PROXY, self))

    async def tail_logs(
        self, request: dataproxy.TailLogsRequest, ctx: Any
    ) -> AsyncIterator[dataproxy.TailLogsResponse]:
        """Two lines, then the end."""
        if not (self._open_to_all or ctx.request_headers.get("authorization")):
            raise ConnectError(Code.UNAUTHENTICATED, "a token is needed")
        for text in ("first line\n", "second line\n"):
            line = logs.LogLine(message=text, originator=logs.LogLineOriginator.USER)
            yield dataproxy.TailLogsResponse(logs=[dataproxy.TailLogsResponse.Logs(lines=[line])])

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve a tail below any scope."""
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            self.seen.append((scope["path"], headers.get(b"authorization", b"").decode()))
            scope = {**scope, "path": "/" + scope["path"].split("/", 6)[6]}
        await self._app(scope, receive, send)


@dataclass
class Running:
    """A control plane's process and what stands around it."""

    process: subprocess.Popen[bytes]
    port: int
    relay: FakeRelay
    viewers: Viewers
    directory: Path
    authority: Authority | None

    @property
    def url(self) -> str:
        """The public API."""
        scheme, host = ("http", "127.0.0.1") if self.authority is None else ("https", "localhost")
        return f"{scheme}://{host}:{self.port}"

    def http(self) -> httpx.AsyncClient:
        """Return a client of the public API."""
        verify: Any = (
            True if self.authority is None else client_context(str(self.authority.ca_file))
        )
        return httpx.AsyncClient(base_url=self.url, verify=verify, trust_env=False)

    async def flyte(self, *arguments: str) -> str:
        """Run the CLI, once more if it aborts (see `unless_it_aborts`); return what it prints."""
        done = await self._flyte(arguments)
        if done.returncode == ABORTED:
            done = await self._flyte(arguments)
        assert done.returncode == 0, (done.stdout + done.stderr).decode()
        return bytes(done.stdout).decode()

    async def _flyte(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        environment = {
            "HOME": str(self.directory / "home"),
            "PATH": "/usr/bin:/bin",
            "DO_NOT_TRACK": "1",
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }
        if self.authority is not None:
            environment["SSL_CERT_FILE"] = str(self.authority.ca_file)
        with trio.fail_after(60):
            return await trio.run_process(
                [str(FLYTE), "--config", str(self.directory / "flyte.yaml"), *arguments],
                env=environment,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )


def _serve(nursery: trio.Nursery, app: Any, tls: dict[str, Any]) -> int:
    """Serve an application on a port of the system's choice."""
    config = Config()
    config.accesslog = config.errorlog = None
    config.keep_alive_timeout = 60
    config.bind = ["127.0.0.1:0"]
    for name, value in tls.items():
        setattr(config, name, value)
    sockets = config.create_sockets()
    [listener] = sockets.secure_sockets or sockets.insecure_sockets
    listener.listen(64)
    bound = Sockets(sockets.secure_sockets, sockets.insecure_sockets, [])
    nursery.start_soon(partial(worker_serve, ASGIWrapper(app), config, sockets=bound))
    port: int = listener.getsockname()[1]
    return port


def _files(leaf: Any, ca_file: Path | None = None) -> str:
    lines = [f'cert_file = "{leaf.cert_file}"', f'key_file = "{leaf.key_file}"']
    return "\n".join(lines + ([f'ca_file = "{ca_file}"'] if ca_file else []))


def _write_config(directory: Path, ports: tuple[int, int], authority: Authority | None) -> Path:
    scheme = "http" if authority is None else "https"
    parts = [f"insecure = {str(authority is None).lower()}", f'db_file = "{directory}/control.db"']
    parts += ["[relay]", f'control_url = "{scheme}://127.0.0.1:{ports[0]}"']
    parts += [f'viewer_url = "{scheme}://localhost:{ports[1]}"']
    if authority is not None:
        parts += [_files(authority.control(), authority.ca_file)]
        parts += ["[tls]", _files(authority.server("control"))]
    parts += ['[[orgs]]\nname = "acme"\nprojects = ["p1"]']
    parts += ['domains = ["development"]\nclusters = ["c1"]']
    (directory / "secret").write_text("s3cr3t/with:signs+\n")
    parts += [f'[[apps]]\nclient_id = "alice"\nsecret_file = "{directory}/secret"\norg = "acme"']
    parts += ['[[apps.roles]]\nrole = "Admin"']
    path = directory / "control.toml"
    path.write_text("\n".join(parts))
    return path


def _write_flyte_config(directory: Path, port: int, authority: Authority | None) -> None:
    admin = {"endpoint": f"dns:///127.0.0.1:{port}", "insecure": authority is None}
    if authority is not None:
        admin |= {
            "endpoint": f"dns:///localhost:{port}",
            "caCertFilePath": str(authority.ca_file),
            "authType": "ClientSecret",
            "clientId": "alice",
            "clientSecretLocation": str(directory / "secret"),
        }
    task = {"org": "acme", "project": "p1", "domain": "development"}
    # JSON is YAML
    (directory / "flyte.yaml").write_text(json.dumps({"admin": admin, "task": task}))
    (directory / "home").mkdir()


@asynccontextmanager
async def process(directory: Path, *, insecure: bool) -> AsyncIterator[Running]:
    """Run `python -m control_stub` and a relay beside it."""
    authority = None if insecure else Authority(directory / "pki")
    relay, viewers = FakeRelay(), Viewers(open_to_all=insecure)
    private: dict[str, Any] = {}
    public: dict[str, Any] = {}
    if authority is not None:
        leaf = authority.server("relay")
        public = {"certfile": str(leaf.cert_file), "keyfile": str(leaf.key_file)}
        private = {**public, "ca_certs": str(authority.ca_file), "verify_mode": ssl.CERT_REQUIRED}
    async with trio.open_nursery() as nursery:
        ports = _serve(nursery, relay, private), _serve(nursery, viewers, public)
        config = _write_config(directory, ports, authority)
        child = subprocess.Popen(
            [sys.executable, "-m", "control_stub", "--config", str(config)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=(directory / "journal").open("wb"),
        )
        try:
            assert child.stdout is not None
            with trio.fail_after(20):
                ready = json.loads(await trio.to_thread.run_sync(child.stdout.readline))
            assert (ready["event"], ready["pid"]) == ("ready", child.pid)
            _write_flyte_config(directory, ready["port"], authority)
            yield Running(child, ready["port"], relay, viewers, directory, authority)
        finally:
            child.kill()
            child.wait()
        nursery.cancel_scope.cancel()


async def _finished_run(running: Running) -> RunKey:
    """Start a run and let its agent report that it has ended."""
    async with running.http() as http:
        caller = Caller(http, await _token(running, http))
        deploy = task_service_pb2.DeployTaskRequest(spec=task_spec())
        name = deploy.task_id
        name.project, name.domain, name.name, name.version = "p1", "development", "ml.train", "v1"
        await caller.call("flyteidl2.task.TaskService", "DeployTask", deploy)
        key = await caller.create("train-1")
    for sequence, phase in enumerate(
        (phase_pb2.ACTION_PHASE_RUNNING, phase_pb2.ACTION_PHASE_SUCCEEDED), start=1
    ):
        await report(running, event(key, phase, sequence, pod="train-1-a0-1"))
    return key


async def _token(running: Running, http: httpx.AsyncClient) -> str:
    if running.authority is None:
        return ""
    secret = (running.directory / "secret").read_text().strip()
    response = await http.post(
        "/oauth2/token",
        data={"grant_type": "client_credentials", "client_id": "alice", "client_secret": secret},
    )
    token: str = response.raise_for_status().json()["access_token"]
    return token


@needs_flyte
@pytest.mark.timeout(180)
@pytest.mark.parametrize("insecure", [False, True], ids=["tls", "insecure"])
async def test_the_unmodified_cli(tmp_path: Path, insecure: bool) -> None:
    async with process(tmp_path, insecure=insecure) as running:
        subject = "demo" if insecure else "alice"
        assert f'"subject": "{subject}"' in await running.flyte("whoami")
        assert "p1" in await running.flyte("get", "project")
        key = await _finished_run(running)
        assert "train-1" in await running.flyte("get", "run")
        assert "ACTION_PHASE_SUCCEEDED" in await running.flyte("get", "run", key.run)
        listed = await running.flyte("--output-format", "json", "get", "action", key.run)
        assert "'name': 'a0'" in re.sub(r"\x1b\[[0-9;]*m", "", listed)
        assert "planesplit/exec" in await running.flyte("get", "action", key.run, "a0")
        assert "ml.train" in await running.flyte("get", "task")
        details = await running.flyte("get", "task", "ml.train", "v1")
        assert "planesplit/exec" in details
        printed = await running.flyte("get", "logs", key.run)
        assert printed.splitlines()[-2:] == [" first line", " second line"]
        path, authorization = running.viewers.seen[-1]
        assert path == "/r/acme/p1/development/c1/flyteidl2.dataproxy.DataProxyService/TailLogs"
        assert authorization.startswith("Bearer ey") != insecure
        await running.flyte("abort", "run", key.run)
        text = (tmp_path / "journal").read_text()
        assert all(json.loads(line)["plane"] == "control_stub" for line in text.splitlines())
        assert "s3cr3t" not in text


async def test_it_stops_when_told(tmp_path: Path) -> None:
    async with process(tmp_path, insecure=True) as running:
        async with running.http() as http:
            assert (await http.get("/livez")).status_code == 200
            running.process.send_signal(signal.SIGTERM)
            with trio.fail_after(10):
                assert await trio.to_thread.run_sync(running.process.wait) == 0
        assert (tmp_path / "control.db").exists()


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with process(tmp_path, insecure=True) as running, running.http() as http:
        key = await Caller(http, "").create()
        message = wire.WatchRunDetailsRequest(run_id=run_id(key)).SerializeToString()
        body = b"\0" + len(message).to_bytes(4, "big") + message
        headers = {"content-type": "application/connect+proto"}
        path = f"/{RUNS}/WatchRunDetails"
        async with http.stream("POST", path, content=body, headers=headers) as watch:
            messages = watch.aiter_raw()  # closes the connection when it is forgotten
            await anext(messages)
            running.process.send_signal(signal.SIGINT)
            with trio.fail_after(2):
                while "stopping" not in (tmp_path / "journal").read_text():
                    await trio.sleep(0.01)
                running.process.send_signal(signal.SIGINT)
                assert await trio.to_thread.run_sync(running.process.wait) == 130
            await messages.aclose()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "setting 'relay' is missing"),
        ("nonsense", "is not valid TOML"),
        (f"{MINIMAL}[tls]\ncert_file = '/nowhere'\nkey_file = '/nowhere'", "readable PEM files"),
        (f"insecure = true\nhost = '127.0.0.1'\ndb_file = '/nowhere/x'{MINIMAL}", "cannot"),
    ],
    ids=["missing", "not TOML", "TLS files", "database"],
)
def test_what_cannot_start_says_so_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "control.toml"
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "control_stub", "--config", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == (3 if said == "cannot" else 2)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
