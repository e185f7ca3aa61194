"""The text format read strictly, as Prometheus' own parser does: whatever it refuses is refused.

prometheus_client's parser is laxer by its own word (it takes half a line for a whole), adds `_total` to names, and is
10 MiB of imports.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format and expfmt/text_parse.go of
https://github.com/prometheus/common.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cloudpulse.families import ForeignFamily, ForeignSample

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_PAIR = r'[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\["\\n])*+)"[ \t]*'
_SAMPLE = re.compile(
    rf'({_NAME})(?:[ \t]*\{{((?:[^"}}]|"(?:[^"\\]|\\.)*+")*+)\}}[ \t]*|[ \t]+)([^ \t]++)(?:[ \t]+(-?[0-9]+))?[ \t]*'
)
_LABEL = re.compile(rf"{_PAIR}(?:,|$)")
_COMMENT = re.compile(rf"#[ \t]*(HELP|TYPE)[ \t]+({_NAME})(?:[ \t]+(.*))?")
_MEANT = re.compile(r"#[ \t]*(?:HELP|TYPE)[ \t]+[^ \t]")
_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]++\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?)|nan", re.ASCII | re.IGNORECASE
)
_HELP = re.compile(r"(?:[^\\]|\\[\\n])*+")
_ESCAPE = re.compile(r"\\([\\n])")
_KINDS = {"counter": "", "gauge": "", "untyped": "", "histogram": "le", "summary": "quantile"}
"""A family's type, and the label that a sample of its own name (a histogram's: `_bucket`) must have."""

_SUFFIXES = ("_bucket", "_count", "_sum")


class FormatError(ValueError):
    """The text isn't in the format; the message says in which line, and never what stands there."""


@dataclass(slots=True)
class Written:
    """A family as it is written; `kind` is the format's word."""

    name: str
    help: str = ""
    kind: str = "untyped"
    samples: list[ForeignSample] = field(default_factory=list)

    def names(self) -> Iterator[str]:
        """Every name that a reader may take for its own: the family's and those of its samples."""
        yield self.name
        if self.kind in ("histogram", "summary"):
            yield from (self.name + suffix for suffix in _SUFFIXES)

    def shown(self) -> ForeignFamily:
        """For the page. A counter has to end in `_total` there; another is of no type, since names are kept."""
        if self.kind == "counter" and self.name.endswith("_total"):
            return ForeignFamily(self.name.removesuffix("_total"), self.help, self.kind, self.samples)
        kind = "unknown" if self.kind in ("untyped", "counter") else self.kind
        return ForeignFamily(self.name, self.help, kind, self.samples)


def families(text: str) -> list[Written]:
    """The families that have samples, in the order of their first lines. Raises FormatError."""
    if text and not text.endswith("\n"):
        raise FormatError("its last line has no end: was it read half written?")
    page = _Page()
    for number, line in enumerate(text.split("\n"), 1):
        try:
            page.read(line.lstrip(" \t"))
        except FormatError as error:
            raise FormatError(f"line {number}: {error}") from None
    return [family for family in page.families.values() if family.samples]


class _Page:
    def __init__(self) -> None:
        self.families: dict[str, Written] = {}
        self._helped: set[str] = set()
        self._typed: set[str] = set()
        self._seen: set[tuple[str, str]] = set()

    def read(self, line: str) -> None:
        if line.startswith("#"):
            self._comment(line)
        elif line:
            self._sample(line)

    def _comment(self, line: str) -> None:
        found = _COMMENT.fullmatch(line)
        if found is None:
            if _MEANT.match(line):
                raise FormatError("HELP or TYPE of what isn't a metric's name")
            return
        word, name, rest = found[1], found[2], found[3] or ""
        if word == "TYPE" and not rest:
            return
        family = self.families.setdefault(name, Written(name))
        done = self._helped if word == "HELP" else self._typed
        if name in done:
            raise FormatError(f"a second {word} of {name}")
        done.add(name)
        if word == "HELP" and not _HELP.fullmatch(rest):
            raise FormatError(f"HELP of {name}: expected \\ and line ends escaped, and nothing else")
        if word == "HELP":
            family.help = _unescaped(rest)
        elif (kind := rest.strip(" \t").lower()) not in _KINDS:
            raise FormatError(f"unknown type of {name}: expected one of {', '.join(_KINDS)}")
        elif family.samples:
            raise FormatError(f"TYPE of {name} after its samples")
        else:
            family.kind = kind

    def _sample(self, line: str) -> None:
        found = _SAMPLE.fullmatch(line)
        if found is None or (value := _number(found[3])) is None:
            raise FormatError('expected name{label="value",…} number')
        if found[4] is not None:
            raise FormatError("a timestamp: samples are scraped, and have the time of the scrape")
        name, labels = sys.intern(found[1]), _labels(found[2] or "")
        family = self._family(name)
        needed = _needed(family, name)
        if needed is not None and needed not in labels:
            raise FormatError(f"a sample of the {family.kind} {family.name} without the label {needed}")
        if needed is not None and _number(labels[needed]) is None:
            raise FormatError(f"a sample of the {family.kind} {family.name} whose label {needed} is no number")
        sample = ForeignSample(name, _block(labels), value)
        if sample[:2] in self._seen:
            raise FormatError(f"a second sample of {name} with the same labels")
        self._seen.add(sample[:2])
        family.samples.append(sample)

    def _family(self, name: str) -> Written:
        """The one that the sample belongs to: histograms and summaries have samples of several names."""
        for suffix in _SUFFIXES:
            owner = self.families.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
            if owner is not None and (owner.kind == "histogram" or (owner.kind == "summary" and suffix != "_bucket")):
                return owner
        return self.families.setdefault(name, Written(name))


def _needed(family: Written, name: str) -> str | None:
    if family.kind == "histogram" and name == family.name:
        raise FormatError(f"a sample {name} of a histogram: expected {name}_bucket, _sum or _count")
    if name in (family.name, f"{family.name}_bucket"):
        return _KINDS[family.kind] or None
    return None


def _number(text: str) -> float | None:
    """None where it isn't one, or is too large for one: 1e999 isn't infinite."""
    value = float(text) if _NUMBER.fullmatch(text) else None
    return None if value is not None and math.isinf(value) and "i" not in text.lower() else value


def _labels(text: str) -> dict[str, str]:
    """By name, their values escaped as they are."""
    text = text.rstrip(" \t")
    labels: dict[str, str] = {}
    place = 0
    while place < len(text):
        found = _LABEL.match(text, place)
        if found is None:
            raise FormatError('expected labels such as {name="value"}, with \\, " and line ends escaped')
        name, value = found[1], found[2]
        if name in labels or name == "__name__":
            raise FormatError(f"the label {name} {'twice' if name in labels else 'is reserved'}")
        labels[name] = value
        place = found.end()
    return labels


def _block(labels: Mapping[str, str]) -> str:
    """As they stand in a line, the same for the same series: in order, and without those that are empty, hence none."""
    pairs = ",".join(f'{name}="{value}"' for name, value in sorted(labels.items()) if value)
    return f"{{{pairs}}}" if pairs else ""


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], text) if "\\" in text else text
