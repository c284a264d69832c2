"""SecretService over AWS Secrets Manager, against moto's server."""

from __future__ import annotations

import logging
import os
import secrets as random_secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from connectrpc.code import Code
from flyteidl2.secret import definition_pb2 as definition
from flyteidl2.secret import payload_pb2 as payload
from secret_cast import DOMAIN, ORG, PROJECT, create, exchange, identifier, update
from test_secret_service import refused

from compute_agent.secrets.aws import AwsSecrets
from compute_agent.secrets.names import SecretName, SecretScope
from compute_agent.secrets.service import SecretService
from compute_agent.secrets.settings import AwsSettings, SecretSettings
from customer_stub.secrets.lookup import AwsLookup, LookupFailed
from customer_stub.secrets.settings import SecretsSettings

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = pytest.importorskip("moto.server", reason="moto[server] is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def service(moto: str, tmp_path: Path) -> SecretService:
    secret_file = tmp_path / "aws"
    secret_file.write_text("testing\n")
    aws = AwsSettings(
        endpoint_url=moto,
        access_key="testing",
        secret_file=str(secret_file),
        prefix=f"p{random_secrets.token_hex(4)}",
    )
    return SecretService(ORG, "c1", AwsSecrets(aws), SecretSettings(backend="aws", aws=aws))


def value_of(service: SecretService, name: str) -> bytes:
    backend: Any = service._backend
    secret = SecretName(SecretScope(ORG, PROJECT, DOMAIN), name).aws(backend._settings.prefix)
    found: bytes = backend._client.get_secret_value(SecretId=secret)["SecretBinary"]
    return found


async def test_a_secrets_life(service: SecretService) -> None:
    get = payload.GetSecretRequest(id=identifier("TOKEN"))
    gone = payload.DeleteSecretRequest(id=identifier("TOKEN"))
    with exchange():
        await service.create_secret(create("TOKEN", b"\0first"), None)
        assert value_of(service, "TOKEN") == b"\0first"
        await refused(Code.ALREADY_EXISTS, service.create_secret(create("TOKEN", "x"), None))
        await service.update_secret(update("TOKEN", "2nd-value"), None)
        assert value_of(service, "TOKEN") == b"2nd-value"
        found = (await service.get_secret(get, None)).secret
        assert found.id == identifier("TOKEN")
        assert found.secret_metadata.created_time.seconds > 1_700_000_000
        assert "2nd-value" not in str(found)
        await service.delete_secret(gone, None)
        await refused(Code.NOT_FOUND, service.get_secret(get, None))
        await refused(Code.NOT_FOUND, service.delete_secret(gone, None))
        await refused(Code.NOT_FOUND, service.update_secret(update("TOKEN", "x"), None))
        await service.create_secret(create("TOKEN", "again at once"), None)


async def test_lists_are_of_one_scope(service: SecretService) -> None:
    pull = {"type": definition.SECRET_TYPE_IMAGE_PULL_SECRET}
    for project, domain in (("", ""), (PROJECT, DOMAIN), (PROJECT + "2", DOMAIN)):
        with exchange(project, domain):
            await service.create_secret(create("B", "v", project, domain), None)
            await service.create_secret(create("A", "{}", project, domain, **pull), None)
            asked = payload.ListSecretsRequest(organization=ORG, project=project, domain=domain)
            listed = (await service.list_secrets(asked, None)).secrets
            assert [(s.id.project, s.id.name) for s in listed] == [(project, "A"), (project, "B")]
            types = [s.secret_metadata.type for s in listed]
            assert types == [definition.SECRET_TYPE_IMAGE_PULL_SECRET, 0]


async def test_lists_longer_than_a_page_of_aws(
    service: SecretService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compute_agent.secrets.aws.PAGE", 2)
    with exchange():
        for number in range(5):
            await service.create_secret(create(f"S{number}", "v"), None)
        asked = payload.ListSecretsRequest(organization=ORG, project=PROJECT, domain=DOMAIN)
        listed = await service.list_secrets(asked, None)
        assert [s.id.name for s in listed.secrets] == [f"S{number}" for number in range(5)]


async def test_nobody_there() -> None:
    aws = AwsSettings(endpoint_url="http://127.0.0.1:1", access_key="k", request_s=2.0)
    aws = AwsSettings(**{**_fields(aws), "secret_file": os.devnull})
    service = SecretService(ORG, "c1", AwsSecrets(aws), SecretSettings(backend="aws", aws=aws))
    canary = random_secrets.token_hex(16)
    with exchange():
        text = await refused(Code.UNAVAILABLE, service.create_secret(create("T", canary), None))
        assert canary not in text


def _fields(aws: AwsSettings) -> dict[str, Any]:
    return {name: getattr(aws, name) for name in aws.__slots__}


async def test_the_customers_webhook_finds_what_the_agent_wrote(service: SecretService) -> None:
    aws = service._settings.aws
    lookup = AwsLookup(
        SecretsSettings(
            backend="aws",
            aws_endpoint_url=aws.endpoint_url,
            aws_access_key=aws.access_key,
            aws_secret_file=aws.secret_file,
            aws_prefix=aws.prefix,
        )
    )
    for project, domain, value in ((PROJECT, DOMAIN, b"\0narrow"), ("", DOMAIN, "text")):
        with exchange(project, domain):
            await service.create_secret(create("KEY", value, project, domain), None)
    assert await lookup.read((ORG, PROJECT, DOMAIN, "KEY")) == b"\0narrow"
    assert await lookup.read((ORG, "-", DOMAIN, "KEY")) == b"text"
    assert await lookup.read((ORG, "-", "-", "KEY")) is None
    nowhere = AwsLookup(
        SecretsSettings(backend="aws", aws_endpoint_url="http://127.0.0.1:1", aws_access_key="k")
    )
    with pytest.raises(LookupFailed):
        await nowhere.read((ORG, "-", "-", "KEY"))
