"""Label matchers in Alertmanager's own words: `severity=~"critical|page"`, `team!=web`, `{"my label"="x"}`.

Alertmanager has two grammars, and so has this module: the classic one, and the UTF-8 one of 0.27 and later. As there,
a text that both can read means what the classic one says.
Sources: https://prometheus.io/docs/alerting/latest/configuration/#matcher, alertmanager's pkg/labels/parse.go and
matcher/parse. Unlike there, braces come in pairs: the classic grammar cuts the last one off `pod=~web-[0-9]{2}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from cloudpulse.config import Written
from cloudpulse.matcher import Matcher as Matcher

_CLASSIC = re.compile(r"[\t\n\f\r ]*([a-zA-Z_:][a-zA-Z0-9_:]*)[\t\n\f\r ]*(=~|=|!=|!~)[\t\n\f\r ]*", re.ASCII)
_TOKEN = re.compile(
    r"""\s*(?:(?P<operator>=~|!=|!~|=)|(?P<mark>[{},])|(?P<text>"(?:\\.|[^"\\])*"|[^\s{}!=~,\\"'`]+))""", re.S
)
_ESCAPE = re.compile(r"""\\(?:([abfnrtv\\"])|([0-3][0-7]{2})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|)""")
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'}


class MatcherError(ValueError):
    """A text that is no matcher; `column` counts characters from 1."""

    def __init__(self, column: int, message: str) -> None:
        super().__init__(f"column {column}: {message}")
        self.column = column


class PatternError(MatcherError):
    """The matcher is one, its regular expression isn't."""


class Matchers(Written):
    """Conditions of which all must hold; none holds always. In the config a text or a list of texts."""

    def __init__(self, *matchers: Matcher) -> None:
        self._matchers = matchers

    @classmethod
    def read(cls, value: object) -> Matchers:
        """From the config; raises ValueError that names the text and the column."""
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError("expected a list of matchers such as ['severity=~\"critical|page\"', 'team!=web']")
        found: list[Matcher] = []
        for text in texts:
            try:
                found += parse(text)
            except MatcherError as error:
                raise ValueError(f"can't read '{text}' at {error}") from None
        return cls(*found)

    def match(self, labels: Mapping[str, str]) -> bool:
        """Whether a set of labels fulfils them all."""
        return all(matcher.matches(labels) for matcher in self._matchers)

    def __iter__(self) -> Iterator[Matcher]:
        return iter(self._matchers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Matchers) and self._matchers == other._matchers

    def __hash__(self) -> int:
        return hash(self._matchers)

    def __repr__(self) -> str:
        return f"{{{', '.join(map(str, self._matchers))}}}"


def parse(text: str) -> tuple[Matcher, ...]:
    """The matchers of one text, separated by commas, in braces or without; raises MatcherError."""
    try:
        return tuple(_classic(text))
    except MatcherError as classic:
        try:
            return tuple(_utf8(text))
        except MatcherError as utf8:
            # The grammar that got further is the one that was meant; it got through where only the pattern is wrong.
            raise max(classic, utf8, key=lambda error: (isinstance(error, PatternError), error.column)) from None


def _classic(text: str) -> Iterator[Matcher]:
    opened, closed = text.startswith("{"), text.endswith("}")
    if opened != closed:
        column = len(text) if closed else 1
        raise MatcherError(column, "this brace has no other: put a value with braces into double quotes")
    for start, part in _parts(text, opened, len(text) - closed):
        head = _CLASSIC.match(part)
        if head is None:
            raise MatcherError(start + 1, 'expected a matcher such as severity="critical"')
        value = _classic_value(part[head.end() :].rstrip("\t\n\f\r "), start + head.end() + 1)
        yield _matcher(head[1], head[2], value, start + head.end() + 1)


def _parts(text: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    """What stands between commas outside of double quotes, with its place; an empty last one is left out."""
    quoted = escaped = False
    for position in range(start, end):
        match text[position]:
            case "," if not quoted:
                yield start, text[start:position]
                start = position + 1
            case '"':
                quoted, escaped = (quoted if escaped else not quoted), False
            case "\\":
                escaped = not escaped
            case _:
                escaped = False
    if text[start:end].strip():
        yield start, text[start:end].rstrip()


def _classic_value(raw: str, column: int) -> str:
    quoted = raw.startswith('"')
    inner = raw[1:] if quoted else raw
    if quoted and (len(raw) == 1 or not re.fullmatch(r'(?:\\.|[^"\\])*"', inner, re.S)):
        raise MatcherError(column, 'a value in double quotes must end with one, and have \\" for those inside')
    if not quoted and re.search(r'^(?:\\.|[^"\\])*"', inner, re.S):
        raise MatcherError(column, 'a double quote inside of a value must be written \\"')
    body = inner[:-1] if quoted else inner
    # Other escapes stay as they are: `\d` is one in a regular expression.
    return re.sub(r'\\([n"\\])', lambda found: "\n" if found[1] == "n" else found[1], body)


def _utf8(text: str) -> Iterator[Matcher]:
    tokens = list(_tokens(text))
    place = 0

    def peek(*kinds: str) -> tuple[str, str, int] | None:
        return tokens[place] if tokens[place][0] in kinds else None

    def expect(what: str, *kinds: str) -> tuple[str, str, int]:
        nonlocal place
        token = tokens[place]
        if token[0] not in kinds:
            raise MatcherError(token[2], f"expected {what}" + (f", got {token[1]}" if token[1] else ""))
        place += 1
        return token

    braces = peek("{")
    place += braces is not None
    while not peek("}", "end"):
        _, name, column = expect("a label name", "text")
        if not (label := _unquoted(name, column)):
            raise MatcherError(column, "expected a label name, got an empty one")
        operator = expect("an operator: =, !=, =~ or !~", "operator")[1]
        _, value, column = expect("a value, in double quotes where it has other signs than letters", "text")
        yield _matcher(label, operator, _unquoted(value, column), column)
        if not peek("}", "end"):
            expect("a comma", ",")
    if braces:
        expect("a closing brace", "}")
    expect("the end", "end")


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
    """Kind, text and column; kinds are `text`, `operator`, the marks themselves, and `end`."""
    position, end = 0, len(text.rstrip())
    while position < end:
        found = _TOKEN.match(text, position)
        if found is None:
            column = position + len(text[position:]) - len(text[position:].lstrip()) + 1
            raise MatcherError(
                column, f"unexpected {text[column - 1]}: put names and values with such into double quotes"
            )
        kind = str(found.lastgroup)
        yield found[kind] if kind == "mark" else kind, found[kind], found.start(kind) + 1
        position = found.end()
    yield "end", "", end + 1


def _unquoted(token: str, column: int) -> str:
    """What Go's strconv.Unquote makes of a text in double quotes; another text as it is."""
    if not token.startswith('"'):
        return token

    def unescape(found: re.Match[str]) -> bytes:
        simple, octal, byte, *runes = found.groups()
        if simple is not None:
            return _ESCAPED[simple].encode()
        if octal is not None:
            return bytes([int(octal, 8)])
        if byte is not None:
            return bytes([int(byte, 16)])
        rune = next((rune for rune in runes if rune is not None), None)
        if rune is None:
            raise MatcherError(column + found.start() + 1, "unknown escape: a backslash itself is written \\\\")
        return chr(int(rune, 16)).encode()

    body, out, position = token[1:-1], b"", 0
    if "\n" in body:
        raise MatcherError(column + 1 + body.index("\n"), "a line feed in double quotes must be written \\n")
    try:
        for found in _ESCAPE.finditer(body):
            out += body[position : found.start()].encode() + unescape(found)
            position = found.end()
        return (out + body[position:].encode()).decode()
    except (ValueError, OverflowError) as error:
        if isinstance(error, MatcherError):
            raise
        raise MatcherError(column, "expected UTF-8 text") from None


def _matcher(name: str, operator: str, value: str, column: int) -> Matcher:
    try:
        return Matcher(name, operator, value)
    except ValueError as error:
        raise PatternError(column, str(error)) from None
