"""Settings: what is accepted, and that a refusal names the key, the value and the remedy."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from control_stub.app import read_secrets
from control_stub.settings import Limits, load_settings
from tunnel.http.settings import HttpLimits
from tunnel.settings import SettingError, describe

REST = """
[relay]
control_url = "https://127.0.0.1:1"
viewer_url = "https://127.0.0.1:2"
[[orgs]]
name = "acme"
projects = ["p1"]
domains = ["development"]
clusters = ["c1"]
"""
TLS = '[tls]\ncert_file = "c.pem"\nkey_file = "k.pem"'
APP = '[[apps]]\nclient_id = "a"\norg = "acme"\nsecret_file = "/nowhere"\n'

ERRORS = {
    "colour = 1": "unknown setting 'colour'",
    'insecure = true\nhost = "0.0.0.0"': "'host' is '0.0.0.0'; with insecure = true it must be",
    'insecure = true\nhost = "example.com"': "e.g. 127.0.0.1",
    "insecure = false": "add [tls], or insecure = true on loopback",
    "port = 70000": "'port' is 70000; it must be between 0 and 65535",
    f"{TLS}\n[limits]\ntoken_s = 0": "'limits.token_s' is 0; it must be between 1 and 86400",
    f"{TLS}\n{APP}": "'apps[0]' must have either a cluster or roles",
    f'{TLS}\n{APP}cluster = "c1"\nroles = [{{role = "Admin"}}]': "either a cluster or roles",
    f'{TLS}\n{APP}cluster = "c9"': "'apps[0].cluster' is 'c9'; clusters of acme: c1",
    f'{TLS}\n{APP}roles = [{{role = "King"}}]': "known: Admin, Contributor, Viewer",
    f'{TLS}\n{APP.replace("acme", "x")}cluster = "c1"': "'apps[0].org' is 'x'; known: acme",
    f'{TLS}\n{APP}cluster = "c1"\n[[orgs]]\nname = "b/c"\nprojects = []\ndomains = []\n'
    "clusters = []": "'orgs[1]' holds the name 'b/c'",
}


def _load(text: str) -> object:
    return load_settings(tomllib.loads(_with_rest(text)))


def _with_rest(text: str) -> str:
    head, bracket, tables = text.partition("[")
    return f"{head}{REST}{bracket}{tables}"


@pytest.mark.parametrize("text", ERRORS, ids=range(len(ERRORS)))
def test_refusals(text: str) -> None:
    with pytest.raises(SettingError) as caught:
        _load(text)
    assert ERRORS[text] in str(caught.value)


def test_no_orgs() -> None:
    with pytest.raises(SettingError, match="add at least one"):
        load_settings({"relay": {"control_url": "u", "viewer_url": "u"}, "orgs": []})


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_insecure_on_loopback(host: str) -> None:
    settings = load_settings(tomllib.loads(f'insecure = true\nhost = "{host}"{REST}'))
    assert settings.demo_org == "acme"


def test_a_whole_configuration() -> None:
    settings = load_settings(
        tomllib.loads(_with_rest(f'{TLS}\n{APP}roles = [{{role = "Viewer", project = "p1"}}]'))
    )
    [role] = settings.apps[0].roles
    assert (role.role, role.project, role.domain) == ("Viewer", "p1", "*")


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff"])
def test_secrets_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    app = APP.replace("/nowhere", str(path))
    settings = load_settings(tomllib.loads(_with_rest(f'{TLS}\n{app}cluster = "c1"')))
    with pytest.raises(SettingError, match=r"apps\[0\].secret_file.*write the client's secret"):
        read_secrets(settings)


def test_secrets_are_read_without_the_line_end(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    app = APP.replace("/nowhere", str(tmp_path / "secret"))
    settings = load_settings(tomllib.loads(_with_rest(f'{TLS}\n{app}cluster = "c1"')))
    assert read_secrets(settings) == {"a": "s3cret"}


@pytest.mark.parametrize("limits", [HttpLimits, Limits])
def test_every_limit_has_a_reason_and_bounds_that_hold_its_default(limits: type) -> None:
    for limit in describe(limits):
        assert limit["why"]
        assert limit["low"] <= limit["default"] <= limit["high"]
