"""What the console asks of a forecaster with many series: the overview, and one series' whole story.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.console [--series 1000 10000]

A forecast of 5 min steps over a day with five levels, 14 days of past and four models. Cold is the first answer after a
new forecast, from the Issue to compressed JSON; warm is the next, over the app's WSGI face; both are wall time. Beside
it the memory that an Issue's background takes, and what keeping every model's path instead would.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.machine import facts
from cloudpulse.durations import Duration
from cloudpulse.testing import FakeClock
from forecaster.accuracy import Scores
from forecaster.anomaly import anomaly_score
from forecaster.app import console_data, create_app
from forecaster.background import background
from forecaster.config import Target
from forecaster.demotion import Demoted
from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import label_key
from forecaster.models import build
from forecaster.parted import Part, PartedPredictor
from forecaster.rounds import Rounds
from forecaster.store import ForecastStore, Issue

STEP, DAY = 300, 288
MODELS = ("seasonal_naive", "profile", "ridge", "lstm")
LIMITS_MS = {1000: (200.0, 20.0), 10_000: (2000.0, 20.0)}
"""Cold and warm."""
STORY_MS, SCORE_MS = 500.0, 50.0
NOW = 1_700_000_100.0
TRAINED = 20


class Kept:
    """The past of all series, in place of History."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._rows = {label_key(labels): row for row, labels in enumerate(frame.labels)}

    def of(self, labels: dict[str, str], last: float, length: int) -> Frame:
        return self._frame.select([self._rows[label_key(labels)]]).tail(length)


def issue(count: int) -> Issue:
    target = Target(
        name="web",
        query="q",
        step=Duration(STEP),
        horizons=(Duration(900), Duration(3600), Duration(86400)),
        levels=(0.05, 0.1, 0.5, 0.9, 0.95),
        thresholds=(140.0,),
    )
    rng = np.random.default_rng(1)
    labels = tuple({"instance": f"host-{i}:9100", "job": "node", "namespace": "shop"} for i in range(count))
    times = NOW + STEP * np.arange(-14 * DAY + 1, 1)
    past = 100 + 40 * np.sin(2 * np.pi * times / 86400) + rng.normal(0, 5, (count, len(times)))
    frame = Frame(times[0], float(STEP), labels, past)
    some = frame.select(range(min(TRAINED, count)))
    predictor = build(MODELS).fit(some, target.steps)
    keys = tuple(label_key(one) for one in labels)
    parted = PartedPredictor.of([Part(keys, predictor)], predictor)
    path = np.sort(100 + rng.normal(0, 20, (count, target.steps, 5)), axis=2)
    shape = (count, len(target.horizons))
    return Issue(
        target=target,
        forecast=Forecast(NOW + STEP, float(STEP), target.all_levels, labels, path),
        issued_at=NOW,
        expected_now=path[:, 0],
        observed=past[:, -1],
        scores=Scores(
            rng.uniform(0.5, 1.2, shape), rng.normal(0, 0.1, shape), rng.uniform(0, 1, (*shape, 5)), np.ones(shape)
        ),
        weights={name: np.full(count, 1 / len(MODELS)) for name in MODELS},
        version=1,
        trained_at=NOW - 3600,
        demoted=Demoted((900.0,), {"lstm": np.full((count, 1), np.nan)}, {"lstm": np.full((count, 1), np.nan)}),
        background=background(frame, labels, 14 * DAY, target.steps, Kept(frame), parted),
    )


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--series", type=int, nargs="+", default=list(LIMITS_MS))
    options = parser.parse_args()
    print(facts())
    failed = False
    for count in options.series:
        clock = FakeClock(NOW)
        store = ForecastStore(clock)
        rounds = Rounds(lambda _: sys.exit("nothing to run"), store, None, clock)  # type: ignore[arg-type]
        one = issue(count)
        client = create_app(store, rounds, clock, [console_data(store, rounds, None, clock)]).test_client()
        client.get("/api/v1/overview")

        def ask(client=client) -> object:  # type: ignore[no-untyped-def]
            return client.get("/api/v1/overview", headers={"Accept-Encoding": "gzip"})

        store.put(one)
        cold, warm = timed(ask), sorted(timed(ask) for _ in range(20))[10]
        rows = client.get("/api/v1/overview").get_json()["rows"]
        assert len(rows) == count
        sizes = [
            len(client.get("/api/v1/overview", headers=headers).data) / 1e3
            for headers in ({}, {"Accept-Encoding": "gzip"})
        ]
        path = f"/api/v1/forecasts/web/series/{rows[count // 2]['id']}"
        told = client.get(path).get_json()
        assert set() < told["ahead"]["models"].keys() <= set(MODELS)
        story = timed(lambda client=client, rows=rows: client.get(f"/api/v1/forecasts/web/series/{rows[0]['id']}"))
        again = timed(lambda client=client, rows=rows: client.get(f"/api/v1/forecasts/web/series/{rows[0]['id']}"))
        score = sorted(timed(lambda one=one: anomaly_score(one)) for _ in range(5))[2]
        assert one.background is not None
        kept = (one.background.spark.nbytes + one.background.span.nbytes) / 1e6
        parts = count * one.forecast.horizon * len(MODELS) * 4 / 1e6
        cold_limit, warm_limit = LIMITS_MS.get(count, (float("inf"),) * 2)
        print(f"{count} series: {sizes[0]:.0f} kB, {sizes[1]:.0f} kB compressed; background {kept:.1f} MB")
        whole = one.forecast.values.nbytes / 1e6
        print(f"  all models' paths in float32 would be {parts:.0f} MB, the forecast is {whole:.0f} MB")
        for name, value, limit in (
            ("overview, cold", cold, cold_limit),
            ("overview, warm", warm, warm_limit),
            ("one story, its models asked", story, STORY_MS),
            ("one story again", again, STORY_MS),
            ("scores of all", score, SCORE_MS),
        ):
            failed |= value > limit
            print(f"  {name:<30}{value:>9.1f} ms   limit {limit:g}: {'pass' if value <= limit else 'FAIL'}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
