"""The models that exist, in one table, and the one place that makes them from their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cloudpulse.errors import ConfigError
from forecaster.frame import Frame
from forecaster.localtime import Calendar
from forecaster.model import Model, Predictor
from forecaster.models import tuning, weights
from forecaster.models.autoregression import Autoregression
from forecaster.models.ensemble import FLOOR, Ensemble
from forecaster.models.in_local_time import InLocalTime
from forecaster.models.lstm import Lstm
from forecaster.models.network import Parameters
from forecaster.models.profile import Profile
from forecaster.models.prophet_seasons import Prophet
from forecaster.models.rebased import Rebased
from forecaster.models.ridge import Ridge
from forecaster.models.seasonal_naive import SeasonalNaive
from forecaster.models.trial import held_out

MODELS: Mapping[str, Callable[[], Model]] = {
    "seasonal_naive": SeasonalNaive,
    "profile": Profile,
    "ridge": Ridge,
    "ar": Autoregression,
    "lstm": Lstm,
    "prophet": Prophet,
}
"""Name, as it stands in the config and in the label `model`, -> constructor."""


_AUTO_PROPHET_SERIES, _AUTO_PROPHET_HOURS = 12, 6.0
"""`auto` has a time budget: Prophet costs 0.1 s a series, and nothing is gained by it up to 6 h."""
_AUTO_AR_HOURS = 1.0
"""And the last minutes say nothing about what comes later than this that others don't."""


def fit(names: str | tuple[str, ...], calendar: Calendar, history: Frame, horizon: int) -> Predictor:
    """Train what `names` ask for; the network is tuned to `history` first, where that is long enough to pay.

    The days that models are compared on are kept from the tuning, too. Raises ConfigError as `build` does.
    """
    network = None
    if (names == "auto" or "lstm" in names) and tuning.enough(history):
        network = tuning.tuned(weights.read("lstm"), history.between(0, history.length - held_out(history)))
    return build(names, calendar, network).fit(history, horizon)


def build(names: str | tuple[str, ...], calendar: Calendar | None = None, network: Parameters | None = None) -> Model:
    """The Model that `names` ask for: one alone, several as an ensemble, `auto` as the ensemble of all.

    It works by the clock of `calendar`, None being UTC; its LSTM has the parameters `network`, None being the shipped.
    Raises ConfigError for an unknown name, none at all, or one given twice.
    """
    base = Profile()
    makers: dict[str, Callable[[], Model]] = {**MODELS, "profile": lambda: base, "lstm": lambda: Lstm(network, base)}
    if isinstance(names, str):
        if names != "auto":
            raise ConfigError(f'models: expected auto or a list of {", ".join(MODELS)}, got "{names}"')
        makers["ar"] = lambda: Autoregression(_AUTO_AR_HOURS)
        makers["prophet"] = lambda: Prophet(_AUTO_PROPHET_SERIES, _AUTO_PROPHET_HOURS)
        return _ensemble({name: make() for name, make in makers.items()}, calendar)
    if not all(names) or len(set(names)) != len(names):
        raise ConfigError(f"models: expected each name once and at least one of {', '.join(MODELS)}, got {list(names)}")
    for name in names:
        if name not in MODELS:
            raise ConfigError(f'models: there is no "{name}", expected auto or some of {", ".join(MODELS)}')
    if not names:
        raise ConfigError(f"models: expected at least one of {', '.join(MODELS)}, got none")
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
