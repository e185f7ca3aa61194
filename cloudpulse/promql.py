"""Asking Prometheus: a PromQL query in, series out; every failure is one of `errors.SourceError`."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import numpy as np
import requests
from numpy.typing import NDArray
from prometheus_api_client import PrometheusConnect
from urllib3.util.retry import Retry

from cloudpulse.config import PrometheusSettings, secret_text
from cloudpulse.errors import AnswerUnusable, QueryRejected, SourceUnavailable

Labels = Mapping[str, str]

MAX_POINTS = 11_000
"""Points per series that Prometheus answers at most in one range query (web/api/v1/api.go)."""


@dataclass(frozen=True)
class Series:
    """Labels and samples: `times` in Unix seconds, rising; `values` as Prometheus has them, NaN and Inf included."""

    labels: Labels
    times: NDArray[np.float64]
    values: NDArray[np.float64]


class MetricSource(Protocol):
    """Answers PromQL. Both methods raise errors.SourceError and may be called from several threads."""

    def instant(self, query: str, at: float | None = None) -> list[Series]:
        """The vector at Unix time `at` (None: now), one sample a series, stamped with the time asked for."""

    def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """The samples at start, start + step, …, up to end (Unix seconds, both ends included)."""


class _Result(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str] | None = None
    values: list[tuple[float, str]] | None = None


class _Data(msgspec.Struct):
    resultType: str  # noqa: N815  Prometheus' word
    result: msgspec.Raw


class _Answer(msgspec.Struct):
    status: str
    data: _Data | None = None
    error: str = ""


class Prometheus:
    """A Prometheus server, or anything that speaks its query API; a MetricSource.

    Connection, authentication and TLS are prometheus-api-client's; range answers are read from the raw body,
    since its parsed path is several times slower, and without compression, the largest cost of all on a LAN.
    """

    def __init__(self, settings: PrometheusSettings) -> None:
        self._settings = settings
        self._url = settings.url.rstrip("/")
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

    def instant(self, query: str, at: float | None = None) -> list[Series]:
        """See MetricSource."""
        moment = time.time() if at is None else at
        answer = self._ask("query", {"query": query, "time": f"{moment:.3f}"}, query)
        return [_series(item.metric, [item.value]) for item in self._vector(answer, query, "vector") if item.value]

    def range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        """See MetricSource; asks in pieces of at most `MAX_POINTS` points, on the same grid."""
        pieces: dict[tuple[tuple[str, str], ...], list[Series]] = {}
        count = int((end - start) / step + 1e-9) + 1
        for first in range(0, count, MAX_POINTS):
            last = min(first + MAX_POINTS, count) - 1
            bounds = {"start": f"{start + first * step:.3f}", "end": f"{start + last * step:.3f}"}
            answer = self._ask("query_range", {"query": query, "step": f"{step:.3f}", **bounds}, query)
            for item in self._vector(answer, query, "matrix"):
                pieces.setdefault(tuple(sorted(item.metric.items())), []).append(
                    _series(item.metric, item.values or [])
                )
        return [_joined(parts) for parts in pieces.values()]

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def _ask(self, endpoint: str, parameters: dict[str, str], query: str) -> _Answer:
        limit = float(self._settings.timeout)
        url = f"{self._url}/api/v1/{endpoint}"
        try:
            with self._slots:
                response = self._session.post(
                    url, data={**parameters, "timeout": f"{limit:g}s"}, headers=self._authorization(), timeout=limit
                )
        except requests.Timeout as error:
            raise SourceUnavailable(f"Prometheus at {self._url} did not answer within {limit:g} s: {query}") from error
        except requests.RequestException as error:
            raise SourceUnavailable(f"Prometheus at {self._url} is not reached: {_cause(error)}") from error
        try:
            answer = msgspec.json.decode(response.content, type=_Answer)
        except msgspec.DecodeError as error:
            kind = SourceUnavailable if response.status_code >= 500 or response.ok else QueryRejected
            raise kind(
                f"{url} answered {response.status_code} {response.reason}, not Prometheus' JSON: check prometheus.url"
            ) from error
        if answer.status != "success" or answer.data is None:
            # 503 is a timeout or abort, 422 an expression that can't be executed, 400 one that can't be parsed.
            kind = SourceUnavailable if response.status_code >= 500 else QueryRejected
            raise kind(f"Prometheus refused the query: {answer.error} (query: {query})")
        return answer

    def _vector(self, answer: _Answer, query: str, expected: str) -> list[_Result]:
        assert answer.data is not None
        kind = answer.data.resultType
        if kind != expected:
            raise AnswerUnusable(
                f"the query answers a {kind}, not series: use a metric or an expression over one (query: {query})"
            )
        try:
            return msgspec.json.decode(answer.data.result, type=list[_Result])
        except msgspec.DecodeError as error:
            raise AnswerUnusable(f"the answer is not Prometheus' JSON: {error} (query: {query})") from error

    def _authorization(self) -> dict[str, str]:
        """Made anew for every request, so that a rotated secret file needs no restart."""
        if basic := self._settings.basic_auth:
            password = secret_text(basic.password, basic.password_file)
            request = requests.Request("GET", self._url)
            return dict(requests.auth.HTTPBasicAuth(basic.username, password)(request.prepare()).headers)
        if header := self._settings.authorization:
            return {"Authorization": f"{header.type} {secret_text(header.credentials, header.credentials_file)}"}
        return {}


def _series(labels: dict[str, str], samples: list[Any]) -> Series:
    times = np.array([time for time, _ in samples], dtype=np.float64)
    # Prometheus writes NaN, +Inf and -Inf as Go does; float() reads all three.
    values = np.array([text for _, text in samples], dtype=np.str_).astype(np.float64)
    return Series(labels, times, values)


def _joined(parts: list[Series]) -> Series:
    if len(parts) == 1:
        return parts[0]
    return Series(parts[0].labels, np.concatenate([p.times for p in parts]), np.concatenate([p.values for p in parts]))


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
