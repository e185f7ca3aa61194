"""Other people's services of which CloudPulse shows something: an application, kube-state-metrics, a Docker Engine."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

Labels = dict[str, str]
DAY = 86400
SHOP_DAYS, SHOP_STEP = 2, 60


class Others:
    """A WSGI application: metrics of a shop and of kube-state-metrics when asked; who posts gets 400, at /busy 503.

    The shop's demand follows the time of day until `surge`, which is more than anybody could expect.
    """

    def __init__(self) -> None:
        self.surge = False

    def series(self, at: float) -> Iterator[tuple[str, Labels, float]]:
        """Names as kube-state-metrics has them (its docs/metrics/workload/horizontalpodautoscaler-metrics.md)."""
        yield "shop_requests", {"app": "web"}, _usual(at) * (5 if self.surge else 1)
        hpa = {"namespace": "shop", "horizontalpodautoscaler": "web"}
        figures = {"spec_min_replicas": 2, "spec_max_replicas": 10}
        figures |= {"status_current_replicas": 4, "status_desired_replicas": 5}
        for name, value in figures.items():
            yield f"kube_horizontalpodautoscaler_{name}", hpa, value
        for condition, true in {"AbleToScale": True, "ScalingActive": True, "ScalingLimited": False}.items():
            for status in ("true", "false", "unknown"):
                told = {**hpa, "condition": condition, "status": status}
                is_so = status == ("true" if true else "false")
                yield "kube_horizontalpodautoscaler_status_condition", told, float(is_so)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        kind = [("Content-Type", "text/plain; version=0.0.4")]
        if environ["REQUEST_METHOD"] == "POST":
            busy = environ["PATH_INFO"] == "/busy"
            start_response("503 Service Unavailable" if busy else "400 Bad Request", kind)
            return [b"not now" if busy else b"not for me"]
        start_response("200 OK", kind)
        return ["".join(f"{_written(name, labels)} {v}\n" for name, labels, v in self.series(time.time())).encode()]


def shop_past(until: float, instance: str) -> Iterator[str]:
    """OpenMetrics lines of the shop's last days, as if scraped at `instance` by the job "others"."""
    labels = _written("shop_requests", {"app": "web", "instance": instance, "job": "others"})
    yield "# TYPE shop_requests gauge\n"
    for at in range(int(until) - SHOP_DAYS * DAY, int(until), SHOP_STEP):
        yield f"{labels} {_usual(at)} {at}\n"
    yield "# EOF\n"


class Swarm:
    """What a manager of a swarm answers about one service, which it scales at once (Docker Engine API 1.41)."""

    def __init__(self, name: str) -> None:
        self._service: dict[str, Any] = {
            "ID": "9mnpnzenvg8p8tdbtq4wvbkcz",
            "Version": {"Index": 19},
            "Spec": {"Name": name, "TaskTemplate": {}, "Mode": {"Replicated": {"Replicas": 1}}},
        }

    def answer(self, method: str, target: str, body: bytes | None) -> tuple[int, Any]:
        """Status and JSON."""
        path = target.partition("?")[0].removeprefix("/v1.41")
        if path == "/version":
            return 200, {"ApiVersion": "1.41", "MinAPIVersion": "1.12", "Version": "20.10.24"}
        if path == "/tasks":
            replicas = self._service["Spec"]["Mode"]["Replicated"]["Replicas"]
            return 200, [{"Status": {"State": "running"}}] * replicas
        if method == "POST" and path.endswith("/update") and body is not None:
            self._service["Spec"] = json.loads(body)
            self._service["Version"]["Index"] += 1
            return 200, {"Warnings": None}
        if path == f"/services/{self._service['Spec']['Name']}":
            return 200, self._service
        return 404, {"message": f"page not found: {method} {target}"}


def _usual(at: float) -> float:
    return 100 + 40 * math.sin(at / DAY * math.tau) + 5 * math.sin(at / 7)


def _written(name: str, labels: Labels) -> str:
    pairs = ",".join(f'{key}="{value}"' for key, value in labels.items())
    return f"{name}{{{pairs}}}"
