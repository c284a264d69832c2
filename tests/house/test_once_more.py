"""What fails once is asked once more alone, and only chance is forgiven: real runs of pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import once_more

RACE = """
from pathlib import Path
def test_race():
    before = Path(__file__).with_suffix(".ran")
    ran = before.exists()
    before.touch()
    assert ran
def test_sound():
    pass
"""
MANY = "import pytest\n@pytest.mark.parametrize('n', range({0}))\ndef test_many(n):\n    assert 0\n"


def run(directory: Path, text: str, *arguments: str) -> tuple[int, str]:
    (directory / "test_chance.py").write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider --strict-config")
    ran = subprocess.run(
        [sys.executable, once_more.__file__, "-q", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ran.returncode, ran.stdout


def test_chance_is_forgiven_and_named(tmp_path: Path) -> None:
    code, out = run(tmp_path, RACE, "-n", "1")
    assert code == 0
    assert "1 failed, 1 passed" in out
    assert out.rstrip().endswith("test_chance.py::test_race")
    assert "RACE, to be mended" in out


def test_what_is_broken_fails(tmp_path: Path) -> None:
    code, out = run(tmp_path, MANY.format(once_more.MOST))
    assert code == 1
    assert out.count(f"{once_more.MOST} failed") == 2
    assert "RACE" not in out


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(MANY.format(once_more.MOST + 1), 1, id="too many"),
        pytest.param("import nothing_of_this_name", 2, id="no tests to run"),
        pytest.param("def test_sound(): pass", 0, id="all passed"),
    ],
)
def test_nothing_else_is_asked_again(tmp_path: Path, text: str, expected: int) -> None:
    code, out = run(tmp_path, text)
    assert code == expected
    assert "once more" not in out
