"""House rules as tests: sizes, docstrings, words that must not appear."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "tunnel",
    "relay",
    "compute_agent",
    "control_stub",
    "customer_stub",
    "kube",
    "planesplit",
    "policy",
)
MAX_FUNCTION_LINES = 50
MAX_FILE_LINES = 400
MAX_CORE_LINES = {"tunnel/connection.py": 500}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tracked(pattern: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--", pattern], cwd=ROOT, capture_output=True, text=True, check=False
    )
    paths = [ROOT / line for line in listed.stdout.splitlines()]
    return [path for path in paths if path.exists() and not path.name.endswith("_pb2.py")]


def sources() -> list[Path]:
    return [path for path in tracked("*.py") if path.relative_to(ROOT).parts[0] in PACKAGES]


def functions(path: Path) -> Iterator[tuple[Function, bool]]:
    """Yield each function of a file and whether it is public API (by name and by its class)."""

    def walk(node: ast.AST, public: bool) -> Iterator[tuple[Function, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                yield from walk(child, public and not child.name.startswith("_"))
            elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield child, public and not child.name.startswith("_")
                yield from walk(child, False)
            else:
                yield from walk(child, public)

    yield from walk(ast.parse(path.read_text()), True)


def code_lines(function: Function) -> int:
    """Lines of a function without its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


def long_functions(paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}: {code_lines(function)} lines"
        for path in paths
        for function, _ in functions(path)
        if code_lines(function) > MAX_FUNCTION_LINES
    ]


def undocumented(paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
        for path in paths
        for function, public in functions(path)
        if public and ast.get_docstring(function) is None
    ]


def test_functions_fit_a_screen() -> None:
    assert long_functions([p for p in tracked("*.py") if p.suffix == ".py"]) == []


def test_files_are_short() -> None:
    too_long = {}
    for path in tracked("*.py"):
        name = str(path.relative_to(ROOT))
        lines = path.read_text().count("\n")
        if lines > MAX_CORE_LINES.get(name, MAX_FILE_LINES):
            too_long[name] = lines
    assert too_long == {}


def test_public_functions_have_docstrings() -> None:
    assert undocumented(sources()) == []


def test_the_checks_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    bad = tmp_path / "bad.py"
    bad.write_text("def long():\n" + "    x = 1\n" * MAX_FUNCTION_LINES + "\n")
    assert long_functions([bad])
    assert undocumented([bad])


BANNED = {
    r"/work/(main|shared)|/tmp/w/": "paths of one machine",
    r"pypi\.org|files\.pythonhosted|registry\.npmjs|deb\.debian\.org": "package registries",
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9]": "secrets",
}


@pytest.mark.parametrize("pattern", sorted(BANNED), ids=lambda p: BANNED[p])
def test_words_that_must_not_be_committed(pattern: str) -> None:
    this = Path(__file__)
    found = [
        str(path.relative_to(ROOT))
        for path in tracked("*")
        if path != this and path.is_file() and re.search(pattern, path.read_text(errors="ignore"))
    ]
    assert found == []


def test_links_between_documents_lead_somewhere() -> None:
    dead = [
        f"{path.relative_to(ROOT)} -> {target}"
        for path in tracked("*.md")
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text())
        if not (path.parent / target).exists()
    ]
    assert dead == []
