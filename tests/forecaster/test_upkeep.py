"""Training in parts: real pipelines, models and storage; time and the workers are told what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cloudpulse.durations import Duration
from cloudpulse.errors import StoreError
from cloudpulse.testing import captured_logs
from forecaster import storage, training
from forecaster.groups import Due, due
from forecaster.lineup import QUICK_SERIES
from forecaster.model import State, label_key
from forecaster.registry import Registry
from forecaster.shard import Shard
from forecaster.upkeep import NEWCOMERS_SECONDS
from tests.forecaster.conftest import daily

HOURS = 3600.0


@pytest.fixture
def held(make_bench: Callable[..., Any], held_executor: Any) -> Any:
    """400 series, which are 4 parts, and two workers that work when told."""
    bench = make_bench(executor=held_executor, workers=2, max_series=1000, history=Duration(2 * 86400))
    bench.serve(400, days=2)
    return bench


def registry(bench: Any) -> Registry:
    return Registry(bench.folder / "models" / "rps")


def trained(bench: Any) -> int:
    """How many series the models on disk know."""
    numbers = [*registry(bench).numbers()[-1:], *registry(bench).under_way()]
    return len({key for number in numbers for part in registry(bench).parts(number) for key in part.keys})


def work(bench: Any, parts: int) -> None:
    """Let the workers do so many parts, one after another."""
    for _ in range(parts):
        bench.executor.do()
        bench.pipeline.train()


def test_no_more_parts_are_under_way_than_there_are_workers(held: Any) -> None:
    held.pipeline.round()
    assert len(held.executor.work) == 2
    assert held.count("cloudpulse_forecaster_training_backlog") == 400 - sizes(held.executor)
    work(held, 1)
    assert len(held.executor.work) == 2
    work(held, 3)
    assert held.executor.work == []
    assert held.count("cloudpulse_forecaster_training_backlog") == 0


def test_what_is_due_is_worked_out_once_a_round(held: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With thousands of new series that is a tenth of a second."""
    calls = 0

    def counted(*arguments: Any) -> Due:
        nonlocal calls
        calls += 1
        return due(*arguments)

    monkeypatch.setattr("forecaster.upkeep.due", counted)
    held.pipeline.round()
    assert calls == 1
    assert held.count("cloudpulse_forecaster_training_backlog") == 400 - sizes(held.executor)


def sizes(executor: Any) -> int:
    """Series in the trainings that are held."""
    return sum(map(len, executor.parts))


def test_every_part_is_stored_as_it_ends_and_the_last_makes_a_whole_version(held: Any) -> None:
    held.pipeline.round()
    for done in range(1, 4):
        work(held, 1)
        assert registry(held).numbers() == []
        assert len(registry(held).parts(1)) == done
    work(held, 1)
    newest = registry(held).newest()
    assert newest is not None
    assert (newest.number, newest.series, len(newest.parts)) == (1, 400, 4)
    assert {part.about.weights["seasonal_naive"] for part in newest.parts} == {1.0}


def test_a_part_is_in_use_as_soon_as_it_has_ended(held: Any) -> None:
    held.pipeline.round()
    assert held.store.get("rps").version == 0
    held.executor.do()
    assert held.pipeline.train(), "another round is worth it"
    held.pipeline.round()
    assert held.store.get("rps").version == 1
    assert len(held.store.get("rps").forecast.labels) == 400


def test_after_a_restart_only_what_was_not_finished_is_trained(held: Any) -> None:
    held.pipeline.round()
    work(held, 2)
    done = trained(held)
    assert 0 < done < 400
    held.executor.work.clear()
    held.anew()
    held.clock.advance(300)
    held.pipeline.round()
    assert held.store.get("rps").version == 1
    work(held, 1)
    assert done + sizes(held.executor) < 400
    work(held, 1)
    assert held.executor.work == []
    newest = registry(held).newest()
    assert newest is not None
    assert (newest.number, newest.series) == (1, 400)


def test_after_the_first_training_parts_are_trained_one_by_one_over_the_interval(held: Any) -> None:
    held.serve(400, days=0.2)
    held.pipeline.round()
    work(held, 4)
    began: list[float] = []
    start = held.clock()
    while held.clock() < start + 12 * HOURS:
        held.clock.advance(1800)
        held.pipeline.round()
        assert len(held.executor.work) <= 1
        if held.executor.work:
            began.append(held.clock() - start)
            work(held, 1)
    assert len(began) == 8
    assert min(np.diff(began)) >= 1.5 * HOURS
    assert registry(held).numbers() == [1, 2, 3]


def test_new_series_are_trained_soon_and_in_company(held: Any) -> None:
    held.pipeline.round()
    work(held, 4)
    held.serve(403, days=2)
    held.clock.advance(300)
    held.pipeline.round()
    assert sizes(held.executor) == 3
    work(held, 1)
    held.serve(410, days=2)
    held.clock.advance(300)
    held.pipeline.round()
    assert held.executor.work == [], "not each new series for itself"
    held.clock.advance(NEWCOMERS_SECONDS - 300)
    held.pipeline.round()
    assert sizes(held.executor) == 7
    work(held, 1)
    assert trained(held) == 410


def test_a_version_becomes_whole_although_new_series_keep_coming(held: Any) -> None:
    """There is always one that waits for its first training or has just begun with it."""
    held.serve(400, days=0.2)
    held.pipeline.round()
    work(held, 4)
    for new in range(1, 36):
        held.serve(400 + new, days=0.2)
        held.clock.advance(NEWCOMERS_SECONDS + 100)
        held.pipeline.round()
        while len(held.executor.work) > 1:
            work(held, 1)
    assert registry(held).numbers() == [1, 2]


def test_new_series_are_fitted_on_the_spot_up_to_a_number_and_the_others_get_the_floor(
    make_bench: Callable[..., Any], held_executor: Any
) -> None:
    bench = make_bench(executor=held_executor, models=("profile",), history=Duration(3 * 86400))
    bench.serve(QUICK_SERIES + 10, days=3)
    bench.pipeline.round()
    issue = bench.store.get("rps")
    assert issue.version == 0
    assert not np.isnan(issue.forecast.values).any()
    assert (issue.weights["profile"].sum(), issue.weights["seasonal_naive"].sum()) == (QUICK_SERIES, 10)
    bench.clock.advance(300)
    bench.pipeline.round()
    assert bench.store.get("rps").weights["profile"].all(), "the others in the next round"
    work(bench, 1)
    bench.pipeline.round()
    assert bench.store.get("rps").version == 1


def test_a_model_that_cannot_be_fitted_on_the_spot_leaves_the_series_to_the_floor(
    make_bench: Callable[..., Any], held_executor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    bench = make_bench(executor=held_executor, models=("profile",))
    monkeypatch.setattr("forecaster.models.profile.fit", fail)
    bench.rounds(2)
    assert bench.store.get("rps").weights["seasonal_naive"].all()


@pytest.mark.parametrize("error", [BrokenProcessPool("killed"), CancelledError()])
def test_a_part_whose_worker_died_is_trained_again_once(held: Any, error: BaseException) -> None:
    held.pipeline.round()
    held.executor.lose(error)
    held.pipeline.train()
    assert held.count("cloudpulse_forecaster_errors_total", reason="worker_died") == 1
    while held.executor.work:
        work(held, 1)
    newest = registry(held).newest()
    assert newest is not None
    assert newest.series == 400


def test_a_part_that_kills_its_worker_twice_waits_an_interval_and_takes_no_other_with_it(held: Any) -> None:
    """Workers of one pool die together: after that, parts are tried alone."""
    held.pipeline.round()
    killer, other = held.executor.parts
    for _ in (killer, other):
        held.executor.lose(BrokenProcessPool("killed"))
    held.pipeline.train()
    assert held.executor.parts == [killer]
    held.executor.lose(BrokenProcessPool("killed"))
    held.pipeline.train()
    assert held.executor.parts == [other]
    work(held, 1)
    assert len(held.executor.work) == 2, "and then the others, as many as there are workers"
    work(held, 2)
    held.clock.advance(300)
    held.pipeline.round()
    assert held.executor.work == []
    assert held.count("cloudpulse_forecaster_errors_total", reason="train") == 1
    newest = registry(held).newest()
    assert newest is not None
    assert newest.series == 400 - len(killer)


def test_a_part_that_fails_keeps_its_models_of_before_in_the_next_version(
    make_bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(max_series=1000, history=Duration(2 * 86400))
    bench.serve(400, days=2)
    bench.rounds(2)
    assert registry(bench).numbers() == [1]
    real = training.train
    failing = [2]

    def train(*arguments: Any) -> State:
        failing[0] -= 1
        if failing[0] == 0:
            raise MemoryError
        return real(*arguments)

    monkeypatch.setattr("forecaster.training.train", train)
    bench.clock.advance(bench.target.train_every)
    bench.rounds(2)
    newest = registry(bench).newest()
    assert newest is not None
    assert newest.number == 2
    assert len({part.about.trained_at for part in newest.parts}) == 2
    assert trained(bench) == 400


def test_series_of_a_corrupt_part_are_trained_anew_and_the_others_used(held: Any) -> None:
    held.pipeline.round()
    work(held, 4)
    (path, *_) = sorted((held.folder / "models" / "rps" / "000001").glob("*.safetensors"))
    path.write_bytes(b"half")
    left = trained(held)
    with captured_logs() as lines:
        held.anew()
    assert any("0001.safetensors" in line.get("error", "") for line in lines)
    held.clock.advance(300)
    held.pipeline.round()
    assert held.store.get("rps").version == 1
    assert sizes(held.executor) == 400 - left


def test_a_running_forecaster_takes_up_a_rollback_and_trains_no_sooner_than_after_the_interval(bench: Any) -> None:
    bench.rounds(2)
    first = bench.store.get("rps").trained_at
    bench.clock.advance(bench.target.train_every)
    bench.rounds(2)
    assert bench.store.get("rps").version == 2
    bench.clock.advance(300)
    registry(bench).roll_back(1, bench.clock())
    bench.pipeline.round()
    issue = bench.store.get("rps")
    assert (issue.version, issue.trained_at) == (3, first)
    bench.rounds(5)
    assert bench.store.get("rps").version == 3
    bench.anew().round()
    assert bench.store.get("rps").version == 3
    bench.clock.advance(bench.target.train_every)
    bench.rounds(2)
    assert bench.store.get("rps").version == 4


def test_training_is_shed_while_rounds_take_too_long_beside_it_and_goes_on_when_they_do_not(held: Any) -> None:
    answer = held.source.samples
    held.pipeline.round()
    assert len(held.executor.work) == 2

    def slow(query: str) -> Any:
        held.clock.advance(90)
        return answer(query)

    held.source.samples = slow
    held.clock.advance(300)
    held.pipeline.round()
    held.executor.do(2)
    held.pipeline.train()
    assert held.executor.work == []
    assert held.count("cloudpulse_forecaster_training_shed_total") == 1
    held.clock.advance(300)
    held.pipeline.round()
    assert len(held.executor.work) == 2, "with nothing under way the slowness isn't the training's"
    held.source.samples = answer
    held.clock.advance(300)
    held.pipeline.round()
    work(held, 2)
    assert trained(held) == 400


def test_another_number_of_shards_trains_only_the_series_that_are_new_to_the_data_dir(
    make_bench: Callable[..., Any], tmp_path: Path, held_executor: Any
) -> None:
    def shard(index: int, count: int, folder: str) -> Any:
        bench = make_bench(
            shard=Shard(index, count), max_series=1000, history=Duration(2 * 86400), executor=held_executor
        )
        bench.folder = tmp_path / folder
        bench.serve(300, days=2)
        bench.anew().round()
        return bench

    halves = [shard(i, 2, f"half{i}") for i in (0, 1)]
    exported = [label["app"] for half in halves for label in half.store.get("rps").forecast.labels]
    assert sorted(exported) == [f"{i:04}" for i in range(300)], "each series by one shard"
    held_executor.work.clear()
    first = shard(0, 2, "half0")
    while held_executor.work:
        work(first, 1)
    known = {label["app"] for label in first.store.get("rps").forecast.labels}
    shutil.copytree(tmp_path / "half0", tmp_path / "third")
    third = shard(0, 3, "third")
    mine = {label["app"] for label in third.store.get("rps").forecast.labels}
    assert mine == {f"{i:04}" for i in range(300) if Shard(0, 3).holds({"app": f"{i:04}"})}
    assert known & mine
    assert not np.isnan(third.pipeline._history.frame.values[:, 0]).any(), "with all of their past"
    assert set().union(*held_executor.parts) == mine - known


def test_a_shard_without_series_is_no_error_and_ready(make_bench: Callable[..., Any]) -> None:
    empty = next(i for i in range(2) if not Shard(i, 2).holds({"app": "a"}))
    bench = make_bench(shard=Shard(empty, 2))
    bench.rounds(2)
    assert bench.store.get("rps").forecast.labels == ()


def test_how_a_version_does_live_is_noted_with_it(bench: Any) -> None:
    bench.rounds(20)
    bench.pipeline.save()
    newest = registry(bench).newest()
    assert newest is not None
    assert newest.mase["15m"] == pytest.approx(bench.store.get("rps").scores.mase[0, 0])


def test_an_outage_of_all_series_while_a_part_is_trained_costs_no_models(held: Any) -> None:
    held.pipeline.round()
    work(held, 4)
    held.clock.advance(held.target.train_every)
    held.pipeline.round()
    held.series.clear()
    held.clock.advance(900)
    held.pipeline.round()
    assert held.store.get("rps") is None, "there is no forecast"
    while held.executor.work:
        work(held, 1)
    assert trained(held) == 400
    assert registry(held).newest().series == 400
    held.serve(400, days=2)
    held.clock.advance(300)
    held.pipeline.round()
    assert held.store.get("rps").version >= 1


def test_an_outage_of_some_exporters_costs_no_models(held: Any) -> None:
    held.pipeline.round()
    work(held, 4)
    held.clock.advance(held.target.train_every)
    held.pipeline.round()
    del held.series[1:]
    held.clock.advance(900)
    held.pipeline.round()
    assert len(held.store.get("rps").forecast.labels) == 1
    while held.executor.work:
        work(held, 1)
    assert registry(held).numbers() == [1, 2]
    assert trained(held) == 400


def test_series_gone_for_longer_than_the_interval_leave_the_models(held: Any) -> None:
    held.serve(400, days=0.2)
    held.pipeline.round()
    work(held, 4)
    del held.series[1:]
    end = held.clock() + 3 * held.target.train_every
    while held.clock() < end:
        held.clock.advance(1800)
        held.pipeline.round()
        work(held, len(held.executor.work))
    assert trained(held) == 1


@pytest.mark.parametrize("error", [TypeError, IndexError])
def test_a_part_whose_model_cannot_live_again_is_trained_anew(
    bench: Any, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise error

    bench.rounds(2)
    with monkeypatch.context() as broken, captured_logs() as lines:
        broken.setattr("forecaster.models.seasonal_naive.SeasonalNaive.restore", fail)
        bench.anew()
    assert any("trained anew" in line["event"] for line in lines)
    bench.clock.advance(300)
    bench.rounds(2)
    assert bench.store.get("rps").version == 2


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """A disk that is full, or not, as it is told."""
    real, full = storage.put, False

    def put(path: Path, content: bytes) -> None:
        if full:
            raise StoreError(f"{path}: can't be written: No space left on device")
        real(path, content)

    def become(now: bool) -> None:
        nonlocal full
        full = now

    monkeypatch.setattr("forecaster.storage.put", put)
    return become


def test_a_version_that_a_full_disk_kept_from_becoming_whole_is_whole_when_there_is_room(
    held: Any, full_disk: Callable[[bool], None]
) -> None:
    held.pipeline.round()
    work(held, 2)
    full_disk(True)
    work(held, 2)
    held.clock.advance(300)
    held.pipeline.round()
    assert (held.store.get("rps").version, registry(held).numbers()) == (1, [])
    assert 0 < trained(held) < 400
    full_disk(False)
    with captured_logs() as lines:
        held.clock.advance(300)
        held.pipeline.round()
        held.pipeline.save()
    assert not [line for line in lines if line["level"] == "error"]
    newest = registry(held).newest()
    assert newest is not None
    assert (newest.number, newest.series) == (1, 400)
    assert held.executor.work == [], "and nothing is trained for it"


def test_a_complete_version_that_a_full_disk_left_unfinished_is_finished_after_a_restart(
    held: Any,
) -> None:
    held.pipeline.round()
    work(held, 3)
    held.executor.do()

    def fail(*_: object) -> None:
        raise StoreError("No space left on device")

    held.pipeline._lineup._registry.finish = fail
    held.pipeline.train()
    held.pipeline.save()
    assert held.count("cloudpulse_forecaster_errors_total", reason="store") == 1, "the figures are kept all the same"
    assert registry(held).numbers() == []
    held.anew()
    held.clock.advance(300)
    held.pipeline.round()
    assert registry(held).numbers() == [1]
    assert held.executor.work == []


def test_parts_of_several_unfinished_versions_are_all_taken_up_the_newest_first(held: Any) -> None:
    held.pipeline.round()
    work(held, 3)
    folder = held.folder / "models" / "rps"
    shutil.copytree(folder / "000001", folder / "000002")
    (folder / "000001" / "0001.safetensors").replace(folder / "000002" / "0009.safetensors")
    (folder / "000002" / "0002.safetensors").unlink()
    known = trained(held)
    held.executor.work.clear()
    held.anew()
    held.clock.advance(300)
    held.pipeline.round()
    assert sizes(held.executor) == 400 - known
    work(held, 1)
    newest = registry(held).newest()
    assert newest is not None
    assert (newest.number, newest.series) == (2, 400)


def test_what_was_fitted_on_the_spot_for_series_that_are_gone_is_forgotten(
    make_bench: Callable[..., Any], held_executor: Any
) -> None:
    """Where series live for minutes, one of each batch goes on: they come together in few parts."""
    bench = make_bench(executor=held_executor, models=("profile",), history=Duration(86400), max_series=1000)

    def serve(names: list[str]) -> None:
        bench.series[:] = [lambda name=name: daily(bench.clock, {"app": name}, 1) for name in names]

    lasting: list[str] = []
    for batch in range(12):
        lasting.append(f"lasting-{batch}")
        serve([*lasting, *(f"{batch}-{i}" for i in range(5))])
        bench.pipeline.round()
        bench.clock.advance(900)
    bench.pipeline.round()
    parts = bench.pipeline._lineup._quick
    assert len(parts) <= 6
    assert sum(len(part.keys) for part in parts) <= 40
    fitted = {key for part in parts for key in part.keys}
    assert fitted >= {label_key({"app": name}) for name in lasting}
