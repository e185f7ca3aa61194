"""The models that exist, in one table, and the one place that makes them from their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cloudpulse.errors import ConfigError
from forecaster.localtime import Calendar
from forecaster.model import Model
from forecaster.models import weights
from forecaster.models.ensemble import FLOOR, Ensemble
from forecaster.models.in_local_time import InLocalTime
from forecaster.models.lstm import Lstm
from forecaster.models.profile import Profile
from forecaster.models.prophet_seasons import Prophet
from forecaster.models.rebased import Rebased
from forecaster.models.ridge import Ridge
from forecaster.models.seasonal_naive import SeasonalNaive

MODELS: Mapping[str, Callable[[], Model]] = {
    "seasonal_naive": SeasonalNaive,
    "profile": Profile,
    "ridge": Ridge,
    "lstm": Lstm,
    "prophet": Prophet,
}
"""Name, as it stands in the config and in the label `model`, -> constructor."""


_AUTO_PROPHET_SERIES, _AUTO_PROPHET_HOURS = 12, 6.0
"""`auto` has a time budget: Prophet costs 0.1 s a series, and nothing is gained by it up to 6 h."""


def build(names: str | tuple[str, ...], calendar: Calendar | None = None, quick: bool = False) -> Model:
    """The Model that `names` ask for: one alone, several as an ensemble, `auto` as the ensemble of all.

    It works by the clock of `calendar`, None being UTC. A `quick` one isn't tuned, and needs no torch.
    Raises ConfigError for an unknown name, none at all, or one given twice.
    """
    base = Profile()
    makers: dict[str, Callable[[], Model]] = {
        **MODELS,
        "profile": lambda: base,
        "lstm": lambda: Lstm(weights.read("lstm") if quick else None, base),
    }
    if isinstance(names, str):
        if names != "auto":
            raise ConfigError(f'models: expected auto or a list of {", ".join(MODELS)}, got "{names}"')
        makers["prophet"] = lambda: Prophet(_AUTO_PROPHET_SERIES, _AUTO_PROPHET_HOURS)
        return _ensemble({name: make() for name, make in makers.items()}, calendar)
    for name in names:
        if name not in MODELS:
            raise ConfigError(f'models: there is no "{name}", expected auto or some of {", ".join(MODELS)}')
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"models: expected each name once and at least one of {', '.join(MODELS)}, got {list(names)}")
    if len(names) == 1:
        return _placed(names[0], makers[names[0]](), calendar)
    return _ensemble({name: makers[name]() for name in names}, calendar)


def _ensemble(models: Mapping[str, Model], calendar: Calendar | None) -> Ensemble:
    """Each model is placed for itself, so that the ensemble stays the outermost."""
    placed = {name: _placed(name, model, calendar) for name, model in models.items()}
    return Ensemble(placed, _placed(FLOOR, MODELS[FLOOR](), calendar))


def _placed(name: str, model: Model, calendar: Calendar | None) -> Model:
    """`model` by the clock of `calendar`, and with its past at the present level; the floor is what it is."""
    steady = model if name == FLOOR else Rebased(model)
    return steady if calendar is None or calendar.plain else InLocalTime(steady, calendar)
