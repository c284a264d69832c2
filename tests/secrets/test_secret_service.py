"""SecretService over Kubernetes Secrets: what it does, and that no value ever comes back."""

from __future__ import annotations

import base64
import secrets as random_secrets
from pathlib import Path
from typing import Any

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from flyteidl2.secret import definition_pb2 as definition
from flyteidl2.secret import payload_pb2 as payload
from hypothesis import given, settings
from hypothesis import strategies as st
from secret_cast import DOMAIN, ORG, PROJECT, World, create, exchange, identifier, update, world

from compute_agent.secrets import kubernetes
from compute_agent.secrets.kubernetes import KubernetesSecrets
from compute_agent.secrets.names import BadSecretName, SecretName, SecretScope
from compute_agent.secrets.service import SecretService
from compute_agent.secrets.settings import SecretSettings
from tunnel.settings import SettingError

WIDE = ("", "")
LIMITS = SecretSettings(backend="kubernetes")


def service_of(target: World, token: str = "proxy", **limits: Any) -> SecretService:
    bounds = SecretSettings(backend="kubernetes", **limits)
    backend = KubernetesSecrets(target.api(token, request_s=2.0), bounds.namespace)
    return SecretService(ORG, "c1", backend, bounds)


async def refused(code: Code, call: Any) -> str:
    with pytest.raises(ConnectError) as caught:
        await call
    assert caught.value.code == code
    return str(caught.value)


async def test_a_secrets_life(tmp_path: Path) -> None:
    async with world(tmp_path) as target:
        service = service_of(target)
        with exchange():
            await service.create_secret(create("TOKEN", "first"), None)
            (stored,) = target.stored
            assert base64.b64decode(stored["data"]["value"]) == b"first"
            await refused(
                Code.ALREADY_EXISTS, service.create_secret(create("TOKEN", "again"), None)
            )
            await service.update_secret(update("TOKEN", b"\0\xff"), None)
            assert base64.b64decode(target.stored[0]["data"]["value"]) == b"\0\xff"
            found = await service.get_secret(payload.GetSecretRequest(id=identifier("TOKEN")), None)
            assert found.secret.id == identifier("TOKEN")
            metadata = found.secret.secret_metadata
            assert metadata.created_time.seconds > 1_700_000_000
            assert metadata.type == definition.SECRET_TYPE_GENERIC
            (here,) = metadata.secret_status.cluster_status
            assert (here.cluster.name, here.presence_status) == ("c1", definition.PRESENT)
            gone = payload.DeleteSecretRequest(id=identifier("TOKEN"))
            await service.delete_secret(gone, None)
            assert target.stored == []
            await refused(Code.NOT_FOUND, service.delete_secret(gone, None))
            await refused(Code.NOT_FOUND, service.update_secret(update("TOKEN", "x"), None))
            await refused(
                Code.NOT_FOUND,
                service.get_secret(payload.GetSecretRequest(id=identifier("TOKEN")), None),
            )


async def test_scopes_are_apart(tmp_path: Path) -> None:
    scopes = [("", ""), ("", "dev"), ("proj", "dev"), ("other", "dev"), ("proj", "prod")]
    async with world(tmp_path) as target:
        service = service_of(target)
        for number, (project, domain) in enumerate(scopes):
            with exchange(project, domain):
                for name in ("SHARED", f"OWN-{number}"):
                    await service.create_secret(create(name, "v", project, domain), None)
        for number, (project, domain) in enumerate(scopes):
            with exchange(project, domain):
                asked = payload.ListSecretsRequest(organization=ORG, project=project, domain=domain)
                listed = await service.list_secrets(asked, None)
                assert [s.id.name for s in listed.secrets] == [f"OWN-{number}", "SHARED"]
                assert {(s.id.project, s.id.domain) for s in listed.secrets} == {(project, domain)}


async def test_a_request_outside_of_the_scope(tmp_path: Path) -> None:
    async with world(tmp_path) as target:
        service = service_of(target)
        with exchange():
            for where in (WIDE, ("", DOMAIN), (PROJECT, "prod"), ("other", DOMAIN)):
                request = create("T", "v", *where)
                await refused(Code.PERMISSION_DENIED, service.create_secret(request, None))
            foreign = create("T", "v")
            foreign.id.organization = "globex"
            await refused(Code.PERMISSION_DENIED, service.create_secret(foreign, None))
        with exchange("", ""):
            await refused(Code.PERMISSION_DENIED, service.create_secret(create("T", "v"), None))
            await service.create_secret(create("T", "v", *WIDE), None)
        with exchange("proj", ""):
            request = create("T", "v", "proj", "")
            await refused(Code.INVALID_ARGUMENT, service.create_secret(request, None))


async def test_bad_input(tmp_path: Path) -> None:
    async with world(tmp_path) as target:
        service = service_of(target, max_value_bytes=100)
        with exchange():
            for name in ("", "a/b", "-x", "x" * 64, "a b", "ü", "../x"):
                await refused(Code.INVALID_ARGUMENT, service.create_secret(create(name, "v"), None))
            text = await refused(
                Code.INVALID_ARGUMENT, service.create_secret(create("T", b"s" * 101), None)
            )
            assert "max_value_bytes" in text
            assert "101" in text
            await refused(Code.INVALID_ARGUMENT, service.create_secret(create("T", b""), None))
            await refused(Code.INVALID_ARGUMENT, service.update_secret(update("T", ""), None))
            await service.create_secret(create("T", b"s" * 100), None)
            bad = payload.ListSecretsRequest(organization=ORG, project=PROJECT, domain=DOMAIN)
            for token in ("x", "W10=", "WyJjMSJd"):
                bad.token = token
                await refused(Code.INVALID_ARGUMENT, service.list_secrets(bad, None))


async def test_image_pull_secrets(tmp_path: Path) -> None:
    pull = {"type": definition.SECRET_TYPE_IMAGE_PULL_SECRET}
    async with world(tmp_path) as target:
        service = service_of(target)
        with exchange("", ""):
            await service.create_secret(create("REG", '{"auths": {}}', *WIDE, **pull), None)
            (stored,) = target.stored
            assert stored["type"] == "kubernetes.io/dockerconfigjson"
            get = payload.GetSecretRequest(id=identifier("REG", *WIDE))
            found = (await service.get_secret(get, None)).secret
            assert found.secret_metadata.type == definition.SECRET_TYPE_IMAGE_PULL_SECRET
            text = await refused(
                Code.FAILED_PRECONDITION,
                service.create_secret(create("BAD", "no json", *WIDE, **pull), None),
            )
            assert "no json" not in text


async def test_pages(tmp_path: Path) -> None:
    async with world(tmp_path) as target:
        service = service_of(target, page_size=2)
        with exchange():
            names = [f"S{number}" for number in range(5)]
            for name in reversed(names):
                await service.create_secret(create(name, "v"), None)
            asked = payload.ListSecretsRequest(
                organization=ORG, project=PROJECT, domain=DOMAIN, limit=1
            )
            seen: list[str] = []
            pages = 0
            while pages < 9:
                pages += 1
                answer = await service.list_secrets(asked, None)
                seen += [secret.id.name for secret in answer.secrets]
                if not answer.token:
                    break
                asked.token = answer.token
            assert (seen, pages) == (names, 3)


async def test_answers_of_several_clusters_merge(tmp_path: Path) -> None:
    async with world(tmp_path / "1") as one, world(tmp_path / "2") as two:
        first, second = service_of(one, page_size=2), service_of(two, page_size=2)
        second._cluster = "c2"
        with exchange():
            for name in ("A", "B", "C"):
                await first.create_secret(create(name, "v"), None)
                await second.create_secret(create(name, "v"), None)
            await first.delete_secret(payload.DeleteSecretRequest(id=identifier("C")), None)
            get = payload.GetSecretRequest(id=identifier("A"))
            bodies = [await s.get_secret(get, None) for s in (first, second)]
            merged = payload.GetSecretResponse.FromString(
                b"".join(body.SerializeToString() for body in bodies)
            )
            status = merged.secret.secret_metadata.secret_status
            assert [c.cluster.name for c in status.cluster_status] == ["c1", "c2"]
            assert status.overall_status == definition.FULLY_PRESENT
            asked = payload.ListSecretsRequest(organization=ORG, project=PROJECT, domain=DOMAIN)
            listed = payload.ListSecretsResponse()
            for service in (first, second):
                answer = await service.list_secrets(asked, None)
                listed.MergeFromString(answer.SerializeToString())
            assert [s.id.name for s in listed.secrets] == ["A", "B", "A", "B"]
            assert list(listed.per_cluster_tokens) == ["c2"]
            asked.per_cluster_tokens.update(listed.per_cluster_tokens)
            rest = [await s.list_secrets(asked, None) for s in (first, second)]
            assert [[s.id.name for s in r.secrets] for r in rest] == [[], ["C"]]
            lone = payload.ListSecretsRequest(organization=ORG, project=PROJECT, domain=DOMAIN)
            lone.token = listed.token
            text = await refused(Code.INVALID_ARGUMENT, first.list_secrets(lone, None))
            assert "per_cluster_tokens" in text


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (500, Code.UNAVAILABLE),
        (503, Code.UNAVAILABLE),
        (429, Code.UNAVAILABLE),
        (401, Code.UNAVAILABLE),
        (403, Code.FAILED_PRECONDITION),
        (413, Code.FAILED_PRECONDITION),
    ],
)
async def test_the_api_says_no(tmp_path: Path, status: int, code: Code) -> None:
    async with world(tmp_path) as target:
        service = service_of(target)
        target.faults.status = status
        with exchange():
            text = await refused(code, service.create_secret(create("T", "hush-hush"), None))
            assert "hush" not in text


async def test_the_api_hangs(tmp_path: Path, autojump_clock: Any) -> None:
    async with world(tmp_path) as target:
        service = service_of(target)
        target.faults.hangs = True
        with exchange():
            await refused(Code.UNAVAILABLE, service.create_secret(create("T", "v"), None))


async def test_only_the_writers_account_may(tmp_path: Path) -> None:
    async with world(tmp_path) as target:
        with exchange():
            text = await refused(
                Code.FAILED_PRECONDITION,
                service_of(target, "collector").create_secret(create("T", "v"), None),
            )
            assert "does not allow" in text


async def test_without_a_backend() -> None:
    service = SecretService(ORG, "c1", None, SecretSettings())
    with exchange():
        text = await refused(Code.UNAVAILABLE, service.create_secret(create("T", "v"), None))
        assert "not configured" in text
    with pytest.raises(SettingError, match=r"secrets\.backend"):
        SecretSettings(backend="vault").check()


async def test_no_call_returns_or_tells_a_value(tmp_path: Path) -> None:
    canary = random_secrets.token_hex(16)
    told = await _everything_told(tmp_path, canary)
    assert "secret_created NAME" in told
    assert canary not in told
    assert _encoded(canary) not in told


async def test_an_api_that_is_asked_for_values_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes, "METADATA", "application/json")
    canary = random_secrets.token_hex(16)
    assert _encoded(canary) in await _everything_told(tmp_path, canary)


def _encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


async def _everything_told(root: Path, canary: str) -> str:
    """Every RPC, as every caller, while the backend works and while it fails: all that is said."""
    told: list[str] = []
    async with world(root) as target:
        for token in ("proxy", "collector"):
            service = service_of(target, token)
            service._tell = lambda event, name: told.append(f"{event} {name}")
            for status in (0, 500, 422):
                for method in ("create", "create", "update", "get", "list", "delete"):
                    target.faults.status = status
                    told.append(await _outcome(service, method, canary))
    return "\n".join([*told, *target.journal]) + b"\n".join(target.faults.answers).decode()


async def _outcome(service: SecretService, method: str, value: str) -> str:
    requests = {
        "create": create("NAME", value),
        "update": update("NAME", value),
        "get": payload.GetSecretRequest(id=identifier("NAME")),
        "delete": payload.DeleteSecretRequest(id=identifier("NAME")),
        "list": payload.ListSecretsRequest(organization=ORG, project=PROJECT, domain=DOMAIN),
    }
    request = requests[method]
    name = "list_secrets" if method == "list" else f"{method}_secret"
    with exchange():
        try:
            answer = await getattr(service, name)(request, None)
        except ConnectError as error:
            return f"{error!r} {error} {error.__context__!r} {error.__cause__!r} {request}"
    kept = str(request) if method in ("create", "update") else ""
    assert value not in kept, "the buffer was not dropped"
    return f"{answer} {answer.SerializeToString()!r}"


PART = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)


@given(st.lists(st.tuples(PART, PART, PART), min_size=2, max_size=6, unique=True))
@settings(max_examples=50, deadline=None)
def test_names_differ_where_secrets_do(parts: list[tuple[str, str, str]]) -> None:
    names = [SecretName(SecretScope(ORG, p, d), n) for p, d, n in parts]
    names += [SecretName(SecretScope(ORG, "", d), n) for _, d, n in parts]
    names = list(dict.fromkeys(names))
    for name in names:
        name.check()
    assert len({name.kubernetes for name in names}) == len(names)
    assert len({name.aws("planesplit") for name in names}) == len(names)


def test_a_dash_is_no_project() -> None:
    for scope in (SecretScope(ORG, "-", "dev"), SecretScope(ORG, "", "-"), SecretScope("")):
        with pytest.raises(BadSecretName):
            scope.check()
