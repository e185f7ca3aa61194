"""27 hours of past, to be given to a real Prometheus: a surge, its forecast as it was scraped, others out of line."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from alert_bridge import webhook
from alert_bridge.webhook import AlertGroup
from cloudpulse.durations import Duration

MINUTES = 27 * 60
NOW = float(int(time.time() // 60 * 60) - 600)
START = NOW - (MINUTES - 1) * 60
SURGE = NOW - 20 * 60
"""When the load of `web` began to be more than anybody expected."""
BEGAN = NOW - 5 * 60
"""When alerts on it began to fire."""

WEB = {"app": "web", "instance": "10.0.0.1:9100", "job": "shop"}
API = {"app": "api", "instance": "10.0.0.2:9100", "job": "shop"}
WEIRD = {"app": 'q"uo\\te $1 {}', "instance": "10.0.0.3:9100", "job": "shop"}
LEVELS = {"0.1": -40.0, "0.5": 0.0, "0.9": 40.0}
HORIZONS = ("0s", "15m", "1h", "24h")


def usual(at: float) -> float:
    """What `web` has at this time of every day: 300 to 500, and 500 when the past ends."""
    return 400.0 + 100.0 * math.cos((at - NOW) / 86400 * 2 * math.pi)


def load(at: float) -> float:
    """The same, but for the surge: 700 now."""
    return usual(at) + 200.0 * max(0.0, (at - SURGE) / (NOW - SURGE))


def said(at: float, horizon: str, level: str) -> float:
    """What was predicted at that time: the usual; once the surge has begun, that half of it will be left in 1 h."""
    lead = Duration.parse(horizon)
    left = (load(at) - usual(at)) * {"0s": 0.0, "15m": 0.8, "1h": 0.2, "24h": 0.0}[horizon]
    return usual(at + lead) + left + LEVELS[level]


@dataclass
class Past:
    """OpenMetrics lines, a sample a minute."""

    families: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, labels: Mapping[str, str], value: Callable[[float], float | None]) -> None:
        text = ",".join(f"{key}={json.dumps(one, ensure_ascii=False)}" for key, one in labels.items())
        lines = self.families.setdefault(name, [f"# TYPE {name} gauge\n"])
        for minute in range(MINUTES):
            at = START + minute * 60
            if (sample := value(at)) is not None:
                lines.append(f"{name}{{{text}}} {sample} {at:.0f}\n")

    def lines(self) -> Iterator[str]:
        yield from itertools.chain.from_iterable(self.families.values())
        yield "# EOF\n"


def forecast(
    made: Past,
    name: str,
    labels: Mapping[str, str],
    mase: float,
    tell: Callable[..., float] = said,
    age: Callable[[float], float] = lambda _: 20.0,
) -> None:
    own = {"forecast": name, **labels}
    for horizon, level in itertools.product(HORIZONS, LEVELS):
        made.add(
            "cloudpulse_forecast_value",
            {**own, "horizon": horizon, "level": level},
            lambda at, h=horizon, q=level: tell(at, h, q),
        )
    made.add("cloudpulse_forecast_timestamp_seconds", own, lambda at: at - age(at))
    for horizon in HORIZONS[1:]:
        made.add("cloudpulse_forecast_mase", {**own, "horizon": horizon}, lambda at: mase)
        for level, share in (("0.1", 0.11), ("0.5", 0.5), ("0.9", 0.9)):
            made.add(
                "cloudpulse_forecast_coverage_ratio", {**own, "horizon": horizon, "level": level}, lambda at, s=share: s
            )


def story() -> Past:
    """All of it."""
    made = Past()
    made.add("shop_requests", WEB, load)
    made.add("shop_requests", API, lambda at: 50.0 if not NOW - 4 * 3600 < at < NOW - 3 * 3600 else None)
    made.add("shop_requests", WEIRD, lambda at: 5.0)
    made.add("shop_limit", {"app": "web"}, lambda at: 600.0)
    made.add("shop_cache_bytes", API, lambda at: 3e9)
    forecast(made, "demand", WEB, 0.62)
    forecast(made, "tired", API, 1.7, lambda at, h, q: 50.0 + LEVELS[q] / 10)
    made.add("shop_stuck", {**WEB, "stuck": "yes"}, load)
    forecast(made, "stuck", {**WEB, "stuck": "yes"}, 0.5, age=lambda at: at - (NOW - 3600) if at > NOW - 3600 else 0.0)
    made.add(
        "cloudpulse_forecast_time_to_threshold_seconds",
        {"forecast": "demand", **WEB, "threshold": "800", "level": "0.5"},
        lambda at: math.inf,
    )
    made.add(
        "cloudpulse_forecast_time_to_threshold_seconds",
        {"forecast": "demand", **WEB, "threshold": "800", "level": "0.9"},
        lambda at: 1800.0,
    )

    def surging(at: float) -> float:
        return 0.4 + 2.0 * max(0.0, (at - SURGE) / (NOW - SURGE))

    score = "cloudpulse_forecast_anomaly_score"
    made.add(score, {"forecast": "demand", **WEB}, surging)
    made.add(score, {"forecast": "latency", "app": "web", "instance": "10.0.0.1:9100"}, surging)
    made.add(score, {"forecast": "disk", "instance": "10.9.9.9:9100"}, lambda at: 1.5 if at % 600 < 300 else 1.2)
    made.add(score, {"forecast": "calm", "app": "web"}, lambda at: 0.3)
    return made


def group(*alerts: tuple[str, Mapping[str, str], str], status: str = "firing") -> AlertGroup:
    """Of alerts (expression, labels, fingerprint), which began at BEGAN."""
    told: list[dict[str, Any]] = [
        {
            "status": status,
            "labels": {"alertname": "TooMuch", "severity": "critical", **labels},
            "annotations": {},
            "startsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGAN)),
            "endsAt": "0001-01-01T00:00:00Z"
            if status == "firing"
            else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW)),
            "generatorURL": f"http://prometheus.example:9090/graph?{urlencode({'g0.expr': expression, 'g0.tab': 1})}",
            "fingerprint": fingerprint,
        }
        for expression, labels, fingerprint in alerts
    ]
    frame = {"version": "4", "groupKey": "{}:{}", "receiver": "bridge", "status": status, "alerts": told}
    return webhook.parse(json.dumps(frame).encode())
