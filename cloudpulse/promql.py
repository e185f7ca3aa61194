"""Asking Prometheus: a PromQL query in, series out; every failure is one of `errors.SourceError`."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import msgspec
import numpy as np
import requests
from numpy.typing import NDArray
from prometheus_api_client import PrometheusConnect
from urllib3.util.retry import Retry

from cloudpulse import logs, trace
from cloudpulse.answers import Answer, Data
from cloudpulse.config import PrometheusSettings, secret_text
from cloudpulse.errors import (
    AnswerUnusable,
    QueryRejected,
    QueryTimeout,
    SourceError,
    SourceUnavailable,
    TooManySamples,
)
from cloudpulse.pacing import Pace, Turns

Labels = Mapping[str, str]

MAX_POINTS = 11_000
"""Points per series that Prometheus answers at most in one range query (web/api/v1/api.go)."""
MOST_PACES = 1000
"""Of so many queries the cost is known; the alert bridge asks what alerts say, always something else."""
SHORT_READ = 60
"""A range of at most so many points is a round's own reading, and waits for no longer one."""

SLOW_SECONDS = 5.0
"""A query that takes so long is told in the log, with the id of what it was asked for."""

_CONFIG_SECONDS = 5.0
"""How long a server's own config is waited for: only hints depend on it."""

log = logs.get(__name__)


@dataclass(frozen=True)
class Series:
    """Labels and samples: `times` in Unix seconds, rising; `values` as Prometheus has them, NaN and Inf included."""

    labels: Labels
    times: NDArray[np.float64]
    values: NDArray[np.float64]


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One series' labels and value at one moment, NaN and Inf included.

    A rule of the scaler reads 10,000 each time: a Struct is made 7 times as fast as a dataclass, and without `gc` it
    is none of the garbage collector's, which stops all threads for as long as it takes to look at every object.
    """

    labels: Labels
    value: float


class MetricSource(Protocol):
    """Answers PromQL. Both methods raise errors.SourceError and may be called from several threads."""

    def instant(self, query: str, at: float | None = None) -> list[Sample]:
        """The vector at Unix time `at` (None: now), one sample a series, of the time asked for."""

    def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """The samples at start, start + step, …, up to end (Unix seconds, both ends included)."""


class _ConfigText(msgspec.Struct):
    yaml: str


class _Configuration(msgspec.Struct):
    data: _ConfigText


@dataclass(frozen=True)
class _Piece:
    """A part of a range, and what it cost."""

    series: list[Series]
    samples: int  # held at once by Prometheus; the answer's own where it doesn't say
    seconds: float


class Prometheus:
    """A Prometheus server, or anything that speaks its query API; a MetricSource.

    Connection, authentication and TLS are prometheus-api-client's; answers are read from the raw body, since its
    parsed path is several times slower, and without compression, the largest cost of all on a LAN.
    A range that isn't read within `longest_range_seconds`, all its pieces and rests together, is a QueryTimeout.
    """

    def __init__(self, settings: PrometheusSettings, longest_range_seconds: float = math.inf) -> None:
        self._settings = settings
        self._longest_range = longest_range_seconds
        self._url = settings.url.rstrip("/")
        self._host = urlsplit(self._url).hostname or ""
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy variable must not redirect metrics
        self._session.headers.update({**settings.headers, "Accept-Encoding": "identity"})
        tls = settings.tls_config
        self._session.verify = False if tls.insecure_skip_verify else str(tls.ca_file) if tls.ca_file else True
        if tls.cert_file:
            self._session.cert = (str(tls.cert_file), str(tls.key_file)) if tls.key_file else str(tls.cert_file)
        self._connection = PrometheusConnect(
            url=self._url, session=self._session, timeout=float(settings.timeout), retry=Retry(total=0), method="POST"
        )
        self._slots = threading.BoundedSemaphore(settings.max_concurrent_queries)
        self._turns = Turns()
        self._paces: dict[str, Pace] = {}
        self._paces_lock = threading.Lock()

    def instant(self, query: str, at: float | None = None) -> list[Sample]:
        """See MetricSource."""
        moment = time.time() if at is None else at
        data, _ = self._ask("query", {"query": query, "time": f"{moment:.3f}"}, query)
        with _expecting(data, query, "vector"):
            return [Sample(labels, value) for labels, value in data.vector()]

    def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """See MetricSource; asks in pieces on the same grid, the newest first, each within the budget.

        Pieces are of time only: PromQL can't ask for half of an expression's series, and a filter around it would
        load them all the same. Where a single point is over the budget, TooManySamples says so.
        """
        pace = self._pace(query)
        pieces: list[list[Series]] = []
        count = left = int((end - start) / step + 1e-9) + 1
        turns = self._turns if count > SHORT_READ else None
        timeouts = 0
        began = time.monotonic()
        while left > 0:
            if time.monotonic() - began > self._longest_range:
                raise QueryTimeout(f"the range was not read within {self._longest_range:g} s: {query}")
            points = min(pace.points, left, MAX_POINTS)
            try:
                piece = self._piece(query, start + (left - points) * step, points, step, turns)
            except (QueryTimeout, TooManySamples) as error:
                pace.refused(points)
                timeouts += isinstance(error, QueryTimeout)
                if points == 1 or timeouts > 1:
                    raise
                continue
            pace.answered(points, piece.samples, piece.seconds)
            if points == 1 and piece.samples > self._settings.max_samples_per_query:
                raise TooManySamples(
                    f"the query loads {piece.samples} samples for a single point, more than "
                    f"prometheus.max_samples_per_query: use a recording rule, or raise it (query: {query})"
                )
            pieces.append(piece.series)
            left -= points
        return _joined(pieces[::-1])

    def configuration(self) -> str:
        """The server's own config as YAML, secrets hidden; nothing from one that doesn't tell (Thanos, Mimir, …).

        Source: https://prometheus.io/docs/prometheus/latest/querying/api/#config. Raises nothing.
        """
        limit = min(float(self._settings.timeout), _CONFIG_SECONDS)
        try:
            answer = self._session.get(
                f"{self._url}/api/v1/status/config", headers=self._authorization(), timeout=limit
            )
            return msgspec.json.decode(answer.content, type=_Configuration).data.yaml if answer.ok else ""
        except (requests.RequestException, msgspec.MsgspecError):
            return ""

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def _pace(self, query: str) -> Pace:
        """What is known of the cost of a query; of those that were asked first it is forgotten."""
        with self._paces_lock:
            if query not in self._paces and len(self._paces) >= MOST_PACES:
                self._paces.pop(next(iter(self._paces)))
            return self._paces.setdefault(query, Pace(self._settings.max_samples_per_query))

    def _piece(self, query: str, start: float, points: int, step: float, turns: Turns | None) -> _Piece:
        bounds = {"start": f"{start:.3f}", "end": f"{start + (points - 1) * step:.3f}", "step": f"{step:.3f}"}
        with turns.turn() if turns else contextlib.nullcontext():
            data, seconds = self._ask("query_range", {"query": query, **bounds, "stats": "true"}, query)
        with _expecting(data, query, "matrix"):
            series = [Series(item.metric, *item.samples()) for item in data.matrix()]
        loaded = data.peak_samples
        return _Piece(series, sum(one.times.size for one in series) if loaded is None else loaded, seconds)

    def _ask(self, endpoint: str, parameters: dict[str, str], query: str) -> tuple[Data, float]:
        """The answer, and how many seconds it took."""
        about: dict[str, str | float] = {
            "db__system__name": "prometheus",
            "db__operation__name": endpoint,
            "db__query__text": query,
            "server__address": self._host,
        }
        with trace.span(f"{endpoint} prometheus", "client", **about) as span:
            try:
                data, seconds = self._answered(endpoint, parameters, query)
            except SourceError as error:
                span.failed(type(error).__name__)
                raise
            if seconds >= SLOW_SECONDS:
                log.info("slow query", seconds=round(seconds, 3), endpoint=endpoint, query=query)
            else:
                log.debug("queried", seconds=round(seconds, 3), endpoint=endpoint, query=query)
            return data, seconds

    def _answered(self, endpoint: str, parameters: dict[str, str], query: str) -> tuple[Data, float]:
        limit = float(self._settings.timeout)
        url = f"{self._url}/api/v1/{endpoint}"
        try:
            with self._slots:
                began = time.monotonic()
                response = self._session.post(
                    url,
                    data={**parameters, "timeout": f"{limit:g}s"},
                    headers={**self._authorization(), **trace.headers()},
                    timeout=limit,
                )
                seconds = time.monotonic() - began
        except requests.Timeout as error:
            kind = QueryTimeout if isinstance(error, requests.ReadTimeout) else SourceUnavailable
            raise kind(f"Prometheus at {self._url} did not answer within {limit:g} s: {query}") from error
        except requests.RequestException as error:
            raise SourceUnavailable(f"Prometheus at {self._url} is not reached: {_cause(error)}") from error
        try:
            answer = msgspec.json.decode(response.content, type=Answer)
        except msgspec.DecodeError as error:
            raise (SourceUnavailable if response.status_code >= 500 or response.ok else QueryRejected)(
                f"{url} answered {response.status_code} {response.reason}, not Prometheus' JSON: check prometheus.url"
            ) from error
        if answer.status != "success" or answer.data is None:
            raise _refusal(response.status_code, answer)(
                f"Prometheus refused the query: {answer.error} (query: {query})"
            )
        return answer.data, seconds

    def _authorization(self) -> dict[str, str]:
        """Made anew for every request, so that a rotated secret file needs no restart."""
        if basic := self._settings.basic_auth:
            password = secret_text(basic.password, basic.password_file)
            request = requests.Request("GET", self._url)
            return dict(requests.auth.HTTPBasicAuth(basic.username, password)(request.prepare()).headers)
        if header := self._settings.authorization:
            return {"Authorization": f"{header.type} {secret_text(header.credentials, header.credentials_file)}"}
        return {}


def _refusal(status: int, answer: Answer) -> type[SourceError]:
    """503 is a timeout or abort, 422 an expression that can't be executed, 400 one that can't be parsed."""
    if status >= 500:
        return QueryTimeout if answer.errorType == "timeout" else SourceUnavailable
    return TooManySamples if "too many samples" in answer.error else QueryRejected


@contextlib.contextmanager
def _expecting(data: Data, query: str, expected: str) -> Iterator[None]:
    """Say what is wrong with an answer of another kind or form, as AnswerUnusable."""
    if data.resultType != expected:
        raise AnswerUnusable(
            f"the query answers a {data.resultType}, not series: use a metric or an expression over one "
            f"(query: {query})"
        )
    try:
        yield
    except ValueError as error:
        raise AnswerUnusable(f"the answer is not Prometheus' JSON: {error} (query: {query})") from error


def _joined(pieces: Sequence[Sequence[Series]]) -> list[Series]:
    """The series of all pieces, which follow one another in time."""
    if len(pieces) == 1:
        return list(pieces[0])
    parts: dict[tuple[tuple[str, str], ...], list[Series]] = {}
    for series in itertools.chain.from_iterable(pieces):
        parts.setdefault(tuple(sorted(series.labels.items())), []).append(series)
    return [
        Series(same[0].labels, np.concatenate([s.times for s in same]), np.concatenate([s.values for s in same]))
        for same in parts.values()
    ]


def _cause(error: BaseException) -> str:
    """The innermost reason, such as `[Errno 111] Connection refused`, without the layers of wrapping."""
    seen = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = error.__cause__ or getattr(error, "reason", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = str(error)
    return text.rpartition(": ")[2] if "Errno" in text else text
