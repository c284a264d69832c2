"""`planesplit policy ...` as people type it: answers, exit codes, near names, width."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from planesplit.cli import app
from planesplit.commands.policy.matrix import short
from policy.normalised import NOTES
from policy.resources import VERBS

Capsys = pytest.CaptureFixture[str]


def policy(*arguments: str) -> int:
    """Run a command in this process."""
    code = app(["policy", *arguments], exit_on_error=False, result_action="return_value")
    assert isinstance(code, int)
    return code


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ("--as proxy-system get pods/log -n flyte", 0),
        ("--as proxy-system create pods", 1),
        ("--as proxy-system get secrets -n default", 1),
        ("--as proxy-system get secrets -n union", 0),
        ("--as proxy-system watch secrets -n union", 1),
        ("--as system:serviceaccount:union:proxy-system list po", 0),
        ("--as system:serviceaccount:flyte:proxy-system list pods", 1),
        ("--as executor delete pod/name -n flyte", 0),
        ("--as executor deletecollection pods -n flyte", 1),
        ("--as console get pods --subresource log", 0),
        ("--as union-operator-prometheus get /metrics", 0),
        ("--as union-operator-prometheus get /logs", 1),
        ("--as cluster list deployments.apps", 0),
        ("--as opencost list deployments.extensions", 0),
        ("--as operator-system list widgets.acme.dev", 1),
        ("--as executor list widgets.acme.dev", 0),
        ("--as clustersync-system * configmaps", 0),
        ("--as executor * *", 1),
        ("--as clusterresource-template get pods -n flyte", 1),
        ("--as proxy-system s3:GetObject metadata/key", 0),
        ("--as proxy-system s3:PutObject metadata/key", 1),
        ("--as flyteadmin s3:GetObject metadata", 1),
        ("--as flyteadmin s3:GetObject metadata --presigned", 0),
    ],
)
def test_yes_and_no(question: str, code: int, capsys: Capsys) -> None:
    assert policy("can-i", *question.split()) == code
    assert capsys.readouterr().out == ("no\n" if code else "yes\n")


@pytest.mark.parametrize(
    ("question", "told"),
    [
        (
            "--as proxy-sytem get pods",
            "unknown service account 'proxy-sytem'; did you mean proxy-s",
        ),
        ("--as user:flyte:proxy-system get pods", "unknown service account"),
        ("--as proxy-system gett pods", "unknown verb 'gett'; did you mean get?"),
        ("--as proxy-system post pods", "unknown verb 'post'; did you mean create?"),
        ("--as proxy-system get podz", "unknown resource 'podz'; did you mean pods"),
        ("--as proxy-system get deployments.batch", "unknown API group of deployments 'batch'"),
        ("--as proxy-system list /metrics", "unknown HTTP method 'list'"),
        ("--as proxy-system s3:Get metadata", "unknown action 's3:get'"),
        ("--as proxy-system s3:GetObject meta", "unknown bucket 'meta'; did you mean metadata?"),
        ("--as proxy-system get pods --presigned", "--presigned is for s3"),
    ],
)
def test_what_there_is_not_is_a_usage_error_with_near_names(
    question: str, told: str, capsys: Capsys
) -> None:
    assert policy("can-i", *question.split()) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith(f"planesplit: {told}")


def test_why_names_row_rule_and_words(capsys: Capsys) -> None:
    policy("can-i", "--as", "proxy-system", "get", "pods/log", "--why")
    out = capsys.readouterr().out
    assert 'ClusterRole "proxy-system", white paper D3' in out
    assert "its words: “*” | events flyteworkflows pods/log" in out


def test_why_not_says_it_in_kubernetes_words_and_who_may(capsys: Capsys) -> None:
    policy("can-i", "--as", "proxy-system", "get", "secrets", "--why")
    out = " ".join(capsys.readouterr().out.split())
    assert (
        'User "system:serviceaccount:union:proxy-system" cannot get resource "secrets" '
        'in API group "" at the cluster scope' in out
    )
    assert "it may do this in the namespace union: -n union" in out
    assert "executor" in out.partition("who may do this")[2]
    policy("can-i", "--as", "system:serviceaccount:x:executor", "get", "pods", "--why")
    assert "in the namespace union" in capsys.readouterr().out


def test_a_namespace_that_means_nothing_is_told(capsys: Capsys) -> None:
    assert policy("can-i", "--as", "opencost", "get", "nodes", "-n", "flyte") == 0
    assert "are not in namespaces" in capsys.readouterr().err


def test_can_i_for_programs(capsys: Capsys) -> None:
    policy("can-i", "--as", "executor", "create", "pods", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (found["allowed"], found["appendix"], found["plane"]) == (True, "D2", "compute")


COMMANDS = (
    ["show"],
    ["show", "--notes"],
    *(["show", "--role", row] for row in ("C1", "C3", "D2", "D12", "D15", "E1", "operator-system")),
    ["matrix"],
    ["can-i", "--as", "queue", "create", "pods", "--why"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_answers_fit_a_hundred_columns(command: list[str], capsys: Capsys) -> None:
    policy(*command)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100


def test_show_has_every_row_and_note(capsys: Capsys) -> None:
    policy("show")
    out = capsys.readouterr().out
    for row in ("C12", "D9", "D16", "E8"):
        assert f"\n{row} " in out
    policy("show", "--json")
    found = json.loads(capsys.readouterr().out)
    assert (len(found["roles"]), len(found["accounts"])) == (28, 8)
    assert len(found["notes"]) == len(NOTES)
    policy("show", "--role", "operator-system")
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if line[:1] in "DE" and line] == [
        "D4",
        "D8",
        "E5",
    ]
    assert policy("show", "--role", "union-exec") == 2
    assert "did you mean union-executor" in capsys.readouterr().err


def test_the_matrix_marks_payload_in_the_compute_plane_only(capsys: Capsys) -> None:
    policy("matrix")
    control, _, compute = capsys.readouterr().out.partition("The compute plane's cluster")
    assert "!" not in control
    compute = compute.partition("Customers' buckets")[0]
    rows = {line.split("  ")[0]: line for line in compute.splitlines()}
    assert "R!" in rows["proxy-system"]
    assert rows["dcgm-exporter"].count("!") == 0
    assert "glcud!" in compute.partition("in union, too")[2].splitlines()[0]


def test_the_matrix_of_other_columns_and_for_programs(capsys: Capsys) -> None:
    policy("matrix", "--plane", "compute", "--resource", "deploy", "--resource", "po/log")
    assert "DEPLOYMENTS   PODS/LOG" in capsys.readouterr().out
    assert policy("matrix", "--resource", "pods/logs") == 2
    assert "did you mean log" in capsys.readouterr().err
    assert policy("matrix", "--resource", "podz") == 2
    capsys.readouterr()
    policy("matrix", "--json")
    records = json.loads(capsys.readouterr().out)["cells"]
    policy("matrix", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [{**r, "verbs": " ".join(r["verbs"])} for r in records] == lines
    assert {
        "plane": "compute",
        "account": "proxy-system",
        "namespace": "union",
        "resource": "secrets",
        "verbs": "get list create update delete",
        "payload": "secrets' values (A9)",
    } in lines
    assert any(r["resource"] == "s3:metadata" and r["account"] == "flyteadmin" for r in lines)
    policy("matrix", "--format", "markdown")
    assert "| proxy-system | R | R! |" in capsys.readouterr().out


def test_verbs_in_short() -> None:
    assert short(VERBS) == "*"
    assert short(("get", "list", "watch", "create")) == "Rc"
    assert short(("list", "watch")) == "lw"
    assert short(("create", "update", "patch", "delete", "deletecollection")) == "WD"
    assert short(()) == ""


def test_diff_shows_no_control_sequences(capsys: Capsys, tmp_path: Path) -> None:
    file = tmp_path / "roles.yaml"
    file.write_text(
        "kind: ClusterRoleBinding\nmetadata: {name: x}\nroleRef: {kind: ClusterRole, name: y}\n"
        'subjects: [{kind: Group, name: "\\e[2Jann"}]\n'
    )
    assert policy("diff", str(file)) == 1
    out = capsys.readouterr().out
    assert "\\x1b[2Jann" in out
    assert "\x1b" not in out


def test_diff_of_the_own_export_is_empty_and_of_anything_else_is_not(
    capsys: Capsys, tmp_path: Path
) -> None:
    file = tmp_path / "roles.yaml"
    policy("export", "--plane", "compute")
    text = capsys.readouterr().out
    file.write_text(text)
    assert policy("diff", str(file)) == 0
    assert "0 wider, 0 missing" in capsys.readouterr().out
    file.write_text(text.replace("  - pods/log\n", "  - pods/exec\n"))
    assert policy("diff", str(file)) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "wider get list watch: pods/exec (ClusterRole proxy-system); payload: pods/exec" in out
    assert "missing get list watch: pods/log (ClusterRole proxy-system)" in out
    assert policy("diff", str(file), "--account", "opencost") == 0
    capsys.readouterr()
    assert policy("diff", str(file), "--json") == 1
    assert len(json.loads(capsys.readouterr().out)["differences"]) == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: [", "no YAML"),
        ("[" * 5000, "no YAML"),
        ("just words", "no Kubernetes object"),
        ("!!python/object:os.system {a: 1}", "no Kubernetes object"),
        ("\x00", "no YAML"),
    ],
    ids=["open", "deep", "words", "tag", "nul"],
)
def test_a_file_that_is_no_manifest_is_a_usage_error(
    content: str, told: str, tmp_path: Path, capsys: Capsys
) -> None:
    file = tmp_path / "roles.yaml"
    file.write_text(content)
    assert policy("diff", str(file)) == 2
    assert told in capsys.readouterr().err
    assert policy("diff", str(tmp_path / "none")) == 2
    assert "No such file" in capsys.readouterr().err


def test_a_bucket_s_name_is_checked(capsys: Capsys) -> None:
    assert policy("export", "--format", "iam-json", "--metadata-bucket", "Not A Bucket") == 2
    assert policy("export", "--format", "iam-json", "--account", "proxy") == 2
    assert "did you mean proxy-system" in capsys.readouterr().err


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, **options)  # type: ignore[call-overload,no-any-return]


def test_a_question_imports_nothing_that_takes_time() -> None:
    code = (
        "import sys; from planesplit.cli import app; "
        "app('policy can-i --as executor get pods'.split(), result_action='return_value'); "
        "print(*({'trio', 'httpx', 'yaml', 'cryptography'} & set(sys.modules)))"
    )
    assert run("-c", code).stdout.split() == ["yes"]


def test_a_reader_that_leaves_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "planesplit", "policy", "show"],
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, "")
