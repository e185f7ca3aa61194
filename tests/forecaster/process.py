"""A forecaster as a real process, in front of a Prometheus that the test plays."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import requests

from cloudpulse.promql import Series
from cloudpulse.testing import FakeSource

_URL = re.compile(r'"url": ?"(http://[^"]+)"')


class Playing:
    """What the Prometheus has: series that follow from `value(unix seconds)`, one sample a second."""

    def __init__(self, names: tuple[str, ...] = ("a", "b")) -> None:
        self.names = names
        self.value: Callable[[Any], Any] = lambda times: 10 + np.sin(times)
        self.source = FakeSource(self._series, time.time)

    def _series(self, _: str) -> list[Series]:
        times = np.arange(int(time.time()) - 600, int(time.time()) + 1, 1.0)
        return [Series({"__name__": "rps", "app": name}, times, self.value(times)) for name in self.names]


class ForecasterProcess:
    """`cloudpulse forecaster` on a free port with its data in `place`: one forecast, anew every second.

    `lines` are further YAML lines of its section, indented by two.
    """

    def __init__(self, place: Path, prometheus: str, lines: str = "") -> None:
        self._place = place
        self._prometheus = prometheus
        place.mkdir(parents=True, exist_ok=True)
        self.configure(lines)
        self.start()

    def configure(self, lines: str, names: tuple[str, ...] = ("rps",)) -> None:
        """Write the config; what runs reads it when it is told to reload."""
        forecasts = "".join(
            f"    - {{name: {name}, query: rps, step: 1s, every: 1s, history: 5m, horizons: [5s], "
            "models: [seasonal_naive], thresholds: [100]}\n"
            for name in names
        )
        (self._place / "cloudpulse.yaml").write_text(
            f"prometheus: {{url: '{self._prometheus}'}}\n"
            f"forecaster:\n  data_dir: {self._place / 'data'}\n{lines}  forecasts:\n{forecasts}"
        )

    def start(self, port: int = 0) -> None:
        """Start it (again) and wait until it listens."""
        options = ["--config", str(self._place / "cloudpulse.yaml"), "--web.listen-address", f"127.0.0.1:{port}"]
        with (self._place / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cloudpulse", "forecaster", *options, "--log-format", "json"]
                + ["--web.enable-lifecycle"],
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while not (found := _URL.findall(self.log)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the forecaster did not start: {self.log}")
            time.sleep(0.02)
        self.url: str = found[0]

    @property
    def log(self) -> str:
        """What this start has logged so far, JSON lines."""
        text = (self._place / "log").read_text()
        return text[: text.rfind("\n") + 1]

    def stream(self, query: str = "") -> str:
        """Where its stream is."""
        return f"{self.url.replace('http', 'ws', 1)}/api/v1/stream{query}"

    def get(self, path: str) -> Any:
        """JSON."""
        return requests.get(f"{self.url}{path}", timeout=10).json()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)
