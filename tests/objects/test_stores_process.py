"""The customer's process with its stores, over TLS: pods use them, rows are counted."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from object_stage import FAST, META, REGION, SECRETS, access_key

from customer_stub.registry.build import build_image, write_layout
from planesplit.pki import Authority

pytestmark = pytest.mark.integration

PATIENCE_S = 30.0
OPERATOR, AGENT = "operator-token", "agent-token"
POD_SCRIPT = f"""
import boto3, os
s3 = boto3.client("s3", region_name=os.environ["AWS_REGION"])
s3.put_object(Bucket="{META}", Key="acme/p/d/r/a0/1/outputs.pb", Body=b"x" * 1000)
s3.put_object(Bucket="{META}", Key="acme/p/d/r/a0/1/report.html", Body=b"<html>")
print(len(s3.get_object(Bucket="{META}", Key="acme/p/d/r/a0/1/outputs.pb")["Body"].read()))
try:
    s3.get_object(Bucket="{FAST}", Key="bundle")
except Exception as error:
    print(error.response["Error"]["Code"])
print(os.environ["PATH"].partition(":")[0], os.environ["FLYTE_AWS_ENDPOINT"][:8])
"""


@dataclass
class Customer:
    """The running process and what it announced."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]
    ca_file: str
    directory: Path

    def ask(self, method: str, path: str, *, token: str = OPERATOR, **options: Any) -> Any:
        url = f"https://127.0.0.1:{self.ready['port']}{path}"
        headers = {"authorization": f"Bearer {token}"}
        context = ssl.create_default_context(cafile=self.ca_file)
        return httpx.request(method, url, headers=headers, verify=context, **options)

    def s3(self, account: str) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=f"https://127.0.0.1:{self.ready['objects_port']}",
            region_name=REGION,
            aws_access_key_id=access_key(account),
            aws_secret_access_key=SECRETS[account],
            verify=self.ca_file,
        )

    def run(self, name: str, **container: Any) -> tuple[dict[str, Any], str]:
        """Run a pod to its end; return it and its output."""
        body = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "main", **container}]},
        }
        assert self.ask("POST", "/api/v1/namespaces/default/pods", json=body).status_code == 201
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            pod = self.ask("GET", f"/api/v1/namespaces/default/pods/{name}").json()
            if pod["status"]["phase"] in ("Succeeded", "Failed"):
                break
            time.sleep(0.05)
        uid = pod["metadata"]["uid"]
        log = self.directory / "logs" / f"default_{name}_{uid}" / "main" / "0.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return pod, "\n".join(line.split(" ", 3)[3] for line in lines)


@pytest.fixture(scope="module")
def customer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Customer]:
    directory = tmp_path_factory.mktemp("customer")
    authority = Authority(directory / "pki")
    leaf = authority.server("customer")
    (directory / "tokens").write_text(
        f'{OPERATOR},operator,1,"system:masters"\n{AGENT},system:serviceaccount:union:executor,2\n'
    )
    for name, secret in {**SECRETS, "pull": "pull-secret", "push": "push-secret"}.items():
        (directory / name).write_text(secret)
    config = directory / "customer.toml"
    config.write_text(_config(directory, str(authority.ca_file), leaf))
    process = subprocess.Popen(
        [sys.executable, "-m", "customer_stub", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        ready = json.loads(process.stdout.readline())
        yield Customer(process, ready, str(authority.ca_file), directory)
    finally:
        process.kill()
        process.communicate()


def _config(directory: Path, ca_file: str, leaf: Any) -> str:
    identities = "".join(
        f'[[objects.identities]]\nname = "{name}"\naccess_key = "{access_key(name)}"\n'
        f'secret_file = "{directory / name}"\n'
        for name in SECRETS
    )
    return (
        f'log_root = "{directory / "logs"}"\ndata_root = "{directory / "data"}"\n'
        f'token_file = "{directory / "tokens"}"\n'
        f'[tls]\ncert_file = "{leaf.cert_file}"\nkey_file = "{leaf.key_file}"\n'
        f'[registry]\npull_secret_file = "{directory / "pull"}"\n'
        f'push_secret_file = "{directory / "push"}"\n'
        f'[pods]\npath = ["{Path(sys.executable).parent}"]\nca_file = "{ca_file}"\n{identities}'
    )


def rows(customer: Customer) -> dict[str, dict[str, int]]:
    answer = customer.ask("GET", "/_planesplit/rows")
    assert answer.status_code == 200
    found: dict[str, dict[str, int]] = answer.json()["direct"]
    return found


def test_a_pod_reaches_the_object_store(customer: Customer) -> None:
    before = rows(customer)
    pod, output = customer.run("store", image="any", command=["python", "-c", POD_SCRIPT])
    assert pod["status"]["phase"] == "Succeeded", output
    directory = str(Path(sys.executable).parent)
    assert output.splitlines() == ["1000", "AccessDenied", f"{directory} https://"]
    after = rows(customer)
    change = {row: {d: after[row][d] - before[row][d] for d in after[row]} for row in after}
    assert change == {
        "A4": {"up": 1000, "down": 1000},
        "A5": {"up": 0, "down": 0},
        "A6": {"up": 6, "down": 0},
        "A7": {"up": 0, "down": 0},
    }


def test_credentials_are_not_in_the_api(customer: Customer) -> None:
    pod, output = customer.run("secret", image="any", command=["env"])
    secret = SECRETS["clusterresource-template"]
    assert f"AWS_SECRET_ACCESS_KEY={secret}" in output.splitlines()
    everything = customer.ask("GET", "/api/v1/namespaces/default/pods").text + json.dumps(pod)
    assert secret not in everything
    assert access_key("clusterresource-template") not in everything


def test_a_pod_runs_an_image_of_the_registry(customer: Customer) -> None:
    before = rows(customer)["A7"]["down"]
    image = f"127.0.0.1:{customer.ready['registry_port']}/planesplit/workload:latest"
    pod, output = customer.run("pulled", image=image, args=["3", "7"])
    state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert state["exitCode"] == 7
    assert [line[:7] for line in output.splitlines()] == ["0000000", "0000001", "0000002"]
    assert "/work/" in output
    assert rows(customer)["A7"]["down"] > before


def test_an_image_that_is_not_there(customer: Customer) -> None:
    pod, output = customer.run("absent", image="registry.local/planesplit/absent:v1")
    state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (pod["status"]["phase"], state["reason"]) == ("Failed", "ErrImagePull")
    assert "no such image" in state["message"]
    assert output == ""


def test_rows_and_stores_are_for_the_operator(customer: Customer) -> None:
    for path in ("/_planesplit/rows", "/_planesplit/stores"):
        assert customer.ask("GET", path).status_code == 200
        assert customer.ask("GET", path, token=AGENT).status_code == 403
        assert customer.ask("GET", path, token="nobody").status_code == 401
        assert customer.ask("POST", path).status_code == 405
    stores = customer.ask("GET", "/_planesplit/stores").json()
    assert stores["registry"]["tags"] >= 1
    assert set(stores["objects"]) == {META, FAST}


def test_clients_over_tls_send_chunks_with_a_checksum(customer: Customer) -> None:
    """boto3's default over TLS: an unsigned payload in aws-chunked, CRC32 behind it."""
    content = b"bundle" * 100_000
    customer.s3("executor").put_object(Bucket=FAST, Key="acme/p/d/0/b.tgz", Body=content)
    read = customer.s3("executor").get_object(Bucket=FAST, Key="acme/p/d/0/b.tgz")
    assert read["Body"].read() == content


OBSTORE = f"""
import obstore, os
from obstore.store import S3Store
url = os.environ["FLYTE_AWS_ENDPOINT"]
store = S3Store("{META}", config=dict(endpoint=url, region="us-east-1",
    access_key_id=os.environ["FLYTE_AWS_ACCESS_KEY_ID"], virtual_hosted_style_request=False,
    secret_access_key=os.environ["FLYTE_AWS_SECRET_ACCESS_KEY"]))
content = os.urandom(12 << 20)  # more than one part
for key, data in (("ob/a b+ü.txt", b"hello"), ("ob/big", content)):
    obstore.put(store, key, data)
    assert bytes(obstore.get(store, key).bytes()) == data
assert bytes(obstore.get_range(store, "ob/a b+ü.txt", start=1, end=3)) == b"el"
assert [one["path"] for one in obstore.list(store, "ob").collect()] == ["ob/a b+ü.txt", "ob/big"]
obstore.delete(store, ["ob/a b+ü.txt", "ob/big"])
assert not obstore.list(store, "ob").collect()
print("ok")
"""


def test_the_store_client_of_flytes_runtime(customer: Customer) -> None:
    """obstore, in a pod, with nothing but the environment that the customer's side gives."""
    root = Path(__file__).parents[2]
    flyte = Path(os.environ.get("PLANESPLIT_FLYTE", root / ".venv-flyte" / "bin" / "flyte"))
    python = flyte.with_name("python")
    if not python.exists():
        pytest.skip(f"NOT TESTED with obstore: {python} is missing; `make test` installs it")
    pod, output = customer.run("obstore", image="any", command=[str(python), "-c", OBSTORE])
    assert (pod["status"]["phase"], output) == ("Succeeded", "ok")


SKOPEO_CREDENTIALS = {"pull": "kubelet:pull-secret", "push": "builder:push-secret"}


def skopeo(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["skopeo", *arguments], capture_output=True, text=True, check=False, timeout=60
        )
    except FileNotFoundError:
        pytest.skip("NOT TESTED with a real registry client: skopeo is not installed")


def test_skopeo_pushes_inspects_and_copies(customer: Customer, tmp_path: Path) -> None:
    program = tmp_path / "image" / "bin" / "hello"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "hello $1"\n')
    program.chmod(0o755)
    image = build_image([tmp_path / "image"], entrypoint=["hello"], command=["you"])
    write_layout(image, tmp_path / "layout")
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    (certificates / "ca.crt").write_bytes(Path(customer.ca_file).read_bytes())
    there = f"docker://127.0.0.1:{customer.ready['registry_port']}/team/hello:v1"
    pushed = skopeo(
        "copy",
        f"--dest-cert-dir={certificates}",
        f"--dest-creds={SKOPEO_CREDENTIALS['push']}",
        f"oci:{tmp_path / 'layout'}:latest",
        there,
    )
    assert pushed.returncode == 0, pushed.stderr
    pull = f"--creds={SKOPEO_CREDENTIALS['pull']}"
    seen = skopeo("inspect", f"--cert-dir={certificates}", pull, there)
    assert json.loads(seen.stdout)["Digest"] == image.digest
    back = skopeo(
        "copy",
        f"--src-cert-dir={certificates}",
        f"--src-creds={SKOPEO_CREDENTIALS['pull']}",
        there,
        f"oci:{tmp_path / 'back'}:v1",
    )
    assert back.returncode == 0, back.stderr
    for digest, blob in image.blobs.items():
        assert (tmp_path / "back" / "blobs" / "sha256" / digest[7:]).read_bytes() == blob
    refused = skopeo("inspect", f"--cert-dir={certificates}", "--creds=kubelet:x", there)
    assert refused.returncode != 0
    pod, output = customer.run("hello", image="registry.local/team/hello:v1")
    assert (pod["status"]["phase"], output) == ("Succeeded", "hello you")


def test_the_builder_as_a_command(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "x").touch()
    command = [sys.executable, "-m", "customer_stub.registry.build"]

    def build(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )

    done = build(str(tmp_path / "image"), str(tmp_path / "layout"))
    assert (done.returncode, done.stderr) == (0, "")
    index = json.loads((tmp_path / "layout" / "index.json").read_text())
    assert index["manifests"][0]["digest"] == done.stdout.strip()
    assert build(str(tmp_path / "absent"), str(tmp_path / "layout")).returncode == 2
    unwritable = build(str(tmp_path / "image"), "/dev/null/x")
    assert unwritable.returncode == 2
    assert "cannot write '/dev/null/x'" in unwritable.stderr


def test_it_stops_in_order_and_says_nothing(customer: Customer) -> None:
    customer.process.send_signal(signal.SIGTERM)
    _, journal = customer.process.communicate(timeout=PATIENCE_S)
    assert customer.process.returncode == 0
    assert "Traceback" not in journal
    for secret in (*SECRETS.values(), "pull-secret", "push-secret", "outputs.pb", "X-Amz"):
        assert secret not in journal
