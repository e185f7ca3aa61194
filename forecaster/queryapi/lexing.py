"""The words of a query: for what the parser can't be trusted with, and for saying where an error is.

`promql-parser` overflows the stack (which ends the process) on deep nesting, reads regular expressions as Rust does,
panics on a negative `@`, and names no positions. So its input is looked over here first: nesting is limited, strings
and times after `@` are replaced by numbers that stand for them, and come back when the tree is made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from forecaster.queryapi.refusals import BadQuery

MOST_CHARACTERS = 10_000
MOST_TOKENS = 2_000
DEEPEST = 64

_TOKEN = re.compile(
    r"""(?P<blank>\s+|\#[^\r\n]*)
      | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`[^`]*`)
      | (?P<number>0[xX][0-9a-fA-F]+|(?:[0-9]+(?:ms|[smhdwy]))+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
      | (?P<word>[a-zA-Z_][a-zA-Z0-9_:]*|:[a-zA-Z_:][a-zA-Z0-9_:]*)
      | (?P<sign>=~|!~|==|!=|<=|>=|.)""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)
PAIRS = {"(": ")", "[": "]", "{": "}"}
_PLAIN_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "'": 39, '"': 34}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|([0-7]{3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_PLACEHOLDER = re.compile("\x01([0-9]+)\x02")
_MARKS = "\x01\x02"


@dataclass(frozen=True)
class Token:
    """A word, a number, a string or a sign, and where it begins."""

    kind: str
    text: str
    start: int


@dataclass(frozen=True)
class Masked:
    """A query whose strings and `@` times are replaced; `tokens` are those of `text`, which the user wrote."""

    text: str
    tokens: tuple[Token, ...]
    words: tuple[str, ...]  # of the parser's input, one for each token
    strings: tuple[str, ...]
    moments: tuple[float, ...]  # Unix seconds

    def restored(self, text: str) -> str:
        """What was meant where the parser says `text`."""
        return _PLACEHOLDER.sub(lambda match: self.strings[int(match[1])], text)

    def where(self, position: int) -> str:
        """`line:column` as Prometheus counts them: from 1, in characters."""
        before = self.text[:position]
        return f"{before.count(chr(10)) + 1}:{position - before.rfind(chr(10))}"


def masked(text: str) -> Masked:
    """Look over a query. Raises BadQuery."""
    if len(text) > MOST_CHARACTERS:
        raise BadQuery(f"cloudpulse: a query of {len(text)} characters; {MOST_CHARACTERS} are the most here")
    tokens = tuple(_tokens(text))
    if len(tokens) > MOST_TOKENS:
        raise BadQuery(f"cloudpulse: a query of {len(tokens)} words; {MOST_TOKENS} are the most here")
    strings: list[str] = []
    moments: list[float] = []
    words: list[str] = []
    empty = Masked(text, tokens, (), (), ())
    for i, token in enumerate(tokens):
        word = token.text
        if token.kind == "string":
            word = f'"{_MARKS[0]}{len(strings)}{_MARKS[1]}"'
            strings.append(_unquoted(token, empty))
        elif _follows_at(tokens, i):
            if token.text in "+-":
                word = ""
            elif token.kind == "number" or token.text.lower() in ("inf", "nan"):
                word = str(len(moments))
                moments.append(_moment(tokens, i, empty))
        words.append(word)
    _check_nesting(empty)
    return Masked(text, tokens, tuple(words), tuple(strings), tuple(moments))


def _tokens(text: str) -> list[Token]:
    found = []
    for match in _TOKEN.finditer(text):
        kind, word = str(match.lastgroup), match[0]
        if kind == "sign" and word in "\"'`":
            where = Masked(text, (), (), (), ()).where(match.start())
            raise BadQuery(f"{where}: parse error: unterminated quoted string")
        if kind != "blank":
            found.append(Token(kind, word, match.start()))
    return found


def _follows_at(tokens: tuple[Token, ...], i: int) -> bool:
    """Whether only signs stand between an `@` and this token."""
    while i and tokens[i - 1].text in ("+", "-"):
        i -= 1
    return i > 0 and tokens[i - 1].text == "@"


def _moment(tokens: tuple[Token, ...], i: int, whole: Masked) -> float:
    word = tokens[i].text
    try:
        value = float(int(word, 16)) if word[:2] in ("0x", "0X") else float(word)
    except ValueError:
        raise BadQuery(f"{whole.where(tokens[i].start)}: parse error: expected a number after @") from None
    while tokens[i - 1].text != "@":
        i -= 1
        value = -value if tokens[i].text == "-" else value
    if not abs(value) < 9e15:
        raise BadQuery(f"{whole.where(tokens[i].start)}: parse error: timestamp out of bounds for @ modifier: {value}")
    return value


def _check_nesting(whole: Masked) -> None:
    """Brackets, and signs before an operand or after `^`, are what trees grow deep of."""
    depth = run = 0
    for token in whole.tokens:
        if token.text in PAIRS:
            depth += 1
        elif token.text in PAIRS.values():
            depth -= 1
        run = run + 1 if token.text in ("+", "-") else 0
        if max(depth, run) > DEEPEST:
            raise too_deep(whole.where(token.start))


def too_deep(where: str = "") -> BadQuery:
    """What is said of a query that is nested too deeply."""
    place = f"{where}: parse error: " if where else ""
    return BadQuery(f"{place}cloudpulse: nested more than {DEEPEST} deep, which is the most here")


def _unquoted(token: Token, whole: Masked) -> str:
    """As Go's strconv.Unquote: bytes may be named one by one, and what isn't Unicode becomes a replacement."""
    if token.text[0] == "`":
        return token.text[1:-1].replace("\r", "")

    def byte(match: re.Match[str]) -> str:
        hexadecimal, octal, short, long, plain = match.groups()
        if plain is not None:
            if plain not in _PLAIN_ESCAPES or (plain in "\"'" and plain != token.text[0]):
                raise BadQuery(f"{whole.where(token.start)}: parse error: unknown escape sequence \\{plain}")
            return chr(_PLAIN_ESCAPES[plain])
        if hexadecimal or octal:
            number = int(hexadecimal, 16) if hexadecimal else int(octal, 8)
            if number > 255:
                raise BadQuery(f"{whole.where(token.start)}: parse error: no byte is \\{octal}")
            return chr(0xDC00 + number) if number > 127 else chr(number)
        code = int(short or long, 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise BadQuery(f"{whole.where(token.start)}: parse error: escape sequence is no Unicode code point")
        return chr(code)

    return _ESCAPE.sub(byte, token.text[1:-1]).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
