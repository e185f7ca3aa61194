"""A forecaster's whole HTTP face over a pipeline that is driven by hand, for what shows it to people."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cloudpulse.promql import Series
from cloudpulse.streaming import Streams
from cloudpulse.testing import FakeSource, serving
from cloudpulse.websocket import WebSocket
from forecaster.app import face
from forecaster.config import Target, Threshold
from forecaster.demotion import Demoted
from forecaster.earlier import Earlier
from forecaster.live import opener
from forecaster.rounds import Rounds
from forecaster.store import Issue
from forecaster.stream import Stream
from tests.forecaster.conftest import Bench, daily

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
"""A label that would run, were it ever taken for markup."""


class HandRounds(Rounds):
    """Rounds without threads: what is configured, and how it stands, is as the test says."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(lambda _: bench.pipeline, bench.store, bench.meters, bench.clock)
        self.shown: dict[str, str] = {}
        self.wanted: list[Target] = []

    def states(self) -> dict[str, str]:
        return dict(self.shown)

    def targets(self) -> list[Target]:
        return list(self.wanted)


@dataclass
class Stage:
    """What a page is shown, at a time that is now."""

    bench: Bench
    rounds: HandRounds
    stream: Stream
    earlier: list[Series] = field(default_factory=list)
    url: str = ""

    def forecast(self, labels: list[dict[str, str]], rounds: int = 2) -> None:
        """Series with these labels, seen and forecast so many times."""
        self.bench.clock.now = time.time() - 300.0 * (rounds - 1)
        self.bench.series[:] = [
            lambda one=one, i=i: daily(self.bench.clock, {"__name__": "rps", **one}, level=100.0 + 7 * i)
            for i, one in enumerate(labels)
        ]
        self.bench.rounds(rounds)
        self.rounds.wanted = [self.bench.target]
        self.rounds.shown = {self.bench.target.name: "ok"}

    def again(self) -> None:
        """Another round at a later moment."""
        self.bench.rounds(1)

    @property
    def issue(self) -> Issue:
        issue = self.bench.store.get(self.bench.target.name)
        assert issue is not None
        return issue

    def alert(self, name: str, status: str = "firing", **labels: str) -> None:
        """The alert bridge tells of one."""
        began = datetime.fromtimestamp(time.time(), UTC).isoformat()
        alert = {
            "status": status,
            "fingerprint": name,
            "labels": {"alertname": name, **labels},
            "annotations": {"summary": f"summary of {name}"},
            "startsAt": began,
        }
        self.stream.alert(json.dumps({"kind": "alerts", "id": 1, "at": began, "alerts": [alert]}).encode())

    def change(self, **changes: Any) -> None:
        """The newest issue, but for these."""
        self.bench.store.put(replace(self.issue, **changes))

    def demote(self, model: str, ratio: float = 2.7) -> None:
        """One model has no say in the first series an hour ahead."""
        rows = len(self.issue.forecast.labels)
        since, size = np.full((rows, 2), np.nan), np.full((rows, 2), np.nan)
        since[0, 1], size[0, 1] = time.time() - 3600, ratio
        leads = tuple(float(horizon) for horizon in self.issue.target.horizons)
        self.change(demoted=Demoted(leads, {model: since}, {model: size}))


def target(**changes: Any) -> dict[str, Any]:
    """Settings of a forecast whose threshold the second of its series crosses every day."""
    return {"thresholds": (Threshold(value=140.0),), **changes}


@contextlib.contextmanager
def staged(folder: Path, **changes: Any) -> Iterator[Stage]:
    """The face, served over real HTTP, with nothing forecast yet."""
    bench = Bench(folder, max_series=20000, **target(**changes))
    bench.clock.now = time.time()
    streams = Streams(100)
    stream = Stream(bench.clock, streams.wake)
    bench.store.listen(stream.changed)
    stage = Stage(bench, HandRounds(bench), stream)
    earlier = Earlier(FakeSource(lambda _: stage.earlier, bench.clock))
    names = opener(stream, lambda: [one.name for one in stage.rounds.targets()])
    socket = WebSocket(streams, names, lambda _: None)
    with serving(face(bench.store, stage.rounds, bench.clock, [], None, earlier, socket=socket)) as url:
        streams.start()
        stage.url = url
        yield stage
        streams.close()
