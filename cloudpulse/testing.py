"""Doubles that ship with the package: a fake clock, a fake PromQL source and its HTTP face, a server in a thread."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import numpy as np

from cloudpulse import logs
from cloudpulse.errors import SourceError
from cloudpulse.limits import Limits
from cloudpulse.promql import Sample, Series
from cloudpulse.serving import Environ, StartResponse, WsgiApp, in_thread


class FakeClock:
    """A clock that moves only when told."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds


class FakeSource:
    """A MetricSource that computes its answers: `samples(query)` gives whole series, the methods cut them.

    Set `error` to make every call raise it. `asked` keeps the queries.
    """

    def __init__(self, samples: Callable[[str], list[Series]], clock: Callable[[], float]) -> None:
        self.samples = samples
        self.clock = clock
        self.error: SourceError | None = None
        self.asked: list[str] = []

    def instant(self, query: str, at: float | None = None) -> list[Sample]:
        """The newest sample of the last 5 minutes (Prometheus' look-back)."""
        moment = self.clock() if at is None else at
        answer = []
        for series in self._answer(query):
            seen = (series.times <= moment) & (series.times > moment - 300)
            if seen.any():
                answer.append(Sample(series.labels, float(series.values[seen][-1])))
        return answer

    def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """At each grid point the newest sample of the last 5 minutes; points without one are left out."""
        grid = start + step * np.arange(int((end - start) / step + 1e-9) + 1, dtype=np.float64)
        answer = []
        for series in self._answer(query):
            position = np.searchsorted(series.times, grid, side="right") - 1
            fresh = (position >= 0) & (grid - series.times[np.maximum(position, 0)] < 300)
            if fresh.any():
                answer.append(Series(series.labels, grid[fresh], series.values[position[fresh]]))
        return answer

    def _answer(self, query: str) -> list[Series]:
        self.asked.append(query)
        if self.error is not None:
            raise self.error
        return self.samples(query)


@contextlib.contextmanager
def captured_logs() -> Iterator[list[dict[str, Any]]]:
    """What is logged meanwhile, at any level: `event`, `level`, the fields, and `exc_info` with a traceback's error.

    Lines of ours only; the fields are as they were given, not yet text.
    """
    lines: list[dict[str, Any]] = []
    catching = _Catching(lines)
    root = logging.getLogger()
    before = root.level
    root.addHandler(catching)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(before)
        root.removeHandler(catching)


class _Catching(logging.Handler):
    def __init__(self, lines: list[dict[str, Any]]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, logs.FIELDS, None)
        if fields is not None:
            line = {"event": record.getMessage(), "level": record.levelname.lower(), **fields}
            self._lines.append(line | ({"exc_info": record.exc_info[1]} if record.exc_info else {}))


def serving(app: WsgiApp, listen: str = "127.0.0.1:0") -> contextlib.AbstractContextManager[str]:
    """Serve `app` over real HTTP, on a free loopback port unless told; a context manager that gives its URL."""
    return in_thread(app, listen, Limits(body=lambda: 2**26))  # doubles of services that take large bodies


def query_api(source: FakeSource) -> WsgiApp:
    """Prometheus' query API over `source`; the `error` of the source is a refusal, 400."""

    def answer(environ: Environ, start_response: StartResponse) -> list[bytes]:
        if environ["REQUEST_METHOD"] != "POST":
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        form = parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
        asked = {key: values[0] for key, values in form.items()}
        headers = [("Content-Type", "application/json")]
        try:
            if environ["PATH_INFO"] == "/api/v1/query":
                moment = float(asked["time"])
                data = _vector(source.instant(asked["query"], moment), moment)
            else:
                bounds = (float(asked[name]) for name in ("start", "end", "step"))
                data = _matrix(source.range(asked["query"], *bounds))
        except SourceError as error:
            start_response("400 Bad Request", headers)
            return [json.dumps({"status": "error", "errorType": "bad_data", "error": str(error)}).encode()]
        start_response("200 OK", headers)
        return [json.dumps({"status": "success", "data": data}).encode()]

    return answer


def _vector(samples: list[Sample], moment: float) -> dict[str, object]:
    result = [{"metric": dict(one.labels), "value": [moment, str(one.value)]} for one in samples]
    return {"resultType": "vector", "result": result}


def _matrix(series: list[Series]) -> dict[str, object]:
    result = [
        {
            "metric": dict(one.labels),
            "values": [[t, str(v)] for t, v in zip(one.times.tolist(), one.values.tolist(), strict=True)],
        }
        for one in series
    ]
    return {"resultType": "matrix", "result": result}
