"""What the pages name is there: files, links, commands with their options, packages, counts."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from planesplit.cli import app
from planesplit.proof.detectors import DETECTORS
from planesplit.proof.sabotage.catalogue import all_leaks

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")
NAMED = re.compile(r"(?<![\w./-])((?:\w+/)*\w+\.(?:py|md|toml|sh)|(?:tests|docs|tools)/[\w/]+)\b")
CODE = re.compile(r"`([^`\n]+)`")
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|[(;|&] *|\.venv/bin/)planesplit((?: +[^\s;|&>)#\]]+)+)", re.MULTILINE)
QUOTED = re.compile(r""" "[^"]*"| '[^'\n]*'""")
WORDS = {10: "ten", 11: "eleven", 12: "twelve"}
# Made by who reads the page, or found elsewhere.
THEIRS = {"hello.py", "roles.yaml", "planesplit.toml", "r.toml"}


def code(text: str) -> Iterator[str]:
    """Yield the code of a page: spans, fenced and indented blocks."""
    yield from (block[1] for block in BLOCK.finditer(text))
    plain = BLOCK.sub("", text)
    yield from (span[1] for span in CODE.finditer(plain))
    yield from (line.strip() for line in plain.splitlines() if line.startswith("    "))


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {"#" + re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path, text: str) -> list[str]:
    """Links of a page that lead nowhere."""
    found = []
    for file, anchor in LINK.findall(text):
        if "://" in file:
            continue
        to = page.parent / file if file else page
        if not to.exists() or (anchor and anchor not in anchors(to)):
            found.append(f"{file}{anchor}")
    return found


def missing_files(text: str) -> list[str]:
    """Files and directories of the tree that a page names and that are not there."""
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    names = {part for path in tracked for part in ends(path)}
    told = {match[1] for piece in code(text) for match in NAMED.finditer(piece)}
    return sorted(name for name in told - THEIRS if name.rstrip("/") not in names)


def ends(path: str) -> Iterator[str]:
    """Every tail of a path, and every directory above it: how a page may name it."""
    parts = path.split("/")
    yield from ("/".join(parts[at:]) for at in range(len(parts)))
    yield from ("/".join(parts[:at]) for at in range(1, len(parts)))


def wrong_commands(text: str) -> list[str]:
    """Commands of a page that the command line would refuse."""
    pieces = QUOTED.sub(" QUOTED", "\n".join(code(text)))
    calls = [match[1].split() for match in COMMAND.finditer(pieces)]
    return [f"planesplit {' '.join(words)}: {why}" for words in calls if (why := refused(words))]


def refused(words: list[str]) -> str:
    """Return why a call is refused; nothing if it is not."""
    at, words = app, list(words)
    while words and words[0] in at:
        at = at[words.pop(0)]
    if at.default_command is None and words and not words[0].startswith("-"):
        return f"no command {words[0]}"
    known = {"--help", "--version"}
    if at.default_command is not None:
        known |= {name for argument in at.assemble_argument_collection() for name in argument.names}
    for word in words:
        if word == "--":
            break
        if word.startswith("-") and word.partition("=")[0] not in known and word != "-":
            return f"no option {word}"
    return ""


@pytest.mark.parametrize("page", [*PAGES, *DECISIONS], ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_and_commands_are_there(page: Path) -> None:
    assert missing_files(page.read_text()) == []
    assert wrong_commands(page.read_text()) == []


def test_the_architecture_names_every_package() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.partition("## Packages")[2].partition("\n## ")[0]
    told = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    there = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"tests", "tools", "docs"}
    assert told == there


def test_every_decision_is_listed() -> None:
    listed = set(
        re.findall(r"\((\d{4}[\w-]+\.md)\)", (DECISIONS[-1].parent / "README.md").read_text())
    )
    assert listed == {path.name for path in DECISIONS if path.name != "README.md"}


def test_the_glossary_is_in_order() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text()
    terms = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)[1:]
    assert terms == sorted(terms, key=str.lower)


def test_counts_are_the_codes() -> None:
    readme, tutorial, residency = (
        (ROOT / name).read_text() for name in ("README.md", "docs/tutorial.md", "docs/residency.md")
    )
    assert f"{len(all_leaks())} planted leaks" in readme
    for page in (tutorial, residency):
        assert re.findall(r"(\w+)\s+detectors\b", page)[0] == WORDS[len(DETECTORS)]


@pytest.mark.parametrize(
    "text",
    [
        "see `tests/nowhere`",
        "`relay/no_such.py`",
        "    planesplit nonesuch",
        "`planesplit tail RUN --nonesuch`",
        "```\nplanesplit get nonesuch\n```\n",
    ],
    ids=["directory", "file", "command", "option", "subcommand"],
)
def test_what_is_missing_is_seen(text: str) -> None:
    assert len(missing_files(text) + wrong_commands(text)) == 1
