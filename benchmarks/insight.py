"""How long a message waits for its insight, and what a picture costs, with a real Prometheus.

    python -m benchmarks.insight [--rounds 30] [--series 2000] [--storm 200]

A day of past for `--series` series with a forecast each. First what is paid once, in a process of its own: importing
matplotlib and the first picture. Then rounds of one alert after the other, each of another series, so that nothing is
kept from before; then a storm of as many alerts at once, for 8 receivers' threads.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np

from alert_bridge import insights
from alert_bridge.insight import Insight
from alert_bridge.insights.config import InsightSettings
from alert_bridge.insights.service import PrometheusInsights
from alert_bridge.webhook import AlertGroup, parse
from benchmarks.machine import facts
from cloudpulse.config import PrometheusSettings
from cloudpulse.durations import Duration
from cloudpulse.local import past

STEP = 120
NOW = int(time.time() // STEP * STEP) - 600
HOURS = 25
LEVELS = {"0.1": -4.0, "0.5": 0.0, "0.9": 4.0}
HORIZONS = ("0s", "15m", "1h", "24h")

_COLD = """
import time; began = time.perf_counter()
from alert_bridge.insights.picture import Painter
painter = Painter(); painter.warm(); cold = time.perf_counter() - began
began = time.perf_counter(); painter.warm(); print(cold, time.perf_counter() - began)
"""


def usual(at: float, number: int) -> float:
    """Every series has its own level and phase."""
    return 50 + number % 40 + 10 * math.sin(at / 86400 * 2 * math.pi + number)


def lines(series: int) -> Iterator[str]:
    """All series for an hour, and those that the rounds are about for all hours: others only have to be there."""
    times = range(NOW - HOURS * 3600, NOW + 1, STEP)
    recent = range(NOW - 3600, NOW + 1, STEP)
    yield "# TYPE load gauge\n"
    for number in range(series):
        for at in times if number < 300 else recent:
            yield f'load{{app="app{number}",job="shop"}} {usual(at, number):.3f} {at}\n'
    yield "# TYPE cloudpulse_forecast_value gauge\n"
    for number in range(series):
        labels = f'forecast="load",app="app{number}",job="shop"'
        for horizon in HORIZONS:
            lead = Duration.parse(horizon)
            for level, off in LEVELS.items():
                for at in times if number < 300 else recent:
                    value = usual(at + lead, number) + off
                    name = f'cloudpulse_forecast_value{{{labels},horizon="{horizon}",level="{level}"}}'
                    yield f"{name} {value:.3f} {at}\n"
    yield "# TYPE cloudpulse_forecast_timestamp_seconds gauge\n"
    for number in range(series):
        for at in recent:
            yield f'cloudpulse_forecast_timestamp_seconds{{forecast="load",app="app{number}",job="shop"}} {at} {at}\n'
    yield "# EOF\n"


def group(number: int) -> AlertGroup:
    """One alert, on one of the series."""
    alert = {
        "status": "firing",
        "labels": {"alertname": "LoadHigh", "app": f"app{number}", "job": "shop"},
        "annotations": {},
        "startsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - 300)),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": f"http://prometheus/graph?g0.expr={quote('load > 20')}",
        "fingerprint": f"f{number}",
    }
    body = {"version": "4", "groupKey": f"g{number}", "receiver": "b", "status": "firing", "alerts": [alert]}
    return parse(json.dumps(body).encode())


def timed(service: PrometheusInsights, number: int) -> tuple[float, Insight]:
    """Seconds, and what was found."""
    began = time.perf_counter()
    found = service.of(group(number))
    return time.perf_counter() - began, found


def main() -> None:
    """Run once and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--series", type=int, default=2000)
    parser.add_argument("--storm", type=int, default=200)
    asked = parser.parse_args()
    done = subprocess.run([sys.executable, "-c", _COLD], capture_output=True, text=True, check=True)
    cold, warm = map(float, done.stdout.split())
    print(facts())
    print(f"picture: first {cold:.2f} s with matplotlib's import, then {warm:.2f} s")
    with tempfile.TemporaryDirectory() as folder, past.prometheus(lines(asked.series), Path(folder)) as url:
        source = insights.bounded(PrometheusSettings(url=url))
        service = PrometheusInsights(source, InsightSettings(), lambda: float(NOW))
        service.start()
        time.sleep(3)
        used = time.process_time()
        rounds = [timed(service, number) for number in range(asked.rounds)]
        used = (time.process_time() - used) / asked.rounds
        seconds = np.array([took for took, _ in rounds])
        whole = sum(bool(found.picture and found.outlooks) for _, found in rounds)
        sizes = [len(found.picture) for _, found in rounds if found.picture]
        print(f"one after the other: median {np.median(seconds):.2f} s, slowest {seconds.max():.2f} s")
        print(f"  in each, the bridge itself computes for {used:.2f} s")
        print(f"  {whole} of {asked.rounds} with picture and outlook, pictures up to {max(sizes) / 1000:.0f} kB")
        began = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(8) as receivers:
            storm = list(receivers.map(lambda n: timed(service, n % 290), range(1000, 1000 + asked.storm)))
        taken = np.array([took for took, _ in storm])
        print(f"a storm of {asked.storm}: over in {time.perf_counter() - began:.1f} s, slowest {taken.max():.2f} s")
        results = collections.Counter(
            {
                s.labels["result"]: int(s.value)
                for m in service.registry.collect()
                for s in m.samples
                if s.name.endswith("insights_total")
            }
        )
        print("  " + ", ".join(f"{result} {count}" for result, count in results.items() if count))
        service.stop()
        source.close()


if __name__ == "__main__":
    main()
