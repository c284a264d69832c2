"""A leak's outcome follows from its evidence; the matrix is red only if nothing slipped."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import bundle_cast
import pytest

from planesplit.commands import bundle as bundle_commands
from planesplit.commands.outcome import FAILED, OK, UsageError
from planesplit.commands.sabotage import ALL, chosen, list_leaks
from planesplit.proof.bundle import envelope
from planesplit.proof.bundle.evidence import collect
from planesplit.proof.bundle.verify import verify
from planesplit.proof.sabotage.catalogue import all_leaks
from planesplit.proof.sabotage.lane import relay_first
from planesplit.proof.sabotage.leaks import place
from planesplit.proof.sabotage.outcome import (
    BLIND,
    CLEAN,
    FOUND,
    PREVENTED,
    SLIPPED,
    Matrix,
    Trial,
)
from planesplit.proof.sabotage.show import table


def trial(
    *,
    found: tuple[str, ...] = (),
    tries: int = 4,
    refused: int = 0,
    started: bool = True,
    blind: str = "",
    sealed: bool = True,
) -> Trial:
    return Trial("temp-file", sealed, found, tries, refused, 0, started, blind, 1.0)


@pytest.mark.parametrize(
    ("made", "outcome"),
    [
        (trial(found=("files",)), FOUND),
        (trial(found=("files",), refused=4), FOUND),
        (trial(refused=4), PREVENTED),
        (trial(refused=3), SLIPPED),
        (trial(tries=0), SLIPPED),
        (trial(tries=0, started=False), PREVENTED),
        (trial(blind="XOR", sealed=False), BLIND),
        (trial(blind="XOR", sealed=True), SLIPPED),
        (trial(blind="XOR", sealed=False, tries=0), SLIPPED),
    ],
    ids=[
        "found",
        "found and stopped",
        "stopped",
        "stopped but once",
        "never tried",
        "not started",
        "blind unsealed",
        "blind sealed",
        "blind and never tried",
    ],
)
def test_the_outcome_follows_from_the_evidence(made: Trial, outcome: str) -> None:
    assert made.outcome == outcome
    assert made.caught == (outcome != SLIPPED)


def test_a_matrix_in_which_all_were_caught_is_red() -> None:
    assert bundle_cast.matrix().red
    assert bundle_cast.matrix().counts()["unsealed"][FOUND] == 1


def altered(index: int, **changes: object) -> Matrix:
    matrix = bundle_cast.matrix()
    trials = list(matrix.trials)
    trials[index] = dataclasses.replace(trials[index], **changes)  # type: ignore[arg-type]
    return dataclasses.replace(matrix, trials=tuple(trials))


def test_one_that_slipped_is_not_red() -> None:
    matrix = altered(3, detectors=())
    assert not matrix.red
    assert "nobody saw it" in table(matrix)


def test_a_control_that_is_not_clean_is_not_red() -> None:
    matrix = altered(0, detectors=("files",), notes=("files: x",))
    assert not matrix.red
    assert "DIRTY" in table(matrix)


def test_a_leak_that_was_tried_one_way_only_is_not_red() -> None:
    matrix = bundle_cast.matrix()
    assert not dataclasses.replace(matrix, trials=matrix.trials[:-1]).complete


def test_the_table_shows_who_found_what() -> None:
    shown = table(bundle_cast.matrix())
    row = next(line for line in shown.splitlines() if line.startswith("temp-file"))
    assert "stopped 3/3" in row
    assert "found" in row
    assert ".u" in row
    assert "1 of 1 leaks caught" in shown


def test_names_are_chosen() -> None:
    assert [leak.name for leak in chosen(["xattr,temp-file", "xattr"], None)[0]] == [
        "xattr",
        "temp-file",
    ]
    assert len(chosen([ALL], None)[0]) == len(all_leaks())
    with pytest.raises(UsageError, match="there is no leak 'nothing'"):
        chosen(["nothing"], None)


def test_a_reviewers_file_is_chosen_beside_them(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def leak(payload): ...\n")
    leaks, files = chosen(["xattr"], file)
    assert [leak.name for leak in leaks] == ["xattr", "mine"]
    assert files == {"mine": str(file)}
    taken = file.rename(tmp_path / "xattr.py")
    with pytest.raises(UsageError, match="another name"):
        chosen([], taken)


def test_leaks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_leaks(json=False) == OK
    shown = capsys.readouterr().out
    assert all(name in shown for name in all_leaks())


def test_leaks_of_the_relay_alone_come_first() -> None:
    planes = [leak.planes for leak in relay_first(all_leaks().values())]
    assert planes == sorted(planes, key=lambda each: each != ("relay",))


def test_what_leaks_leave_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(place, "PLACES", (tmp_path,))
    (tmp_path / f"{place.PREFIX}7-file").touch()
    (tmp_path / f"{place.PREFIX}7-core").mkdir()
    (tmp_path / f"{place.PREFIX}7-core" / "core").touch()
    (tmp_path / f"{place.PREFIX}7-link").symlink_to("nowhere")
    (tmp_path / f"{place.PREFIX}8-file").touch()
    assert place.remove(7) == 3
    assert [path.name for path in tmp_path.iterdir()] == [f"{place.PREFIX}8-file"]


async def test_a_bundle_is_verified_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "proof.bundle"
    bundle_commands.save(file, bundle_cast.report(), bundle_cast.matrix())
    assert await bundle_commands.verify(file, "", rerun=False, json=False) == OK
    assert "the bundle holds" in capsys.readouterr().out
    file.write_bytes(file.read_bytes().replace(b"full", b"none", 1))
    assert await bundle_commands.verify(file, "", rerun=False, json=True) == FAILED
    assert '"good": false' in capsys.readouterr().out


async def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        await bundle_commands.verify(tmp_path / "none", "", rerun=False, json=False)
    with pytest.raises(UsageError, match="cannot be written"):
        bundle_commands.save(tmp_path / "none" / "file", bundle_cast.report())


def test_a_matrix_that_says_red_and_is_not_is_refused() -> None:
    body = json.loads(json.dumps(collect(bundle_cast.report(), bundle_cast.matrix()).as_json()))
    body["sabotage"]["trials"][3]["detectors"] = []
    assert [check.name for check in verify(envelope.seal(body)).checks if not check.good] == [
        "schema"
    ]


def test_the_control_has_a_name_of_its_own() -> None:
    assert CLEAN not in all_leaks()
