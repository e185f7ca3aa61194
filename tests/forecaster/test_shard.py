from __future__ import annotations

import numpy as np
import pytest

from cloudpulse.errors import ConfigError
from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource
from forecaster.model import label_key
from forecaster.shard import Shard, place

LABELS = [{"__name__": "rps", "app": f"app{i}"} for i in range(1000)]


def test_the_place_of_a_series_never_changes() -> None:
    """Another number here would retrain and move every series of every installation."""
    assert place(label_key({"app": "a", "zone": "1"})) == 5151457991300068882


def test_each_series_is_in_one_shard_and_shards_are_about_equal() -> None:
    shards = [Shard(i, 3) for i in range(3)]
    held = [[shard.holds(labels) for labels in LABELS] for shard in shards]
    assert np.sum(held, axis=0).tolist() == [1] * len(LABELS)
    assert all(280 < sum(one) < 390 for one in held)


def test_the_metric_name_and_the_order_of_labels_do_not_count() -> None:
    shard = next(Shard(i, 7) for i in range(7) if Shard(i, 7).holds({"a": "1", "b": "2"}))
    assert shard.holds({"__name__": "rps", "b": "2", "a": "1"})


def test_one_of_one_holds_everything_and_leaves_the_source_as_it_is() -> None:
    source = FakeSource(lambda _: [], FakeClock())
    assert Shard().only(source) is source
    assert Shard().holds({})


def test_a_sharded_source_answers_with_its_own_series_only() -> None:
    clock = FakeClock()
    times = np.array([clock() - 60, clock()])
    source = FakeSource(lambda _: [Series(labels, times, times) for labels in LABELS], clock)
    shard = Shard(1, 4)
    mine = [labels for labels in LABELS if shard.holds(labels)]
    assert [one.labels for one in shard.only(source).range("q", clock() - 60, clock(), 60)] == mine
    assert [one.labels for one in shard.only(source).instant("q")] == mine


@pytest.mark.parametrize("text", ["", "1", "2/2", "3/2", "-1/2", "0/0", "a/b", "1/2/3", "1.0/2", "1/", "/2", "٣/٤"])
def test_wrong_forms_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--shard: expected i/n with i from 0 to n-1, such as 0/3"):
        Shard.parse(text)


def test_the_right_form_is_read() -> None:
    assert Shard.parse("2/3") == Shard(2, 3)
