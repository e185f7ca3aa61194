from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cloudpulse.durations import Duration
from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from forecaster.config import Target
from forecaster.history import OVERLAP_SECONDS, History

TARGET = Target(name="x", query="x", step=Duration(60), history=Duration(7200), horizons=(Duration(600),))


class Recorded:
    """A Prometheus whose samples can be changed between reads."""

    def __init__(self) -> None:
        self.clock = FakeClock(1_700_000_040.0)
        self.values: dict[str, dict[float, float]] = {"a": {}}
        self.source = FakeSource(lambda _: [self.series(app) for app in self.values], self.clock)

    def series(self, app: str) -> Series:
        times = sorted(self.values[app])
        return Series({"app": app}, np.array(times), np.array([self.values[app][t] for t in times]))

    def fill(self, app: str, start: float, end: float, value: float) -> None:
        for moment in np.arange(start // 60 * 60, end, 60.0):
            self.values.setdefault(app, {})[float(moment)] = value


@pytest.fixture
def recorded() -> Recorded:
    made = Recorded()
    made.fill("a", made.clock() - 9000, made.clock(), 1.0)
    return made


def test_the_first_read_is_whole_and_the_next_only_what_is_new(recorded: Recorded, tmp_path: Path) -> None:
    ranges = []
    whole = recorded.source.range

    def watched(query: str, start: float, end: float, step: float) -> list[Series]:
        ranges.append(end - start)
        return whole(query, start, end, step)

    recorded.source.range = watched  # type: ignore[method-assign]
    history = History(TARGET, tmp_path / "h")
    assert history.update(recorded.source, recorded.clock()).length == 120
    recorded.clock.advance(60)
    recorded.fill("a", recorded.clock() - 60, recorded.clock(), 1.0)
    frame = history.update(recorded.source, recorded.clock())
    assert ranges == [7200 - 60, OVERLAP_SECONDS + 60]
    assert frame.length == 120
    assert not np.isnan(frame.values).any()


def test_late_and_corrected_samples_win(recorded: Recorded, tmp_path: Path) -> None:
    history = History(TARGET, tmp_path / "h")
    history.update(recorded.source, recorded.clock())
    recorded.clock.advance(60)
    recorded.fill("a", recorded.clock() - 240, recorded.clock() + 1, 2.0)
    frame = history.update(recorded.source, recorded.clock())
    assert frame.values[0, -4:].tolist() == [2, 2, 2, 2]
    assert frame.values[0, 0] == 1


def test_a_new_series_begins_where_it_begins(recorded: Recorded, tmp_path: Path) -> None:
    history = History(TARGET, tmp_path / "h")
    history.update(recorded.source, recorded.clock())
    recorded.clock.advance(60)
    recorded.fill("a", recorded.clock() - 60, recorded.clock() + 1, 1.0)
    recorded.fill("b", recorded.clock() - 60, recorded.clock() + 1, 5.0)
    frame = history.update(recorded.source, recorded.clock())
    assert [labels["app"] for labels in frame.labels] == ["a", "b"]
    assert np.isnan(frame.values[1, :-3]).all()
    assert frame.values[1, -1] == 5


def test_a_series_is_forgotten_with_its_last_sample(recorded: Recorded, tmp_path: Path) -> None:
    recorded.fill("b", recorded.clock() - 3600, recorded.clock() - 3000, 5.0)
    history = History(TARGET, tmp_path / "h")
    assert len(history.update(recorded.source, recorded.clock()).labels) == 2
    recorded.clock.advance(5400)
    recorded.fill("a", recorded.clock() - 5400, recorded.clock() + 1, 1.0)
    assert [labels["app"] for labels in history.update(recorded.source, recorded.clock()).labels] == ["a"]


@pytest.mark.parametrize("away", [0, 60, 3600, 7200, 100_000])
def test_a_restart_reads_only_what_it_missed(recorded: Recorded, tmp_path: Path, away: float) -> None:
    history = History(TARGET, tmp_path / "h")
    before = history.update(recorded.source, recorded.clock())
    history.save()
    recorded.clock.advance(away)
    recorded.fill("a", recorded.clock() - away, recorded.clock() + 1, 3.0)
    again = History(TARGET, tmp_path / "h")
    again.load()
    frame = again.update(recorded.source, recorded.clock())
    assert frame.length == 120
    assert frame.end == recorded.clock() // 60 * 60
    assert not np.isnan(frame.values).any()
    if away == 0:
        np.testing.assert_array_equal(frame.values, before.values)


def test_history_of_another_query_is_not_taken_up(recorded: Recorded, tmp_path: Path) -> None:
    history = History(TARGET, tmp_path / "h")
    history.update(recorded.source, recorded.clock())
    history.save()
    other = Target(name="x", query="y", step=TARGET.step, history=TARGET.history, horizons=TARGET.horizons)
    changed = History(other, tmp_path / "h")
    changed.load()
    assert changed.frame is None


def test_a_corrupt_file_is_read_anew_from_prometheus(recorded: Recorded, tmp_path: Path) -> None:
    path = tmp_path / "h"
    path.write_bytes(b"rubbish")
    history = History(TARGET, path)
    history.load()
    assert history.update(recorded.source, recorded.clock()).length == 120
