"""A bundle holds what was put into it, and whatever is changed in it is noticed."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundle_cast
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from planesplit.commands.bundle import _text
from planesplit.commands.tables import as_json
from planesplit.proof.bundle import envelope
from planesplit.proof.bundle.decode import Misfit, decode
from planesplit.proof.bundle.evidence import collect, read_evidence
from planesplit.proof.bundle.verify import Verdict, compare, repeat, verify
from planesplit.proof.options import NOT_DRIVEN, Deviation

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
BODY = json.loads(json.dumps(collect(bundle_cast.report(), bundle_cast.matrix()).as_json()))
BUNDLE = envelope.seal(BODY, KEY)


def failed(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.good]


def test_a_whole_bundle_is_good() -> None:
    verdict = verify(BUNDLE, bundle_cast.CHALLENGE)
    assert failed(verdict) == []
    assert [check.name for check in verdict.checks] == [
        "signature",
        "schema",
        "consistency",
        "challenge",
        "result",
    ]


def test_it_holds_what_was_put_into_it() -> None:
    evidence = read_evidence(envelope.unseal(BUNDLE).body)
    assert evidence.proof == bundle_cast.report()
    assert evidence.matrix == bundle_cast.matrix()


def test_it_says_what_the_signature_does_not_show() -> None:
    assert b"does not show who signed it" in BUNDLE.replace(b'does not" "show', b"does not show")


@given(data=st.data())
def test_any_other_byte_is_noticed(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(BUNDLE) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != BUNDLE[at]))
    assert not verify(BUNDLE[:at] + bytes([byte]) + BUNDLE[at + 1 :]).good


@given(data=st.data())
def test_a_byte_more_or_less_is_noticed(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(BUNDLE)))
    more = data.draw(st.binary(min_size=1, max_size=4))
    assert not verify(BUNDLE[:at] + more + BUNDLE[at:]).good
    assert not verify(BUNDLE[:at]).good or at == len(BUNDLE)


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_else_is_no_bundle(data: bytes) -> None:
    assert failed(verify(data)) == ["signature"]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a body that has nothing below it."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, each in pairs:
        below = isinstance(each, (dict, list)) and bool(each)
        found += places(each, (*path, key)) if below else [(*path, key)]
    return found


def changed(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    body = copy.deepcopy(body)
    inner = body
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return body


def evidence_paths() -> list[tuple[Any, ...]]:
    """Return what a verdict follows from, or is one: not free text, times and machine."""
    free = {"created", "notice", "environment", "started", "seconds", "seal", "blind_spots"}
    free |= {"not_shown", "looked_at", "blind_to", "place", "encoding", "blind", "notes", "errno"}
    free |= {"salt", "challenge", "chosen_by_reviewer", "sha256", "leak", "detectors", "tries"}
    free |= {"data", "claim", "refused", "path", "kinds", "sealed", "started"}
    return [path for path in places(BODY) if not free & set(map(str, path))]


@given(path=st.sampled_from(evidence_paths()))
def test_a_verdict_changed_and_signed_anew_does_not_follow(path: tuple[Any, ...]) -> None:
    """Who owns no secret can sign what he likes: the report must still follow from its finds."""
    before = BODY
    for key in path:
        before = before[key]
    value = (
        (not before)
        if isinstance(before, bool)
        else before + 1
        if isinstance(before, int | float)
        else "other"
    )
    assert not verify(envelope.seal(changed(BODY, path, value), KEY)).good


def without_finds(body: Any) -> None:
    for detector in body["proof"]["detectors"]:
        detector["finds"] = []


def with_a_leak(body: Any) -> None:
    find = {"detector": "files", "place": "/leak", "encoding": "plain", "row": "A8"}
    for detector in body["proof"]["detectors"]:
        if detector["name"] == "files":
            detector["finds"].append({**find, "kind": "log line"})


def without_a_row(body: Any) -> None:
    del body["proof"]["rows"][3]


def through_the_relay(body: Any) -> None:
    body["proof"]["rows"][3]["path"]["relay"] = 5


def not_arrived(body: Any) -> None:
    body["proof"]["rows"][7]["kinds"]["log line"] = 0


def another_nonce(body: Any) -> None:
    body["proof"]["canaries"]["challenge"] = "ab"


def without_a_detector(body: Any) -> None:
    del body["proof"]["detectors"][2]


def a_field_more(body: Any) -> None:
    body["proof"]["rows"][0]["more"] = 1


def a_control_less(body: Any) -> None:
    del body["sabotage"]["trials"][3]


def unknown_detector(body: Any) -> None:
    body["sabotage"]["trials"][3]["detectors"] = ["oracle"]


CHANGES: list[Callable[[Any], None]] = [
    without_finds,
    with_a_leak,
    without_a_row,
    through_the_relay,
    not_arrived,
    another_nonce,
    without_a_detector,
    a_field_more,
    a_control_less,
    unknown_detector,
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_forger_with_a_key_of_his_own_is_noticed(change: Callable[[Any], None]) -> None:
    body = copy.deepcopy(BODY)
    change(body)
    assert failed(verify(envelope.seal(body))) in (["schema"], ["consistency"])


def test_a_nonce_that_was_not_asked_for_is_told() -> None:
    assert failed(verify(BUNDLE, "abcd")) == ["challenge"]


def test_a_run_that_deviated_is_genuine_and_not_good() -> None:
    found = Deviation("drive", "the logs did not end")
    proof = dataclasses.replace(bundle_cast.report(), deviations=(found,))
    body = json.loads(json.dumps(collect(proof).as_json()))
    assert failed(verify(envelope.seal(body))) == ["result"]


def test_a_run_that_drove_nothing_shows_nothing() -> None:
    proof = bundle_cast.report()
    idle = [
        dataclasses.replace(row, kinds={}, found_where=(), verdict=NOT_DRIVEN) for row in proof.rows
    ]
    unseen = [dataclasses.replace(each, finds=()) for each in proof.detectors]
    nothing = dataclasses.replace(
        proof,
        rows=tuple(idle),
        detectors=tuple(unseen),
        environment={**proof.environment, "rows": []},
    )
    verdict = verify(envelope.seal(json.loads(json.dumps(collect(nothing).as_json()))))
    assert failed(verdict) == ["result"]
    assert "in 0 of 13 rows" in verdict.checks[-1].text


ENVIRONMENTS = [(n, v) for n in ("rows", "planes") for v in (5, None, "A1", [["A1"]], [1])]
ENVIRONMENTS += [(n, "yes") for n in ("tls", "faults", "attached")]


@pytest.mark.parametrize(("name", "value"), ENVIRONMENTS, ids=str)
def test_an_environment_of_another_shape_is_refused(name: str, value: Any) -> None:
    body = changed(BODY, ("proof", "environment", name), value)
    assert failed(verify(envelope.seal(body))) == ["schema"]


@pytest.mark.parametrize("levels", [40, 100, 400, 900])
def test_depth_is_refused_before_anything_else(levels: int) -> None:
    deep = json.loads("[" * levels + "]" * levels)
    body = changed(BODY, ("proof", "environment", "deep"), deep)
    assert failed(verify(envelope.seal(body))) == ["signature"]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**19), 10**19) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
) | st.text(st.characters(), max_size=5)


@given(path=st.sampled_from(places(BODY)).filter(bool), value=ANYTHING)
def test_whatever_a_field_holds_verify_answers(path: tuple[Any, ...], value: Any) -> None:
    try:
        data = envelope.seal(changed(BODY, path, value))
    except ValueError:
        return  # an infinite number
    verdict = verify(data, "c0ffee")
    assert _text(verdict).isascii() or "\x1b" not in _text(verdict)
    json.dumps(verdict.as_json()).encode()
    if verdict.evidence:
        with contextlib.suppress(Misfit):
            repeat(verdict.evidence)


def test_a_bundle_cannot_speak_to_the_terminal() -> None:
    body = changed(BODY, ("proof", "started"), "\x1b[2K\nok    all  \ud800\u202e")
    text = _text(verify(envelope.seal(body)))
    assert "\x1b" not in text
    assert "\nok    all" not in text
    text.encode("ascii", "strict")
    told = as_json(verify(envelope.seal(body)).as_json())
    assert json.loads(told.encode())["checks"]


@pytest.mark.parametrize("cluster", ["../../x", "/x", "", "..", "c1", "a b"])
def test_a_run_that_leaves_its_directory_is_not_repeated(cluster: str) -> None:
    planes = [*BODY["proof"]["environment"]["planes"], f"compute_agent@{cluster}"]
    body = changed(BODY, ("proof", "environment", "planes"), planes)
    evidence = verify(envelope.seal(body)).evidence
    assert evidence
    with pytest.raises(Misfit):
        repeat(evidence)


def test_the_same_run_is_asked_for_again() -> None:
    evidence = verify(BUNDLE).evidence
    assert evidence
    options = repeat(evidence)
    assert options.rows == set(bundle_cast.WANTED)
    assert options.challenge == bundle_cast.CHALLENGE
    assert (options.faults, options.split.insecure, options.split.clickhouse) == (
        False,
        False,
        True,
    )


def test_another_result_is_told() -> None:
    proof = bundle_cast.report()
    assert compare(proof, proof).good
    other = compare(proof, dataclasses.replace(proof, seal="limits"))
    assert not other.good
    assert "seal: full then, limits now" in other.text


def test_a_file_of_any_size_is_read_within_bounds(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(envelope.MAX_BYTES + 1)
    with pytest.raises(envelope.TooLarge):
        envelope.read(path)


@pytest.mark.parametrize(
    "data",
    [b"[" * 100_000, b"1" * 10_000, b"NaN", b'{"a":1e999}', b"\xff", b"null"],
    ids=["deep", "digits", "nan", "infinite", "bytes", "null"],
)
def test_hostile_json_is_refused(data: bytes) -> None:
    assert failed(verify(data)) == ["signature"]


@pytest.mark.parametrize("body", [b"1e999", b"[" * 900 + b"]" * 900], ids=["infinite", "deep"])
def test_a_body_that_cannot_be_written_again_is_refused(body: bytes) -> None:
    data = b'{"body":%b,"public_key":"","schema":"planesplit.bundle/1","signature":""}' % body
    assert failed(verify(data)) == ["signature"]


@dataclasses.dataclass
class Sample:
    """What decoding is tried on."""

    count: int
    names: tuple[str, ...] = ()


@pytest.mark.parametrize(
    "value",
    [{}, {"count": "1"}, {"count": True}, {"count": 1, "more": 2}, {"count": 1, "names": "a"}, []],
    ids=["missing", "text", "flag", "unknown", "no list", "no object"],
)
def test_what_does_not_fit_is_refused(value: Any) -> None:
    with pytest.raises(Misfit):
        decode(Sample, value, "sample")


def test_what_fits_is_decoded() -> None:
    assert decode(Sample, {"count": 1, "names": ["a"]}) == Sample(1, ("a",))
