"""One strict verifier: every kind of bad token is refused, and every check is needed for that."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey, OKPKey

from tunnel import verifier
from tunnel.verifier import (
    CONTROL,
    IDENTITY,
    MAX_KEYS,
    TUNNEL,
    VIEWER,
    Kind,
    TokenInvalid,
    Verifier,
    embedded_identity,
    import_keys,
)

NOW = 1_800_000_000
ISSUER = "https://control.example"
PRIVATE = ed25519.Ed25519PrivateKey.generate()
PUBLIC = PRIVATE.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
STRANGER = ed25519.Ed25519PrivateKey.generate()
JWK = {"kty": "OKP", "crv": "Ed25519", "kid": "k1"}
KEYS = import_keys({"keys": [{**JWK, "x": base64.urlsafe_b64encode(PUBLIC).decode().rstrip("=")}]})
CLAIMS = {
    "iss": ISSUER, "aud": VIEWER.audience, "sub": "ann", "org": "acme", "iat": NOW, "exp": NOW + 60,
}  # fmt: skip
HEADER = {"alg": "Ed25519", "kid": "k1", "typ": VIEWER.type}
Sign = Callable[[bytes], bytes]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(header: Any = None, claims: Any = None, sign: Sign = PRIVATE.sign) -> str:
    """Make a token by hand, so that it may be as bad as it likes."""
    parts = (json.dumps({**HEADER, **(header or {})}), json.dumps({**CLAIMS, **(claims or {})}))
    signed = ".".join(b64(part.encode()) for part in parts)
    return f"{signed}.{b64(sign(signed.encode()))}"


def without(name: str) -> str:
    claims = {key: value for key, value in CLAIMS.items() if key != name}
    signed = f"{b64(json.dumps(HEADER).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{signed}.{b64(PRIVATE.sign(signed.encode()))}"


def hs256(secret: bytes) -> Sign:
    return lambda data: hmac.new(secret, data, hashlib.sha256).digest()


BAD: dict[str, Callable[[], str]] = {
    "alg none": lambda: token({"alg": "none"}, sign=lambda _: b""),
    "alg None in capitals": lambda: token({"alg": "NONE"}, sign=lambda _: b""),
    "no signature": lambda: token().rpartition(".")[0] + ".",
    "HS256 by the public key": lambda: token({"alg": "HS256"}, sign=hs256(PUBLIC)),
    "HS256 by the public key in base64": lambda: token(
        {"alg": "HS256"}, sign=hs256(b64(PUBLIC).encode())
    ),
    "HS256 that says Ed25519": lambda: token(sign=hs256(PUBLIC)),
    "the old name EdDSA": lambda: token({"alg": "EdDSA"}),
    "another key": lambda: token(sign=STRANGER.sign),
    "an unknown kid": lambda: token({"kid": "k2"}),
    "no kid": lambda: token({"kid": None}),
    "a kid that is a path": lambda: token({"kid": "../../etc/passwd"}),
    "brings its own key": lambda: token(
        {"jwk": {**JWK, "x": b64(STRANGER.public_key().public_bytes_raw())}}, sign=STRANGER.sign
    ),
    "brings a good key": lambda: token({"jwk": {**JWK, "x": b64(PUBLIC)}}),
    "names where its key is": lambda: token({"jku": "https://evil.example/jwks.json"}),
    "unknown crit": lambda: token({"crit": ["colour"], "colour": "blue"}),
    "crit b64": lambda: token({"crit": ["b64"], "b64": False}),
    "empty crit": lambda: token({"crit": []}),
    "an unknown header": lambda: token({"colour": "blue"}),
    "no typ": lambda: token({"typ": None}),
    "another typ": lambda: token({"typ": "JWT"}),
    "the typ of an identity": lambda: token({"typ": IDENTITY.type}),
    "another aud": lambda: token(claims={"aud": TUNNEL.audience}),
    "no aud": lambda: without("aud"),
    "another iss": lambda: token(claims={"iss": "https://evil.example"}),
    "no iss": lambda: without("iss"),
    "no sub": lambda: without("sub"),
    "sub is a number": lambda: token(claims={"sub": 7}),
    "no org": lambda: without("org"),
    "org is a list": lambda: token(claims={"org": ["acme"]}),
    "no exp": lambda: without("exp"),
    "exp is NaN": lambda: token(claims={"exp": float("nan")}),
    "exp is endless": lambda: token(claims={"exp": float("inf")}),
    "exp is a text": lambda: token(claims={"exp": "9999999999"}),
    "expired": lambda: token(claims={"exp": NOW - 5}),
    "no iat": lambda: without("iat"),
    "iat is a truth": lambda: token(claims={"iat": True}),
    "issued tomorrow": lambda: token(claims={"iat": NOW + 86_400}),
    "not before tomorrow": lambda: token(claims={"nbf": NOW + 86_400}),
    "altered claims": lambda: _altered(),
    "too long": lambda: token(claims={"pad": "x" * 4_096}),
    "four parts": lambda: token() + ".x",
    "nothing": lambda: "",
    "not ASCII": lambda: token() + "\u00e4",
    "an encrypted one": lambda: "a.b.c.d.e",
}


def _altered() -> str:
    head, _, signature = token().split(".")
    return f"{head}.{b64(json.dumps({**CLAIMS, 'sub': 'eve'}).encode())}.{signature}"


def judge(text: str, kind: Kind = VIEWER, now_s: float = NOW, **options: Any) -> str:
    try:
        return str(Verifier().verify(text, KEYS, kind, ISSUER, now_s, **options)["sub"])
    except TokenInvalid as error:
        return str(error)


def test_a_good_token() -> None:
    assert judge(token()) == "ann"
    assert judge(token(claims={"aud": [VIEWER.audience, "x"]})) == "ann"


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token(name: str) -> None:
    assert judge(BAD[name]()) == ("expired" if name == "expired" else "not valid")


KINDS = (VIEWER, TUNNEL, IDENTITY, CONTROL)


@pytest.mark.parametrize("shown", KINDS, ids=lambda kind: kind.type)
@pytest.mark.parametrize("wanted", KINDS, ids=lambda kind: kind.type)
def test_no_kind_is_good_in_anothers_place(shown: Kind, wanted: Kind) -> None:
    text = token({"typ": shown.type}, {"aud": shown.audience})
    assert judge(text, wanted) == ("ann" if shown is wanted else "not valid")


def test_an_end_is_an_end_with_a_leeway() -> None:
    text = token()
    assert judge(text, now_s=NOW + 64.9) == "ann"
    assert judge(text, now_s=NOW + 65) == "expired"


def test_a_remembered_token_ends_too_and_other_keys_make_it_void() -> None:
    judges, text = Verifier(), token()
    assert judges.verify(text, KEYS, VIEWER, ISSUER, NOW)["sub"] == "ann"
    with pytest.raises(TokenInvalid, match="expired"):
        judges.verify(text, KEYS, VIEWER, ISSUER, NOW + 66)
    with pytest.raises(TokenInvalid, match="not valid"):
        judges.verify(text, {}, VIEWER, ISSUER, NOW)
    with pytest.raises(TokenInvalid, match="not valid"):
        judges.verify(text, KEYS, IDENTITY, ISSUER, NOW)


def test_signatures_are_checked_once_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[object] = []
    decode = jwt.decode
    monkeypatch.setattr(jwt, "decode", lambda *a, **o: (checked.append(a[0]), decode(*a, **o))[1])
    judges = Verifier(max_cached=2)
    texts = [token(claims={"sub": f"s{i}"}) for i in range(3)]
    for text in (texts[0], texts[0], texts[1], texts[2], texts[2], texts[0]):
        judges.verify(text, KEYS, VIEWER, ISSUER, NOW)
    assert checked == [texts[0], texts[1], texts[2], texts[0]]
    for text in ("x.y.z",) * 3:
        with pytest.raises(TokenInvalid):
            judges.verify(text, KEYS, VIEWER, ISSUER, NOW)
    assert len(judges._known) == 2
    assert all(secret not in repr(judges._known) for secret in texts)


@given(st.text() | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*"))
def test_anything_is_refused_and_nothing_is_shown(text: str) -> None:
    assert judge(text) == "not valid"


def test_the_identity_in_a_token() -> None:
    assert embedded_identity(token(claims={"identity": "a.b.c"})) == "a.b.c"
    assert embedded_identity(token()) == ""
    assert embedded_identity(token(claims={"identity": 7})) == ""


@pytest.mark.parametrize(
    "jwks",
    [
        None,
        {},
        {"keys": [{}]},
        {"keys": [{**JWK, "x": 7}]},
        {"keys": [{**JWK, "x": "AA"}]},
        {"keys": [{**JWK, "crv": "X25519", "x": b64(PUBLIC)}]},
        {"keys": [OctKey.import_key("a secret of enough length", {"kid": "k"}).as_dict()]},
        {"keys": [{**JWK, "x": b64(PUBLIC)}] * (MAX_KEYS + 1)},
    ],
)
def test_what_is_no_set_of_public_keys(jwks: Any) -> None:
    with pytest.raises(ValueError, match="public Ed25519 keys"):
        import_keys(jwks)


def test_private_parts_are_not_kept() -> None:
    key = OKPKey.generate_key("Ed25519", {"kid": "k"})
    assert not import_keys({"keys": [key.as_dict(private=True)]})["k"].is_private


def _any_algorithm(text: Any, keys: Any) -> Any:
    """Planted mutant: the token says how it is signed."""
    parts = text.split(".")
    header = json.loads(base64.urlsafe_b64decode(parts[0] + "=="))
    claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=="))
    signed = ".".join(parts[:2]).encode()
    if header["alg"] == "HS256" and b64(hs256(PUBLIC)(signed)) == parts[2]:
        return jwt.Token(header, claims)
    return jwt.decode(text, lambda guest: keys[guest.headers()["kid"]], algorithms=["Ed25519"])


class _NoClaims:
    def validate(self, claims: dict[str, Any]) -> None:
        """Planted mutant: whatever a good key has signed is right."""


def _first_key(text: Any, keys: Any) -> Any:
    """Planted mutant: whichever key the token names or brings."""
    return jwt.decode(text, next(iter(keys.values())), algorithms=["Ed25519"])


def _unsigned(text: Any, _keys: Any) -> Any:
    """Planted mutant: signatures are not looked at."""
    head, claims = text.split(".")[:2]
    parts = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in (head, claims))
    return jwt.Token(*parts)


def _no_header_rules(text: Any, keys: Any, kind: Kind, *rest: Any) -> Any:
    """Planted mutant: type and further headers are not looked at."""
    try:
        claims = verifier._signed(text, keys).claims
        verifier._claims_of(kind, *rest).validate(claims)
    except (JoseError, ValueError, TypeError, KeyError):
        raise TokenInvalid from None
    return claims


MUTANTS: dict[str, tuple[str, Any]] = {
    "any algorithm": ("_signed", _any_algorithm),
    "no signature": ("_signed", _unsigned),
    "any key": ("_signed", _first_key),
    "no claims": ("_claims_of", lambda *_: _NoClaims()),
    "no types of claims": ("_well_formed", lambda _: True),
    "no header": ("_verified", _no_header_rules),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_check_of_a_token_is_needed(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, *MUTANTS[mutant])
    let_in = []
    for name, make in BAD.items():
        try:
            let_in += [name] if judge(make()) != "not valid" and name != "expired" else []
        except Exception:
            continue
    assert let_in
