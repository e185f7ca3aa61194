"""A rule through a morning as a real Prometheus kept it: forecasts that get bad, better, old, lost and alone."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from cloudpulse.config import PrometheusSettings
from cloudpulse.local import past
from cloudpulse.promql import Prometheus
from cloudpulse.testing import FakeClock
from scaler.config import ScalerSettings
from scaler.provider import Provider
from scaler.refusal import Refused
from scaler.watch import Watch

pytestmark = pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Prometheus on PATH")

MINUTES = 190
START = int(time.time() // 60 * 60) - MINUTES * 60
LOAD = {"app": "web", "instance": "host-1:80", "job": "web"}
FORECAST = {"forecast": "web_rps", **LOAD}


def _load(minute: int) -> float | None:
    return None if minute >= 170 else 300.0 if 60 <= minute < 80 else 100.0


def _forecast(minute: int) -> float | None:
    return None if 140 <= minute < 155 else 200.0


def _made(minute: int) -> float | None:
    """The forecaster hangs at minute 120 and is back at 155."""
    seen = 120 if 120 <= minute < 140 else minute
    return None if _forecast(minute) is None else START + seen * 60 - 30


def _mase(minute: int) -> float | None:
    if minute < 10:
        return None
    return 0.8 if minute < 30 else 1.5 if minute < 60 else 1.0 if minute < 90 else 0.7


def _coverage(minute: int) -> float:
    return 0.6 if 100 <= minute < 110 else 0.9


@dataclass(frozen=True)
class _Pod:
    """Seconds: born since the start, and ready since then, perhaps for a second time."""

    name: str
    owner: str
    born: float
    first: float
    again: float | None = None

    def created(self, minute: int) -> float | None:
        return START + self.born if minute * 60 >= self.born else None

    def ready(self, minute: int) -> float | None:
        """As kube-state-metrics has it: when it last became ready."""
        age = minute * 60 - self.born
        if self.again is not None and age >= self.again:
            return START + self.born + self.again
        return START + self.born + self.first if age >= self.first else None


_PODS = (
    *(_Pod(f"web-{i}", "ReplicaSet", 600, 10 * i, 3000 if i == 10 else None) for i in range(1, 11)),
    _Pod("backup", "Job", 600, 5000),
    _Pod("old", "StatefulSet", -3 * 86400, 2 * 86400),
)


def _lines() -> Iterator[str]:
    yield from _family("load", {"": (LOAD, _load)})
    yield from _family("other", {zone: ({"app": "other", "zone": zone}, lambda _: 30.0) for zone in "ab"})
    values, mase, coverage = {}, {}, {}
    for horizon in ("5m", "1h"):
        mase[horizon] = ({"horizon": horizon, **FORECAST}, _mase)
        coverage[horizon] = ({"horizon": horizon, "level": "0.9", **FORECAST}, _coverage)
        values[horizon] = ({"horizon": horizon, "level": "0.9", **FORECAST}, _forecast)
        values[horizon, "median"] = ({"horizon": horizon, "level": "0.5", **FORECAST}, lambda _: 1.0)
    yield from _family("cloudpulse_forecast_value", values)
    yield from _family("cloudpulse_forecast_timestamp_seconds", {"": (FORECAST, _made)})
    yield from _family("cloudpulse_forecast_mase", mase)
    yield from _family("cloudpulse_forecast_coverage_ratio", coverage)
    created, ready, info = {}, {}, {}
    for pod, replica in itertools.product(_PODS, ("ksm-1", "ksm-2")):
        labels = {"namespace": "shop", "pod": pod.name, "uid": pod.name, "instance": replica}
        created[pod, replica] = (labels, pod.created)
        ready[pod, replica] = (labels, pod.ready)
        info[pod, replica] = ({**labels, "created_by_kind": pod.owner}, lambda _: 1.0)
    yield from _family("kube_pod_created", created)
    yield from _family("kube_pod_status_ready_time", ready)
    yield from _family("kube_pod_info", info)
    yield "# EOF\n"


def _family(name: str, series: Mapping[Any, tuple[dict[str, str], Callable[[int], float | None]]]) -> Iterator[str]:
    yield f"# TYPE {name} gauge\n"
    for labels, value in series.values():
        text = ",".join(f'{key}="{one}"' for key, one in labels.items())
        for minute in range(MINUTES):
            if (sample := value(minute)) is not None:
                yield f"{name}{{{text}}} {sample} {START + minute * 60}\n"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with past.prometheus(_lines(), tmp_path_factory.mktemp("past")) as url:
        prometheus = Prometheus(PrometheusSettings(url=url))
        yield prometheus
        prometheus.close()


class Morning:
    """A rule that is evaluated minute by minute."""

    def __init__(self, settings: ScalerSettings, source: Prometheus) -> None:
        self.clock = FakeClock(START)
        self.watch = Watch(settings.metrics[0], source, self.clock)
        self.provider = Provider([self.watch])

    def at(self, minute: int) -> tuple[float, str] | int:
        """What is served at the end of that minute and its source, or the code of the refusal."""
        while self.clock.now < START + minute * 60 + 5:
            self.clock.advance(60 if self.clock.now > START else 5)
            self.watch.evaluate()
        try:
            answer = self.provider.external("ahead", "any")
        except Refused as refused:
            return refused.code
        return answer.total, answer.source


@pytest.mark.parametrize("query", ["load", "sum by (app, instance, job) (load) # in total"])
def test_a_morning_of_a_rule(settings_of: Callable[..., ScalerSettings], source: Prometheus, query: str) -> None:
    rules = "metrics: [{name: ahead, api: external, forecast: web_rps}]"
    morning = Morning(settings_of(rules, f"[{{name: web_rps, query: '{query}'}}]"), source)
    ahead, now = "forecast:web_rps", "reactive"
    assert morning.at(5) == (200, ahead)  # no figures yet: open
    assert morning.at(29) == (200, ahead)
    assert morning.at(31) == (100, now)  # MASE 1.5: shut
    assert morning.at(59) == (100, now)
    assert morning.at(65) == (300, now)
    assert morning.at(85) == (100, now)  # MASE 1.0 is inside the band: still shut
    assert morning.at(92) == (200, ahead)  # 0.7: open again
    assert morning.at(102) == (100, now)  # coverage 0.6 at level 0.9
    assert morning.at(112) == (200, ahead)
    assert morning.at(121) == (200, ahead)  # the forecaster hangs: good for max_age
    assert morning.at(124) == (100, now)
    assert morning.at(150) == (100, now)  # and its series are gone
    assert morning.at(157) == (200, ahead)
    assert morning.at(169) == (200, ahead)
    if query == "load":
        assert morning.at(172) == 503  # the sample is older than max_age, though Prometheus goes on answering it
    assert morning.at(180) == 503  # a forecast alone could shrink the service
    counted = morning.watch.fallbacks()
    assert set(counted) == {"accuracy", "coverage", "stale", "missing"}
    assert (counted["accuracy"], counted["coverage"]) == (60, 10)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("load or on (app) other", 260),  # 200 ahead, and two that have no forecast
        ("nothing or on (app) load", 200),
        ("nothing or ignoring (instance) load # by job", 200),
        ("sum by (app, instance, job) (load) or on () vector(0)", 200),
        ("sum(nothing) or on () vector(0)", 200),
    ],
)
def test_operators_in_what_is_measured_bind_nothing_of_the_forecast(
    settings_of: Callable[..., ScalerSettings], source: Prometheus, query: str, expected: float
) -> None:
    rules = f"metrics: [{{name: ahead, api: external, forecast: web_rps, horizon: 5m, reactive: '{query}'}}]"
    morning = Morning(settings_of(rules), source)
    morning.clock.now = START + 95 * 60
    served = morning.at(95)
    assert isinstance(served, tuple)
    assert served[0] == expected


def test_the_time_that_pods_take_is_measured(settings_of: Callable[..., ScalerSettings], source: Prometheus) -> None:
    """Ten pods of a workload took 10 to 100 s; a job, a pod of other days, and readiness regained don't count."""
    rules = "metrics: [{name: ahead, api: external, forecast: web_rps}]"
    morning = Morning(settings_of(rules, "[{name: web_rps, query: load}]"), source)
    morning.clock.now = START + 160 * 60
    choice = morning.watch.ask().choice
    assert (choice.horizon, choice.level, choice.notes, choice.problem) == ("5m", "0.9", (), "")
    assert choice.lead == pytest.approx(91 + 180)
