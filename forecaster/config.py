"""The `forecaster` section of the config."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from cloudpulse import ahead
from cloudpulse.config import ClientTls, Secret, Section
from cloudpulse.durations import Duration
from cloudpulse.errors import ConfigError
from forecaster.localtime import Calendar
from forecaster.models import build

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_DASK_ADDRESS = re.compile(r"(tcp|tls|ucx|ws|wss)://[^/\s]+:[0-9]+")
_INNER_LEVELS = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)


class Bounds(Section, frozen=True):
    """Values that the series can't leave; forecasts are clipped to them."""

    min: float | None = None
    max: float | None = None

    def __post_init__(self) -> None:
        if self.min is not None and self.max is not None and self.min >= self.max:
            raise ValueError(f"expected min below max, got {self.min} and {self.max}")


class Threshold(Section, frozen=True):
    """A value whose crossing is forecast: upwards, or downwards for what must not run out."""

    value: float
    direction: str = "up"

    def __post_init__(self) -> None:
        if self.direction not in ("up", "down"):
            raise ValueError(f'direction: expected up or down, got "{self.direction}"')

    @property
    def sign(self) -> int:
        """1 or -1: times this, every crossing is one upwards."""
        return 1 if self.direction == "up" else -1

    @property
    def label(self) -> str:
        """The label `threshold`."""
        return f"{self.value:g}"


_HORIZONS = tuple(map(Duration.parse, ("5m", "15m", "1h", "24h")))
"""Unless others are named, of these the ones that a step reaches."""


class Target(Section, frozen=True):
    """A query to forecast, with its step, history and horizons."""

    name: str
    query: str
    step: Duration = Duration(60)
    history: Duration = Duration(14 * 86400)
    horizons: tuple[Duration, ...] = _HORIZONS
    levels: tuple[float, ...] = (0.1, 0.5, ahead.DEFAULT_LEVEL, 0.9)
    bounds: Bounds = Bounds()
    thresholds: tuple[float | Threshold, ...] = ()
    models: Literal["auto"] | tuple[str, ...] = "auto"
    timezone: str = "UTC"
    every: Duration = Duration(60)
    train_every: Duration = Duration(6 * 3600)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f'name: expected lower-case letters, digits and _, got "{self.name}"')
        if not self.query.strip():
            raise ValueError("query: expected a PromQL expression, got nothing")
        for key, duration in (("step", self.step), ("every", self.every), ("train_every", self.train_every)):
            if duration < 1:
                raise ValueError(f"{key}: expected at least 1s, got {duration}")
        if self.history < 2 * self.step:
            raise ValueError(f"history: expected at least two steps of {self.step}, got {self.history}")
        if self.horizons is _HORIZONS:
            msgspec.structs.force_setattr(self, "horizons", tuple(one for one in _HORIZONS if one >= self.step))
        if not self.horizons:
            raise ValueError("horizons: expected at least one, such as 1h")
        for i, horizon in enumerate(self.horizons):
            if horizon < self.step:
                raise ValueError(f"horizons[{i}]: expected at least one step of {self.step}, got {horizon}")
        if len(set(self.horizons)) != len(self.horizons):
            raise ValueError(f"horizons: expected each once, got {', '.join(map(str, self.horizons))}")
        if not self.levels or any(not 0 < level < 1 for level in self.levels):
            raise ValueError(f"levels: expected numbers between 0 and 1, got {list(self.levels)}")
        if list(self.levels) != sorted(set(self.levels)):
            raise ValueError(f"levels: expected rising levels, each once, got {list(self.levels)}")
        try:
            build(self.models, self.calendar)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        labels = [threshold.label for threshold in self.crossings]
        if len(set(labels)) != len(labels):
            raise ValueError(f"thresholds: expected each once, got {', '.join(labels)}")

    @property
    def columns(self) -> int:
        """Length of the history, in steps."""
        return int(self.history // self.step)

    @property
    def steps(self) -> int:
        """Steps to predict: the longest horizon, seen from as late as the next prediction."""
        late = max(self.every, self.step)
        return int(-(-(max(self.horizons) + late) // self.step))

    @property
    def calendar(self) -> Calendar:
        """By whose clock the models tell hours and days. Raises ValueError for a time zone that doesn't exist."""
        return Calendar(self.timezone)

    @property
    def purpose(self) -> str:
        """What trained models depend on: with another of these they are of no use."""
        models = self.models if isinstance(self.models, str) else ",".join(self.models)
        place = "" if self.calendar.plain else f" timezone={self.timezone}"
        return f"{self.query} step={float(self.step):g}s steps={self.steps} models={models}{place}"

    @property
    def all_levels(self) -> tuple[float, ...]:
        """The levels that are scored and stored: those asked for, and the median that accuracy is measured on."""
        return tuple(sorted({*self.levels, 0.5}))

    @property
    def predicted_levels(self) -> tuple[float, ...]:
        """The levels to ask models for: chances of crossing need more of the distribution than is shown."""
        return tuple(sorted({*self.all_levels, *(_INNER_LEVELS if self.thresholds else ())}))

    @property
    def crossings(self) -> tuple[Threshold, ...]:
        """The thresholds; a plain number is one that is crossed upwards."""
        return tuple(one if isinstance(one, Threshold) else Threshold(value=one) for one in self.thresholds)


class Dask(Section, frozen=True):
    """A Dask cluster that trains; `dask` is its scheduler's address."""

    dask: str

    def __post_init__(self) -> None:
        if not _DASK_ADDRESS.fullmatch(self.dask):
            raise ValueError(f'dask: expected a scheduler such as tcp://host:8786, got "{self.dask}"')


class AlertBridge(Section, frozen=True):
    """The alert bridge whose alerts `/api/v1/stream` tells as well; the key of a reader, where it asks for one."""

    url: str
    api_key: Secret | None = None
    api_key_file: Path | None = None
    tls_config: ClientTls = ClientTls()

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("url: expected a URL such as http://localhost:9812")  # it may hold a password
        if parts.username is not None or parts.password is not None:
            raise ValueError("url: expected no user and password in it: a key goes under api_key_file")
        if parts.query or parts.fragment:
            raise ValueError("url: expected nothing after the path, such as ?… or #…")
        if self.api_key is not None and self.api_key_file is not None:
            raise ValueError("api_key and api_key_file can't both be set: keep one")


class StreamSettings(Section, frozen=True):
    """`/api/v1/stream`: how many clients at the same time."""

    most: int = 256

    def __post_init__(self) -> None:
        if not 0 <= self.most <= 10_000:
            raise ValueError(f"most: expected 0 to 10000, got {self.most}")


class ForecasterSettings(Section, frozen=True):
    """The whole section. `workers` parts are trained at a time, on processes of this machine or on `executor`."""

    data_dir: Path = Path("data/forecaster")
    max_series: int = 20_000
    workers: int = 1
    executor: str | Dask = "processes"
    stream: StreamSettings = StreamSettings()
    alert_bridge: AlertBridge | None = None
    forecasts: tuple[Target, ...] = ()

    def __post_init__(self) -> None:
        if self.max_series < 1:
            raise ValueError(f"max_series: expected 1 or more, got {self.max_series}")
        if self.workers < 1:
            raise ValueError(f"workers: expected 1 or more, got {self.workers}")
        if isinstance(self.executor, str) and self.executor != "processes":
            raise ValueError(f'executor: expected processes or dask: tcp://host:8786, got "{self.executor}"')
        seen = set()
        for i, target in enumerate(self.forecasts):
            if target.name in seen:
                raise ValueError(f'forecasts[{i}].name: "{target.name}" is used twice')
            seen.add(target.name)
