"""What the rules cost a real Prometheus that has many forecast series: the time of each rule and of a minute's worth.

Run: python -m benchmarks.rules [--series 20000]
The series are those of one forecast of a user's own, so that the alert on any threshold bears all of them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import requests
import yaml

from cloudpulse import names
from cloudpulse.durations import Duration
from cloudpulse.local import past

RULES = Path(__file__).parents[1] / "prometheus" / "rules"
SCRAPES, SCRAPE_SECONDS = 5, 15
ROUNDS = 5
TOLD = 0.01
"""Rules that take less seconds are told of in the sum only."""


def lines(count: int, now: int) -> Iterator[str]:
    """The series that the rules read, as a forecaster with `count` series shows them; OpenMetrics."""
    rng = np.random.default_rng(0)
    reach = np.where(rng.random(count) < 0.01, rng.uniform(0, 7200, count), np.inf)
    for level, factor in (("0.1", 1.5), ("0.5", 1.0), ("0.9", 0.5)):
        own = f'threshold="100",level="{level}"'
        yield from family(names.FORECAST_TIME_TO_THRESHOLD.name, own, reach * factor, now)
    mase = names.FORECAST_MASE.name
    for horizon in ("15m", "1h", "24h"):
        yield from family(mase, f'horizon="{horizon}"', rng.lognormal(-0.2, 0.4, count), now)
    yield from family(names.FORECAST_ANOMALY_SCORE.name, "", rng.exponential(0.2, count), now)
    yield from family(names.FORECAST_OBSERVED.name, "", rng.normal(50, 10, count), now)
    yield from family(names.FORECAST_TIMESTAMP.name, "", np.full(count, now - 30.0), now)
    yield from samples(f'{names.FORECAST_SERIES.name}{{forecast="load"}}', count, now)
    # Recorded by rules, which don't run here.
    yield from samples('cloudpulse:forecast_age:seconds{forecast="load"}', 30.0, now)
    yield from samples('cloudpulse:forecast_anomalous:ratio{forecast="load"}', 0.2, now)
    yield from samples('cloudpulse:forecast_distrusted:ratio{forecast="load",horizon="1h"}', 0.1, now)
    yield "# EOF\n"


def family(name: str, own: str, values: np.ndarray[Any, np.dtype[np.float64]], now: int) -> Iterator[str]:
    """One sample a scrape of each series."""
    for i, value in enumerate(values):
        labels = ",".join(filter(None, ('forecast="load"', own, f'instance="host{i}",job="app",zone="z{i % 3}"')))
        yield from samples(f"{name}{{{labels}}}", float(value), now)


def samples(series: str, value: float, now: int) -> Iterator[str]:
    text = "+Inf" if value == np.inf else f"{value:.6g}"
    for scrape in range(SCRAPES):
        yield f"{series} {text} {now - scrape * SCRAPE_SECONDS}\n"


def seconds(url: str, expression: str, now: int) -> tuple[float, int]:
    """The median time of an evaluation, by HTTP, and how many series it gives."""
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        answer = requests.post(f"{url}/api/v1/query", {"query": expression, "time": str(now)}, timeout=60)
        taken.append(time.perf_counter() - began)
        answer.raise_for_status()
    return statistics.median(taken), len(answer.json()["data"]["result"])


def main() -> None:
    """Print each rule that takes 10 ms and more, and what all of them take of a core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=20_000)
    count = parser.parse_args().series
    default = Duration.parse(
        yaml.safe_load((RULES.parent / "prometheus.yml").read_text())["global"]["evaluation_interval"]
    )
    now = int(time.time())
    with tempfile.TemporaryDirectory() as folder, past.prometheus(lines(count, now), Path(folder)) as url:
        once = minute = 0.0
        for file in sorted(RULES.glob("*.yml")):
            for group in yaml.safe_load(file.read_text())["groups"]:
                interval = Duration.parse(group.get("interval", str(default)))
                for rule in group["rules"]:
                    taken, found = seconds(url, rule["expr"], now)
                    once += taken
                    minute += taken * 60 / interval
                    if taken >= TOLD:
                        name = rule.get("record") or f"{rule['alert']} {rule['labels']['severity']}"
                        print(f"{name:45} {taken * 1000:6.0f} ms every {interval}, {found} series")
    print(f"all rules once: {once * 1000:.0f} ms; of one core: {minute / 60:.1%} ({count} forecast series)")


if __name__ == "__main__":
    main()
