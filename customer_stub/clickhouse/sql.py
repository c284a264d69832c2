"""As much of ClickHouse's grammar as it takes to tell what a statement is, and where its data are.

The engine parses statements itself; this reads them first, because the engine would run several at
once, write files and read whatever the process may read. What isn't understood is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from customer_stub.clickhouse import errors

_TOKEN = re.compile(
    rb"""
    (?P<space>(?:[ \t\r\n\f\v]|--[^\n]*|\#[ !][^\n]*|/\*.*?\*/)+)
  | (?P<text>'(?:[^'\\]|\\.|'')*')
  | (?P<quoted>"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`)
  | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<number>[0-9][A-Za-z0-9_.]*)
  | (?P<heredoc>\$(?P<tag>[A-Za-z0-9_]*)\$.*?\$(?P=tag)\$)
  | (?P<mark>[!\#-&(-_a-~])
    """,
    re.VERBOSE | re.DOTALL,
)
_NEWLINE = re.compile(rb"[ \t\f]*;?[ \t\f]*\r?\n?")  # between FORMAT's name and the data
READS = frozenset({"SELECT", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "EXISTS"})
_CHANGES_WORDS = """
    INSERT CREATE ALTER DROP TRUNCATE RENAME EXCHANGE OPTIMIZE ATTACH DETACH UNDROP DELETE UPDATE
    SET USE GRANT REVOKE KILL SYSTEM BACKUP RESTORE CHECK BEGIN COMMIT ROLLBACK EXECUTE WATCH MOVE
"""
_KINDS = READS | frozenset(_CHANGES_WORDS.split())
_SELECTS = frozenset({"SELECT", "WITH", "FROM", "("})


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a statement; `word` is its name in upper case, quoted or not, else empty."""

    kind: str
    start: int
    end: int
    word: str
    depth: int


@dataclass(slots=True)
class Statement:
    """One statement, and what a policy has to know about it.

    Attributes:
        kind: first keyword in upper case; SELECT also for WITH, FROM and parentheses.
        text: the statement without its data and without a semicolon.
        format: the FORMAT clause's name, for INSERT the format of the data; empty if absent.
        calls: lower-case names with a parenthesis behind them.
        names: every lower-case name, quoted ones included.
        phrases: pairs of neighbouring keywords, such as INTO OUTFILE.
        selects: an INSERT whose rows come from a query, so that no data follow.
        data_at: where an INSERT's data begin in what was parsed; None without any.
        clauses_at: where FROM INFILE would stand in `text`.
    """

    kind: str
    text: bytes
    format: str = ""
    calls: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    phrases: set[tuple[str, str]] = field(default_factory=set)
    selects: bool = False
    data_at: int | None = None
    clauses_at: int = 0

    def from_file(self, path: str) -> str:
        """Return the INSERT that reads its data from a file instead."""
        head, tail = self.text[: self.clauses_at], self.text[self.clauses_at :]
        return f"{head.decode()} FROM INFILE '{path}' {tail.decode()} FORMAT {self.format}"


def parse(source: bytes) -> Statement:
    """Read one statement.

    Args:
        source: the statement; behind an INSERT's FORMAT or VALUES anything may follow.

    Raises:
        QueryError: nothing, more than one statement, or text that is no token (62).
    """
    tokens = _tokens(source)
    first = next(tokens, None)
    if first is None:
        raise errors.syntax("the query is empty")
    kind = first.word or source[first.start : first.end].decode("ascii", "replace")
    statement = Statement("SELECT" if kind in _SELECTS else kind, source)
    if statement.kind not in _KINDS:
        raise errors.syntax("failed at position 1: no statement begins like this")
    _read(statement, source, first, tokens)
    return statement


def _read(statement: Statement, source: bytes, first: Token, tokens: Iterator[Token]) -> None:
    previous, end = first, first.end
    body: list[Token] = [first]
    _note(statement, None, first, source)
    for token in tokens:
        if source[token.start : token.end] == b";":
            _only_the_end(tokens)
            break
        if (previous.word, token.word) == ("INSERT", "INTO") and not token.depth:
            statement.kind = "INSERT"  # also WITH … INSERT
        _note(statement, previous, token, source)
        body.append(token)
        previous, end = token, token.end
        if statement.kind == "INSERT" and _data_follow(statement, body, source):
            return
    statement.text = source[:end]
    if statement.kind != "INSERT":
        statement.format = _format(body, source)


def _note(statement: Statement, previous: Token | None, token: Token, source: bytes) -> None:
    if token.word:
        statement.names.add(token.word.lower())
    if previous is not None and previous.word:
        if source[token.start : token.end] == b"(":
            statement.calls.add(previous.word.lower())
        if token.word:
            statement.phrases.add((previous.word, token.word))


def _data_follow(statement: Statement, body: list[Token], source: bytes) -> bool:
    """Whether the last tokens are those in front of an INSERT's data; then note where."""
    last = body[-1]
    before = body[-2] if len(body) > 1 else None
    if last.depth or last.kind != "word":
        return False
    statement.selects |= last.word == "SELECT"
    if statement.selects:
        return False
    if last.word == "VALUES":
        statement.format, keyword, statement.data_at = "Values", last, last.end
    elif before is not None and before.word == "FORMAT" and before.kind == "word":
        statement.format = source[last.start : last.end].decode()
        gap = _NEWLINE.match(source, last.end)
        keyword, statement.data_at = before, gap.end() if gap else last.end
    else:
        return False
    statement.text = source[: keyword.start]
    settings = [t for t in body if t.kind == "word" and t.word == "SETTINGS" and not t.depth]
    statement.clauses_at = settings[-1].start if settings else keyword.start
    return True


def _format(body: list[Token], source: bytes) -> str:
    """Return the name of the FORMAT clause that ends a query, SETTINGS behind it or not."""
    for place in range(len(body) - 1, 0, -1):
        name, keyword = body[place], body[place - 1]
        if keyword.kind == "word" and keyword.word == "FORMAT" and not keyword.depth:
            last = place == len(body) - 1
            settings = not last and body[place + 1].word == "SETTINGS"
            known = name.kind == "word" and (last or settings)
            return source[name.start : name.end].decode() if known else ""
    return ""


def _only_the_end(tokens: Iterator[Token]) -> None:
    if next(tokens, None) is not None:
        raise errors.syntax("Multi-statements are not allowed")


def _tokens(source: bytes) -> Iterator[Token]:
    place, depth = 0, 0
    while place < len(source):
        match = _TOKEN.match(source, place)
        if match is None:
            raise errors.syntax(f"failed at position {place + 1}: no token")
        kind = match.lastgroup or ""
        place = match.end()
        if kind == "space":
            continue
        depth -= kind == "mark" and match[0] in (b")", b"]", b"}")
        yield Token(kind, match.start(), match.end(), _word(kind, match[0]), depth)
        depth += kind == "mark" and match[0] in (b"(", b"[", b"{")


def _word(kind: str, text: bytes) -> str:
    if kind == "word":
        return text.decode().upper()
    if kind == "quoted":
        if b"\\" in text:
            raise errors.syntax("escapes in names are not supported")
        return text[1:-1].decode("utf-8", "replace").upper()
    return ""
