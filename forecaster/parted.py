"""A Predictor made of parts: each series is forecast by the newest part that was trained on it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import Forecast
from forecaster.frame import Frame
from forecaster.model import Predictor, label_key
from forecaster.models.ensemble import EnsemblePredictor
from forecaster.registry import About

_NOBODY = -1
_NO_SERIES = Frame(0.0, 1.0, (), np.empty((0, 0)))


@dataclass(frozen=True)
class Part:
    """Some series of a target, trained together."""

    keys: tuple[str, ...]  # as `label_key` gives them
    predictor: Predictor
    version: int = 0  # 0: fitted on the spot, not stored
    about: About | None = None  # its training; None when fitted on the spot

    @property
    def trained_at(self) -> float:
        """Unix time at which its training began; NaN when fitted on the spot."""
        return self.about.trained_at if self.about else math.nan


@dataclass(frozen=True)
class PartedPredictor:
    """As a Predictor, but for `state`: its parts have theirs. Series that no part knows get the floor's forecast."""

    parts: tuple[Part, ...]
    owner: Mapping[str, int]  # key -> index in parts
    floor: Predictor

    @classmethod
    def of(cls, parts: Sequence[Part], floor: Predictor) -> PartedPredictor:
        """From parts, the most trusted last; a part is dropped when later ones know all of its series."""
        owner = {key: part for part in parts for key in part.keys}
        owners = set(map(id, owner.values()))
        kept = tuple(part for part in parts if id(part) in owners)
        index = {id(part): i for i, part in enumerate(kept)}
        return cls(kept, {key: index[id(part)] for key, part in owner.items()}, floor)

    @property
    def version(self) -> int:
        """The newest version that has a part in this; 0 without any."""
        return max((part.version for part in self.parts), default=0)

    @property
    def trained_at(self) -> float:
        """Unix time at which the newest training began; NaN if there was none."""
        return max((part.trained_at for part in self.parts if part.about), default=math.nan)

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> Forecast:
        """See Predictor. `Forecast.parts` has every model, one that stands alone as well (if 0.5 is among `levels`).

        A model that a part has not is silent there: NaN in that part's rows.
        """
        values = np.empty((len(recent.labels), horizon, len(levels)))
        said: dict[str, NDArray[Any]] = {}
        for predictor, rows in self._shared_out(recent):
            whole = len(rows) == len(recent.labels)
            one = predictor.predict(recent if whole else recent.select(rows), horizon, levels)
            values[rows] = one.values
            for name, medians in (one.parts or _alone(predictor, one)).items():
                if name not in said:
                    said[name] = np.full(values.shape[:2], np.nan)
                said[name][rows] = medians
        return Forecast(recent.end + recent.step, recent.step, levels, recent.labels, values, said)

    def weights(self, recent: Frame) -> Mapping[str, NDArray[np.float64]]:
        """See Predictor; 0 for a model that a part has not."""
        weights: dict[str, NDArray[np.float64]] = {}
        labels_only = replace(recent, values=recent.values[:, :0])
        for predictor, rows in self._shared_out(recent):
            for name, share in predictor.weights(labels_only.select(rows)).items():
                weights.setdefault(name, np.zeros(len(recent.labels)))[rows] = share
        return weights

    def alone(self, keys: Sequence[str]) -> NDArray[np.bool_]:
        """[series]: whether a part speaks for the series that is no ensemble, but one model."""
        single = np.array([not isinstance(part.predictor, EnsemblePredictor) for part in self.parts] + [False])
        owners = np.array([self.owner.get(key, _NOBODY) for key in keys], np.intp)
        return np.asarray(single[owners], np.bool_)  # the last one is nobody's

    def without(
        self, demoted: Mapping[str, Collection[str]], hours: tuple[float, float] = (0.0, math.inf)
    ) -> PartedPredictor:
        """See EnsemblePredictor.without. A model that stands alone goes on: who hears it must not believe it."""
        parts = [
            replace(part, predictor=part.predictor.without(demoted, hours))
            if isinstance(part.predictor, EnsemblePredictor)
            else part
            for part in self.parts
        ]
        return replace(self, parts=tuple(parts))

    def _shared_out(self, recent: Frame) -> Iterator[tuple[Predictor, NDArray[np.intp]]]:
        """Who forecasts which rows."""
        keys = [label_key(labels) for labels in recent.labels]
        owners = np.array([self.owner.get(key, _NOBODY) for key in keys], np.intp)
        for owner in np.unique(owners):
            yield (self.floor if owner == _NOBODY else self.parts[owner].predictor), np.flatnonzero(owners == owner)


def _alone(predictor: Predictor, forecast: Forecast) -> Mapping[str, NDArray[np.float64]]:
    """The median of a model that stands alone, by its name."""
    if 0.5 not in forecast.levels:
        return {}
    (name,) = predictor.weights(_NO_SERIES)
    return {name: forecast.values[:, :, forecast.levels.index(0.5)]}
