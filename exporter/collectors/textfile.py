"""The series of other programs, from *.prom files, by node_exporter's rules.

A file is shown as a whole or not at all. https://github.com/prometheus/node_exporter#textfile-collector
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from cloudpulse import itself, logs, names
from exporter.config import TextfileSettings
from exporter.families import Family, many, one

if TYPE_CHECKING:
    from exporter.textfiles import Reading, Textfiles
    from exporter.textformat import Written

_OURS = frozenset(definition.name for definition in (*names.definitions(), *itself.DEFINITIONS))
_SAID_BY_PROMETHEUS = frozenset(
    {
        "up",
        *("scrape_duration_seconds", "scrape_samples_scraped", "scrape_samples_post_metric_relabeling"),
        *("scrape_series_added", "scrape_timeout_seconds", "scrape_sample_limit", "scrape_body_size_bytes"),
    }
)
"""Of each scrape, unless the page says so first: https://prometheus.io/docs/concepts/jobs_instances/."""

Identity = tuple[str, str]
"""A series' name and labels."""

log = logs.get(__name__)


class TextfileCollector:
    """Shows the files of the settings' directories; nothing at all where there are none. One thread at a time."""

    def __init__(self, settings: TextfileSettings) -> None:
        self._files = _textfiles(settings) if settings.directories else None
        self._page = _Page()
        self._said: dict[str, str] = {}

    def collect(self) -> Iterable[Family]:
        """See Collector."""
        if self._files is None:
            return
        readings, problems = self._files.read()
        if self._page.readings != tuple(readings.items()):
            self._page = _Page(readings)
        page = self._page
        problems |= page.refused
        self._say(page.notes | problems)
        yield many(names.TEXTFILE_MTIME, (((path,), mtime) for path, mtime in page.shown.items()))
        yield one(names.TEXTFILE_ERROR, float(bool(problems)))
        yield from page.families

    def _say(self, problems: Mapping[str, str]) -> None:
        """Log each problem once, and when it is over."""
        for path, problem in problems.items():
            if self._said.get(path) != problem:
                log.warning("textfile", file=path, problem=problem)
        for path in self._said.keys() - problems.keys():
            log.info("textfile fine again, or gone", file=path)
        self._said = dict(problems)


def _textfiles(settings: TextfileSettings) -> Textfiles:
    # Imported here: whoever has no directory does without the parser.
    from exporter.textfiles import Textfiles

    return Textfiles(settings)


class _Page:
    """What the files give together. Of two that clash, the first in order is shown."""

    def __init__(self, readings: Mapping[str, Reading] | None = None) -> None:
        self.readings = tuple((readings or {}).items())
        self.refused: dict[str, str] = {}
        self.notes: dict[str, str] = {}
        self.shown: dict[str, float] = {}
        self._written: dict[str, Written] = {}
        self._owners: dict[str, tuple[str, str]] = {}
        series: set[Identity] = set()
        for path, reading in self.readings:
            refusal = reading.refusal or self._clash(reading.families, series)
            if refusal is not None:
                self.refused[path] = refusal
                continue
            self.shown[path] = reading.mtime
            self._add(path, reading.families)
            series.update(_identities(reading.families))
        self.families = [family.shown() for family in self._written.values()]

    def _clash(self, added: Iterable[Written], series: set[Identity]) -> str | None:
        for family in added:
            for name in family.names():
                if name in _OURS:
                    return f"{name} is a series of the exporter itself: choose another name"
                if name in _SAID_BY_PROMETHEUS:
                    return f"{name} is what Prometheus itself says of every scrape: choose another name"
                file, owner = self._owners.get(name, ("", family.name))
                if owner != family.name:
                    return f"{name} is also a name of {owner} in {file}"
            known = self._written.get(family.name)
            if known is not None and known.kind != family.kind:
                return f"{family.name} is a {family.kind} here, but a {known.kind} in {self._owners[family.name][0]}"
            if known is not None and not series.isdisjoint(_identities([family])):
                return f"a series of {family.name} is in another file, too, such as {self._owners[family.name][0]}"
        return None

    def _add(self, path: str, added: Iterable[Written]) -> None:
        for family in added:
            known = self._written.get(family.name)
            if known is None:
                about = family.help or f"Metric read from {path}"
                self._written[family.name] = replace(family, help=about, samples=list(family.samples))
                self._owners |= dict.fromkeys(family.names(), (path, family.name))
                continue
            first = self._owners[family.name][0]
            if family.help and known.help != family.help:
                self.notes[path] = f"another HELP of {family.name} than in {first}, whose is shown"
            known.samples.extend(family.samples)


def _identities(families: Iterable[Written]) -> Iterator[Identity]:
    return (sample[:2] for family in families for sample in family.samples)
