"""The demo's demand: a real trace, replayed as two weeks of history that ends now, and on from there.

A minute of the trace belongs to a minute of the clock once and for all (kept in `anchor.json`), with the same
time of day, so that the history written at the start and the samples scraped later are one series.
"""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.core import Metric

from cloudpulse import names, share
from cloudpulse.clock import Clock
from cloudpulse.local import past
from cloudpulse.local.programs import Programs
from cloudpulse.serving import Face, Health

DAY = 86400
HISTORY_DAYS = 14


@dataclass(frozen=True)
class Trace:
    """Demand by application, one value a minute, whole days; the first minute is midnight."""

    values: Mapping[str, list[float]]

    @property
    def days(self) -> int:
        """Length."""
        return len(next(iter(self.values.values()))) // 1440

    def at(self, app: str, minute: int) -> float:
        """Demand at a minute; the trace repeats."""
        column = self.values[app]
        return column[minute % len(column)]


def load() -> Trace:
    """The trace that ships with CloudPulse (examples/data/README.md names its sources)."""
    with gzip.open(share.path("examples", "data", "demand.csv.gz"), "rt", encoding="utf-8", newline="") as file:
        rows = csv.reader(file)
        apps = next(rows)[1:]
        columns = zip(*([float(cell) for cell in row[1:]] for row in rows), strict=True)
        return Trace(dict(zip(apps, map(list, columns), strict=True)))


@dataclass(frozen=True)
class Replay:
    """The trace laid on the clock: its first minute is at `anchor` (Unix seconds, a midnight UTC)."""

    trace: Trace
    anchor: float

    def minute(self, now: float) -> int:
        """The trace's minute at Unix time `now`."""
        return int((now - self.anchor) // 60)

    def collect(self, now: float) -> Iterable[Metric]:
        """The demand at `now`."""
        family = names.DEMO_REQUESTS.family()
        for app in self.trace.values:
            family.add_sample(names.DEMO_REQUESTS.name, {"app": app}, self.trace.at(app, self.minute(now)))
        yield family


def prepare(folder: Path, programs: Programs, trace: Trace, instance: str, now: float) -> Replay:
    """A replay whose past is in the Prometheus data of `folder`: as left by an earlier run, or written anew.

    Written anew when the trace would run out, nothing is there, or it is of another `instance`: the target that will
    be scraped, a label of every sample.
    Raises CloudPulseError when promtool fails.
    """
    kept = folder / "anchor.json"
    last = (trace.days - HISTORY_DAYS) * DAY
    if kept.exists():
        written = json.loads(kept.read_text())
        replay = Replay(trace, float(written["anchor"]))
        if written.get("instance") == instance and now - replay.anchor < HISTORY_DAYS * DAY + last:
            return replay
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    replay = Replay(trace, now // DAY * DAY - HISTORY_DAYS * DAY)
    (folder / "prometheus").mkdir()
    past.write(programs.promtool, _open_metrics(replay, instance, now), folder / "prometheus")
    kept.write_text(json.dumps({"anchor": replay.anchor, "instance": instance}))
    return replay


def _open_metrics(replay: Replay, instance: str, now: float) -> Iterable[str]:
    """The last two weeks in OpenMetrics text, as scraped: with the labels that the scrape would add."""
    definition = names.DEMO_REQUESTS
    yield f"# TYPE {definition.name} gauge\n"
    first = int((now - HISTORY_DAYS * DAY) // 60) * 60
    for app in replay.trace.values:
        labels = f'{{app="{app}",instance="{instance}",job="demo"}}'
        for moment in range(first, int(now), 60):
            yield f"{definition.name}{labels} {replay.trace.at(app, replay.minute(moment))} {moment}\n"
    yield "# EOF\n"


def face(replay: Replay, clock: Clock) -> Face:
    """What Prometheus scrapes during the demo."""

    class Now:
        def collect(self) -> Iterable[Metric]:
            return replay.collect(clock())

    return Face("CloudPulse demo", [Now()], lambda: Health(True, {"days replayed": replay.trace.days}))
