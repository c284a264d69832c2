"""Canaries: values made at run time that are looked for in every place where they must not rest.

All canaries of payload share one secret, and all of metadata another, so that one scan finds them
all; behind it stands whose row and kind it is. Where that is overwritten, the secret still tells
payload from metadata, of which the vendor's planes may keep more. What no scan sees: XOR, double
base64, base85, encryption, and a canary that is cut by a frame header.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from planesplit.proof.encodings import (
    USUAL,
    Pattern,
    distinct,
    patterns,
    stripped,
    stripped_patterns,
)
from planesplit.proof.find import Find
from planesplit.proof.unpack import unpacked

SECRET_CHARS = 14  # 72 bits of lower-case letters and digits: no accident in any realistic scan
MIN_TEXT_CHARS = 8  # of a reviewer's own text: what is shorter turns up by accident
MAX_TEXT_CHARS = 64  # two of them must fit into a label
TAG_CHARS = 6
SALT_BYTES = 16
_END = "x-"  # behind a code: base64 of its last letter does not depend on what follows
_LETTERS = string.ascii_lowercase
_DIGITS = _LETTERS + string.digits
_NOT_A_NAME = re.compile(r"[^a-z0-9]+")


class BadCanary(ValueError):
    """A reviewer's text or nonce cannot be used; says why and what would do."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One class of payload.

    Args:
        row: of the white paper, `A1` to `A12` or `B`.
        name: what it is.
    """

    row: str
    name: str


CUT, CUT_METADATA = Kind("", ""), Kind("", "metadata, cut short")


@dataclass(frozen=True, slots=True, repr=False)
class _Target:
    """One secret and the patterns that find it.

    Args:
        kind: whose it is, if it has no code behind it.
        cut: whose it is, if its code is gone.
    """

    secret: str
    patterns: list[Pattern]
    stripped: list[Pattern]
    kind: Kind | None = None
    cut: Kind = CUT


class Canaries:
    """One run's canaries.

    Args:
        text: a reviewer's own value, in every canary instead of a random one.
        challenge: a reviewer's nonce in hexadecimal, folded into every canary.
        metadata: kinds whose canaries have the secret of metadata, as names do.

    Raises:
        BadCanary: the text is too short or too long, or the nonce is not hexadecimal.
    """

    def __init__(
        self, text: str = "", challenge: str = "", metadata: frozenset[Kind] = frozenset()
    ) -> None:
        self._metadata = metadata
        self.text, self.challenge = text, challenge.lower()
        self.salt = secrets.token_bytes(SALT_BYTES)
        try:
            random = derived(challenge, self.salt)
        except ValueError:
            raise BadCanary("--challenge is not hexadecimal; give pairs of 0-9 a-f") from None
        self._tag = f"-{random[:TAG_CHARS]}" if text and challenge else ""
        self.secret = _checked(text) if text else random[:SECRET_CHARS]
        other = text or random[SECRET_CHARS : 2 * SECRET_CHARS]
        self.name_secret = _NOT_A_NAME.sub("-", other.lower()).strip("-")
        self._lead = "" if self.name_secret[0].isalpha() else "n"
        self._kinds: dict[Kind, str] = {}
        self._count = 0
        self._targets = [_target(self.secret, cut=CUT)]
        if self.name_secret != self.secret:
            self._targets.append(_target(self.name_secret, cut=CUT_METADATA))

    def __repr__(self) -> str:
        return f"<Canaries, {self._count} of {len(self._kinds)} kinds>"

    def make(self, row: str = "", kind: str = "") -> str:
        """Return a new value, the secret in front."""
        secret = self.name_secret if Kind(row, kind) in self._metadata else self.secret
        return f"{secret}{self._tail(row, kind)}"

    def name(self, row: str = "", kind: str = "") -> str:
        """Return a new value that is a name: lower-case letters, digits and dashes."""
        return f"{self._lead}{self.name_secret}{self._tail(row, kind)}"

    def line(self, row: str = "", kind: str = "", repeats: int = 4) -> str:
        """Return a line full of canaries, one every 24 characters or so."""
        return " ".join(f"v={self.make(row, kind)}" for _ in range(repeats))

    def block(self, row: str, kind: str, size_bytes: int) -> bytes:
        """Return so many bytes that are nothing but one canary, again and again."""
        unit = f"{self.make(row, kind)} ".encode()
        return (unit * (size_bytes // len(unit) + 1))[:size_bytes]

    def watch(self, value: str, row: str, kind: str) -> None:
        """Look for a value that somebody else made, such as a URL's signature."""
        if value and all(target.secret != value for target in self._targets):
            self._targets.append(_target(value, Kind(row, kind)))

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Every kind of which there is a canary."""
        watched = (target.kind for target in self._targets if target.kind)
        return (*self._kinds, *dict.fromkeys(watched))

    def digest(self) -> str:
        """Return SHA-256 of the shared secret: names a run's canaries without showing them."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def scan(self, place: str, data: bytes, detector: str = "", store: str = "") -> list[Find]:
        """Look through bytes, and through what they hold compressed or wrapped."""
        seen = dict.fromkeys(self._seen(data))
        return [Find(detector, place, how, kind.row, kind.name, store) for how, kind in seen]

    def scan_tree(self, root: Path, detector: str = "", store: str = "") -> list[Find]:
        """Look through names and contents of all files below `root`."""
        finds: list[Find] = []
        for path in sorted(root.rglob("*")):
            finds += self.scan(f"the name {path}", path.name.encode(), detector, store)
            if path.is_file() and not path.is_symlink():
                finds += self.scan(str(path), path.read_bytes(), detector, store)
        return finds

    def count(self, data: bytes) -> dict[Kind, int]:
        """Return how often canaries stand in bytes, plainly."""
        counts: dict[Kind, int] = {}
        for target in self._targets:
            for kind in self._hits(target, data, target.secret.encode()):
                literal = (target.secret + self._code(kind)).encode()
                counts[kind] = counts.get(kind, 0) + data.count(literal)
        return counts

    def _seen(self, data: bytes) -> Iterator[tuple[str, Kind]]:
        yield from self._encoded("", data)
        for wrapping, content in unpacked(data):
            yield from self._encoded(f"{wrapping} ", content)

    def _encoded(self, wrapping: str, data: bytes) -> Iterator[tuple[str, Kind]]:
        for target in self._targets:
            for encoding, pattern in target.patterns:
                if pattern in data:
                    for kind in self._hits(target, data, pattern):
                        yield f"{wrapping}{encoding}", kind
        bare = stripped(data)
        if len(bare) == len(data):
            return
        for target in self._targets:
            for encoding, pattern in target.stripped:
                if pattern in bare and pattern not in data:
                    for kind in self._hits(target, bare, pattern, bare=True):
                        yield f"{wrapping}wrapped {encoding}", kind

    def _hits(
        self, target: _Target, data: bytes, pattern: bytes, *, bare: bool = False
    ) -> Iterator[Kind]:
        """Yield whose canaries a pattern found: by the code that follows the secret."""
        if target.kind:
            if pattern in data:
                yield target.kind
            return
        known = False
        for kind in self._kinds:
            longer = target.secret + self._code(kind)
            if any(each in data for each in _longer(target.secret, longer, pattern, bare=bare)):
                known = True
                yield kind
        if not known and pattern in data:
            yield target.cut

    def _tail(self, row: str, kind: str) -> str:
        self._count += 1
        whose = Kind(row, kind)
        if whose not in self._kinds:
            index = len(self._kinds)
            self._kinds[whose] = _LETTERS[index // 26] + _LETTERS[index % 26]
        return f"{self._code(whose)}{self._count:05d}"

    def _code(self, kind: Kind) -> str:
        code = self._kinds.get(kind)
        return f"{self._tag}-{code}{_END}" if code else ""


def derived(challenge: str, salt: bytes) -> str:
    """Return letters and digits made of a reviewer's nonce; the secret is their beginning.

    Raises:
        ValueError: the nonce is not hexadecimal.
    """
    return _as_letters(hashlib.sha256(bytes.fromhex(challenge) + salt).digest())


def _target(secret: str, kind: Kind | None = None, cut: Kind = CUT) -> _Target:
    if kind is None:
        bare = distinct(stripped_patterns(secret))
        return _Target(secret, distinct(patterns(secret)), bare, cut=cut)
    return _Target(secret, distinct(patterns(secret, USUAL)), [], kind)


def _longer(secret: str, longer: str, pattern: bytes, *, bare: bool) -> Iterator[bytes]:
    """Yield what a longer text looks like in every encoding in which the secret is `pattern`."""
    encode = stripped_patterns if bare else patterns
    for (_, short), (_, long) in zip(encode(secret), encode(longer), strict=True):
        if short == pattern:
            yield long


def _as_letters(digest: bytes) -> str:
    """Return a digest as letters and digits, a letter first (so that it may begin a name)."""
    number = int.from_bytes(digest, "big")
    number, first = divmod(number, len(_LETTERS))
    text = _LETTERS[first]
    while number:
        number, digit = divmod(number, len(_DIGITS))
        text += _DIGITS[digit]
    return text


def _checked(text: str) -> str:
    if not MIN_TEXT_CHARS <= len(text) <= MAX_TEXT_CHARS or not text.isprintable():
        raise BadCanary(
            f"--canary has {len(text)} characters; give {MIN_TEXT_CHARS} to {MAX_TEXT_CHARS}"
            " printable ones, which turn up nowhere by accident"
        )
    if len(_NOT_A_NAME.sub("", text.lower())) < MIN_TEXT_CHARS // 2:
        raise BadCanary("--canary also becomes a name; use more letters a-z and digits in it")
    return text
