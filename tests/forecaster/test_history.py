from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from cloudpulse.durations import Duration
from cloudpulse.errors import SourceUnavailable, StoreError
from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from forecaster import history as reading
from forecaster import storage
from forecaster.blocks import COLUMNS
from forecaster.config import Target
from forecaster.history import OVERLAP_SECONDS, History
from forecaster.model import State

TARGET = Target(name="x", query="x", step=Duration(60), history=Duration(7200), horizons=(Duration(600),))


class Recorded:
    """A Prometheus whose samples can be changed between reads; `points` keeps how many each read asked for.

    With `dies_after`, it answers so many ranges and then no more.
    """

    def __init__(self) -> None:
        self.clock = FakeClock(1_700_000_040.0)
        self.values: dict[str, dict[float, float]] = {"a": {}}
        self.source = FakeSource(lambda _: [self.series(app) for app in self.values], self.clock)
        self.points: list[int] = []
        self.dies_after: int | None = None
        self._answer = self.source.range
        self.source.range = self.range  # type: ignore[method-assign]

    def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        if self.dies_after is not None and len(self.points) >= self.dies_after:
            raise SourceUnavailable("Prometheus is not reached")
        self.points.append(round((end - start) / step) + 1)
        return self._answer(query, start, end, step)

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
    history = History(TARGET, tmp_path / "h")
    assert history.update(recorded.source, recorded.clock()).length == 120
    assert sum(recorded.points) == 120
    recorded.points.clear()
    recorded.clock.advance(60)
    recorded.fill("a", recorded.clock() - 60, recorded.clock(), 1.0)
    frame = history.update(recorded.source, recorded.clock())
    assert recorded.points == [OVERLAP_SECONDS // 60 + 2]
    assert frame.length == 120
    assert not np.isnan(frame.values).any()


def test_nothing_is_asked_before_there_is_a_new_grid_point(recorded: Recorded, tmp_path: Path) -> None:
    history = History(TARGET, tmp_path / "h")
    before = history.update(recorded.source, recorded.clock())
    recorded.points.clear()
    recorded.clock.advance(10)
    assert history.update(recorded.source, recorded.clock()) is before
    assert recorded.points == []


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


LONG = Target(name="x", query="x", step=Duration(60), history=Duration(10 * 86400), horizons=(Duration(600),))


@pytest.fixture
def long(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """A history of many blocks, read a few at a time."""
    monkeypatch.setattr(reading, "READ_VALUES", 10 * COLUMNS)
    recorded.fill("a", recorded.clock() - LONG.history, recorded.clock() + 1, 1.0)
    return recorded


def test_a_first_read_that_was_interrupted_goes_on_where_it_was(long: Recorded, tmp_path: Path) -> None:
    history = History(LONG, tmp_path / "h")
    long.dies_after = 3
    for _ in range(2):
        with pytest.raises(SourceUnavailable):
            history.update(long.source, long.clock())
    before = sum(long.points)
    assert COLUMNS < before < LONG.columns
    long.dies_after = None
    frame = history.update(long.source, long.clock())
    assert sum(long.points) == LONG.columns
    assert not np.isnan(frame.values).any()


def test_a_first_read_that_was_interrupted_goes_on_after_a_restart(long: Recorded, tmp_path: Path) -> None:
    """Prometheus died after some days of the history, and then so did we."""
    history = History(LONG, tmp_path / "h")
    long.dies_after = 3
    with pytest.raises(SourceUnavailable):
        history.update(long.source, long.clock())
    history.save()
    before = sum(long.points)
    long.dies_after = None
    long.points.clear()
    long.clock.advance(600)
    long.fill("a", long.clock() - 600, long.clock() + 1, 2.0)
    again = History(LONG, tmp_path / "h")
    again.load()
    frame = again.update(long.source, long.clock())
    assert long.points[0] == 10 + OVERLAP_SECONDS // 60 + 1
    assert sum(long.points[1:]) == LONG.columns - before - 10
    assert not np.isnan(frame.values).any()


def test_a_restart_asks_only_for_the_minutes_since(long: Recorded, tmp_path: Path) -> None:
    history = History(LONG, tmp_path / "h")
    before = history.update(long.source, long.clock())
    history.save()
    long.points.clear()
    long.clock.advance(180)
    long.fill("a", long.clock() - 180, long.clock() + 1, 2.0)
    again = History(LONG, tmp_path / "h")
    again.load()
    frame = again.update(long.source, long.clock())
    assert long.points == [3 + OVERLAP_SECONDS // 60 + 1]
    np.testing.assert_array_equal(frame.values[0, : -3 - 1], before.values[0, 3:-1])
    assert frame.values[0, -3:].tolist() == [2, 2, 2]


def test_a_save_writes_only_what_changed(long: Recorded, tmp_path: Path) -> None:
    history = History(LONG, tmp_path / "h")
    history.update(long.source, long.clock())
    history.save()
    written = {path: path.stat().st_ino for path in (tmp_path / "h").iterdir()}
    assert len(written) > 50
    long.clock.advance(60)
    history.update(long.source, long.clock())
    history.save()
    same = [path for path, inode in written.items() if path.exists() and path.stat().st_ino == inode]
    assert len(written) - len(same) <= 2


def test_files_of_what_is_too_old_go(long: Recorded, tmp_path: Path) -> None:
    history = History(LONG, tmp_path / "h")
    history.update(long.source, long.clock())
    history.save()
    count = len(list((tmp_path / "h").iterdir()))
    long.clock.advance(86400)
    long.fill("a", long.clock() - 86400, long.clock() + 1, 1.0)
    history.update(long.source, long.clock())
    history.save()
    assert abs(len(list((tmp_path / "h").iterdir())) - count) <= 1


def test_a_save_that_failed_is_made_up_for_by_the_next(
    long: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between two files is the same: what is on disk is a shorter history, not a wrong one."""
    history = History(LONG, tmp_path / "h")
    before = history.update(long.source, long.clock())
    whole = storage.write
    left = 20

    def full(path: Path, state: State) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreError(f"{path}: No space left on device")
        whole(path, state)

    monkeypatch.setattr(storage, "write", full)
    with pytest.raises(StoreError):
        history.save()
    monkeypatch.undo()
    long.points.clear()
    cut = History(LONG, tmp_path / "h")
    cut.load()
    np.testing.assert_array_equal(cut.update(long.source, long.clock()).values, before.values)
    assert COLUMNS < sum(long.points) < LONG.columns
    history.save()
    long.points.clear()
    again = History(LONG, tmp_path / "h")
    again.load()
    np.testing.assert_array_equal(again.update(long.source, long.clock()).values, before.values)
    assert long.points == []


@pytest.mark.parametrize("which", [0, 30, -1])
def test_a_corrupt_file_costs_only_what_is_older_or_itself(long: Recorded, tmp_path: Path, which: int) -> None:
    history = History(LONG, tmp_path / "h")
    before = history.update(long.source, long.clock())
    history.save()
    path = sorted((tmp_path / "h").iterdir())[which]
    path.write_bytes(path.read_bytes()[:-5] + b"wrong")
    long.points.clear()
    again = History(LONG, tmp_path / "h")
    again.load()
    np.testing.assert_array_equal(again.update(long.source, long.clock()).values, before.values)
    assert 0 < sum(long.points) < LONG.columns * 0.6


def test_a_longer_history_reads_only_the_older_part(long: Recorded, tmp_path: Path) -> None:
    history = History(LONG, tmp_path / "h")
    history.update(long.source, long.clock())
    history.save()
    weeks = Target(name="x", query="x", step=Duration(60), history=Duration(8 * 7 * 86400), horizons=LONG.horizons)
    long.fill("a", long.clock() - weeks.history, long.clock() - LONG.history + 1, 5.0)
    long.points.clear()
    again = History(weeks, tmp_path / "h")
    again.load()
    frame = again.update(long.source, long.clock())
    assert sum(long.points) == weeks.columns - LONG.columns
    assert frame.length == weeks.columns
    assert (frame.values[0, : -LONG.columns] == 5).all()
    assert (frame.values[0, -LONG.columns :] == 1).all()


def test_what_prometheus_no_longer_has_of_the_overlap_is_a_gap(recorded: Recorded, tmp_path: Path) -> None:
    history = History(TARGET, tmp_path / "h")
    history.update(recorded.source, recorded.clock())
    recorded.clock.advance(60)
    recorded.values["a"] = {t: v for t, v in recorded.values["a"].items() if t < recorded.clock() - 1000}
    frame = history.update(recorded.source, recorded.clock())
    kept = np.flatnonzero(~np.isnan(frame.values[0]))
    assert kept[-1] == frame.length - 1 - OVERLAP_SECONDS // 60 - 2


def test_a_series_that_comes_back_goes_on(recorded: Recorded, tmp_path: Path) -> None:
    recorded.fill("b", recorded.clock() - 3600, recorded.clock() - 1800, 5.0)
    history = History(TARGET, tmp_path / "h")
    history.update(recorded.source, recorded.clock())
    recorded.clock.advance(60)
    recorded.fill("b", recorded.clock() - 60, recorded.clock() + 1, 7.0)
    recorded.fill("a", recorded.clock() - 60, recorded.clock() + 1, 1.0)
    frame = history.update(recorded.source, recorded.clock())
    assert [labels["app"] for labels in frame.labels] == ["a", "b"]
    assert (frame.values[1, -1], np.isnan(frame.values[1]).any()) == (7, True)
    assert (frame.values[1] == 5).sum() >= 30


def test_series_that_come_and_go_leave_nothing_behind(long: Recorded, tmp_path: Path) -> None:
    """Pods do so all day; after a restart, what is left is the same."""
    short = Target(name="x", query="x", step=Duration(60), history=Duration(86400), horizons=LONG.horizons)
    history = History(short, tmp_path / "h")
    for hour in range(60):
        long.fill(f"pod-{hour}", long.clock(), long.clock() + 3600, float(hour))
        long.clock.advance(3600)
        long.fill("a", long.clock() - 3600, long.clock() + 1, 1.0)
        frame = history.update(long.source, long.clock())
        history.save()
    again = History(short, tmp_path / "h")
    again.load()
    for one in (frame, again.update(long.source, long.clock())):
        rows = {labels["app"]: row for labels, row in zip(one.labels, one.values, strict=True)}
        assert set(rows) == {"a", *(f"pod-{hour}" for hour in range(35, 60))}
        assert all((rows[f"pod-{hour}"] == hour).sum() in range(60, 66) for hour in range(40, 59))
    assert history._columns.series < 35


@pytest.mark.parametrize("level", [1_700_000_000.0, 1e12, -1e12, 0.0, 1e-9])
def test_digits_survive_a_restart(recorded: Recorded, tmp_path: Path, level: float) -> None:
    """Unix times and bytes have more digits than float32, and what is told apart now must be so tomorrow."""
    recorded.fill("a", recorded.clock(), recorded.clock() + 1, 1.0)
    for i, moment in enumerate(sorted(recorded.values["a"])):
        recorded.values["a"][moment] = level + i * 60
    history = History(TARGET, tmp_path / "h")
    expected = history.update(recorded.source, recorded.clock())
    np.testing.assert_allclose(np.diff(expected.values), 60, rtol=1e-6)
    history.save()
    again = History(TARGET, tmp_path / "h")
    again.load()
    np.testing.assert_array_equal(again.update(recorded.source, recorded.clock()).values, expected.values)


def test_a_query_without_series_is_asked_again_at_every_round(recorded: Recorded, tmp_path: Path) -> None:
    known, recorded.values = recorded.values, {}
    history = History(TARGET, tmp_path / "h")
    for _ in range(2):
        recorded.points.clear()
        assert history.update(recorded.source, recorded.clock()).labels == ()
        assert recorded.points
    recorded.values = known
    assert len(history.update(recorded.source, recorded.clock()).labels) == 1


def test_a_stop_before_anything_was_read_leaves_what_is_on_disk(recorded: Recorded, tmp_path: Path) -> None:
    """A stop saves from another thread, maybe before the round's own has loaded."""
    history = History(TARGET, tmp_path / "h")
    history.update(recorded.source, recorded.clock())
    history.save()
    History(TARGET, tmp_path / "h").save()
    again = History(TARGET, tmp_path / "h")
    again.load()
    recorded.points.clear()
    again.update(recorded.source, recorded.clock())
    assert recorded.points == []


def test_a_save_beside_a_read_takes_what_there_is(long: Recorded, tmp_path: Path) -> None:
    """As a stop does in the middle of a long first read."""
    history = History(LONG, tmp_path / "h")
    whole = long.source.range

    def saved(query: str, start: float, end: float, step: float) -> list[Series]:
        thread = threading.Thread(target=history.save)
        thread.start()
        answer = whole(query, start, end, step)
        thread.join()
        return answer

    long.source.range = saved  # type: ignore[method-assign]
    frame = history.update(long.source, long.clock())
    long.source.range = whole  # type: ignore[method-assign]
    long.points.clear()
    again = History(LONG, tmp_path / "h")
    again.load()
    np.testing.assert_array_equal(again.update(long.source, long.clock()).values, frame.values)
    assert 0 < sum(long.points) <= 11 * COLUMNS


def test_one_series_is_told_out_of_what_is_in_memory(recorded: Recorded, tmp_path: Path) -> None:
    recorded.fill("b", recorded.clock() - 3000, recorded.clock() - 600, 2.0)
    history = History(TARGET, tmp_path)
    frame = history.update(recorded.source, recorded.clock())
    for labels, values in zip(frame.labels, frame.values, strict=True):
        told = history.of(labels, frame.end, 40)
        assert (told.labels, told.end, told.step) == ((labels,), frame.end, frame.step)
        assert np.array_equal(told.values[0], values[-40:], equal_nan=True)
    assert np.isnan(history.of({"app": "c"}, frame.end, 40).values).all()
    later = history.of({"app": "a"}, frame.end + 600, 40).values[0]
    assert np.isnan(later[-10:]).all()
    assert np.array_equal(later[:-10], frame.values[0, -30:])
