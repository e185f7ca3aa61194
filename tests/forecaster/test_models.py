"""What every model promises, over the whole table, and what each is good for."""

from __future__ import annotations

import functools
import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cloudpulse.errors import ConfigError, CorruptFile
from forecaster import backtest
from forecaster.frame import Frame
from forecaster.model import Model, Predictor, State
from forecaster.models import MODELS, build, features, lstm, network, stack, trial, weights
from forecaster.models.ensemble import Ensemble, EnsemblePredictor
from forecaster.models.grid import Grid
from forecaster.models.lstm import Lstm, LstmPredictor
from forecaster.models.profile import Profile
from forecaster.models.prophet_seasons import Prophet
from forecaster.models.robust import level_weights, median, quantiles

DAY = 288
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
NAMES = [*MODELS, "auto"]
DATA = Path(__file__).parent / "data" / "apps.csv.gz"


def model(name: str) -> Model:
    return build("auto" if name == "auto" else (name,))


def frame(values: NDArray[np.float64], step: float = 300.0, names: list[str] | None = None) -> Frame:
    names = names or [f"s{i}" for i in range(len(values))]
    return Frame(1_633_478_400.0, step, tuple({"app": name} for name in names), values)


@functools.cache
def apps() -> Frame:
    """Four real applications, 15 days of 5 min; the last day is there to be forecast."""
    table = pd.read_csv(io.BytesIO(gzip.decompress(DATA.read_bytes())), index_col="timestamp")
    return frame(table.to_numpy(np.float64).T, names=list(table.columns))


def gappy() -> NDArray[np.float64]:
    """Six days: two real series with holes, a constant, nothing, one with a single point, one that began late."""
    values = np.concatenate([apps().values[:2, : 6 * DAY], np.full((4, 6 * DAY), np.nan)])
    values[0, 500:700] = np.nan
    values[1, ::7] = np.nan
    values[1, -30:] = np.nan
    values[2] = 42.5
    values[4, -5] = 3.0
    values[5, -40:] = apps().values[2, :40]
    return values


@functools.cache
def fitted(name: str) -> tuple[Frame, Predictor]:
    """Trained once for all tests that only predict."""
    history = frame(gappy())
    return history, model(name).fit(history, DAY)


@pytest.mark.parametrize("name", NAMES)
def test_quantiles_are_in_order_and_finite_but_for_series_with_nothing_to_go_by(name: str) -> None:
    history, predictor = fitted(name)
    forecast = predictor.predict(history, DAY, LEVELS)
    assert forecast.values.shape == (6, DAY, len(LEVELS))
    assert (forecast.start, forecast.step, forecast.labels) == (history.end + 300, 300.0, history.labels)
    heard = np.isfinite(forecast.values).all((1, 2))
    # Prophet alone says nothing of series with less than three days.
    assert heard.tolist() == [True, True, True, False, False, name != "prophet"]
    assert np.isnan(forecast.values[~heard]).all()
    assert (np.diff(forecast.values[heard], axis=-1) >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_constant_stays_what_it_is_and_what_was_never_negative_stays_so(name: str) -> None:
    history, predictor = fitted(name)
    values = predictor.predict(history, DAY, LEVELS).values
    assert (values[2] == 42.5).all()
    assert np.nanmin(values) >= 0


@pytest.mark.parametrize("name", NAMES)
def test_restoring_a_state_that_went_through_json_predicts_the_same(name: str) -> None:
    history, predictor = fitted(name)
    state = predictor.state()
    facts = json.loads(json.dumps(state.facts, allow_nan=False))
    again = model(name).restore(State({key: array.copy() for key, array in state.arrays.items()}, facts))
    np.testing.assert_array_equal(
        again.predict(history, DAY, LEVELS).values, predictor.predict(history, DAY, LEVELS).values
    )


@pytest.mark.parametrize("name", NAMES)
def test_weights_add_up_to_one_for_every_series(name: str) -> None:
    history, predictor = fitted(name)
    weights = predictor.weights(history)
    assert set(weights) <= set(MODELS)
    np.testing.assert_allclose(np.sum(list(weights.values()), axis=0), np.ones(6), atol=1e-6)


@pytest.mark.parametrize("name", ["seasonal_naive", "profile", "ridge", "lstm", "prophet"])
def test_what_comes_after_the_origin_changes_nothing(name: str) -> None:
    """Training and forecast within a backtest, on a history of which all that comes after the origin is altered."""
    origin = 5 * DAY
    altered = gappy()
    altered[:, origin:] = 1e6
    before, after = (
        backtest.refitted(model(name), frame(values), [origin], 24, LEVELS).windows[0] for values in (gappy(), altered)
    )
    np.testing.assert_array_equal(before.forecast.values, after.forecast.values)
    assert not np.array_equal(before.actual, after.actual)


def test_the_stack_weighs_its_members_by_forecasts_that_knew_the_past_only() -> None:
    grid = Grid(300.0)
    values = grid.align(apps().values).astype(np.float32)
    altered = values.copy()
    altered[:, -2 * DAY :] = 1e6
    before, after = (stack.backtest(one, grid, grid.sample(DAY)) for one in (values, altered))
    known = np.array(before.backs) >= 2 * DAY
    np.testing.assert_array_equal(before.said[:, known], after.said[:, known])
    assert (before.said[:, ~known] != after.said[:, ~known]).any()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "prophet"])
def test_a_series_not_seen_in_training_is_forecast_by_what_is_usual(name: str) -> None:
    history, predictor = fitted(name)
    fresh = Frame(history.start, history.step, ({"app": "new"},), apps().values[3:, : history.length])
    values = predictor.predict(fresh, DAY, LEVELS).values
    assert np.isfinite(values).all()
    assert np.abs(values[0, :, 2].mean() - fresh.values[0, -DAY:].mean()) < 2 * fresh.values[0].std()


@pytest.mark.parametrize("name", NAMES)
def test_training_twice_gives_the_same(name: str) -> None:
    history, predictor = fitted(name)
    again = model(name).fit(history, DAY)
    np.testing.assert_array_equal(
        again.predict(history, DAY, LEVELS).values, predictor.predict(history, DAY, LEVELS).values
    )


@pytest.mark.parametrize("name", [name for name in NAMES if name != "prophet"])
@pytest.mark.parametrize("columns", [3, 12, DAY, 3 * DAY])
def test_a_short_history_is_enough_for_a_forecast_near_it(name: str, columns: int) -> None:
    history = apps().tail(columns)
    values = model(name).fit(history, DAY).predict(history, DAY, LEVELS).values
    assert np.isfinite(values).all()
    reach = np.ptp(history.values, axis=1) + 0.1 * history.values.max(1)
    for i, one in enumerate(history.values):
        assert one.min() - 3 * reach[i] <= values[i].min()
        assert values[i].max() <= one.max() + 3 * reach[i]


@pytest.mark.parametrize("name", ["seasonal_naive", "profile", "ridge", "auto"])
@pytest.mark.parametrize("step", [60.0, 420.0, 3600.0, 14_400.0, 86400.0, 250_000.0])
def test_any_step_can_be_forecast_whether_or_not_it_divides_a_day(name: str, step: float) -> None:
    columns = int(min(14 * 86400 / step, 14 * 1440)) or 1
    times = step * np.arange(max(columns, 10))
    wave = 50 + 20 * np.sin(2 * np.pi * times / 86400) + np.cos(times)
    history = frame(np.stack([wave, wave[::-1]]), step)
    values = model(name).fit(history, 30).predict(history, 30, LEVELS).values
    assert np.isfinite(values).all()
    assert (np.abs(values[:, :, 2] - 50) < 40).all()


def test_another_step_than_in_training_is_refused() -> None:
    predictor = Profile().fit(apps(), DAY)
    with pytest.raises(ValueError, match="trained on a step of 300 s, asked with one of 60 s"):
        predictor.predict(frame(apps().values, 60.0), DAY, LEVELS)


@pytest.mark.parametrize(("name", "hour", "day"), [("profile", 0.8, 0.97), ("lstm", 0.8, 0.97), ("auto", 0.8, 0.97)])
def test_a_forecast_of_real_applications_beats_seasonal_naive(name: str, hour: float, day: float) -> None:
    """Pinball loss relative to seasonal naive, geometric mean over series, from four origins of the last two days."""
    history = apps()
    origins = backtest.origins(history.length - DAY, history.length - 2 * DAY, DAY // 4)
    past = history.between(0, origins[0])
    mine = backtest.run(model(name).fit(past, DAY), history, origins, DAY, LEVELS)
    floor = backtest.run(MODELS["seasonal_naive"]().fit(past, DAY), history, origins, DAY, LEVELS)
    for leads, bar in ((12, hour), (DAY, day)):
        ratio = backtest.relative(mine.scores(0, leads).pinball, floor.scores(0, leads).pinball)
        assert np.exp(np.log(ratio).mean()) < bar
    assert 0.6 < mine.scores(0, DAY).coverage.mean() < 0.95


def test_prophet_finds_a_daily_wave_and_follows_the_level() -> None:
    times = 300.0 * np.arange(14 * DAY)
    wave = 100 + 40 * np.sin(2 * np.pi * times / 86400) + np.random.default_rng(1).normal(0, 2, len(times))
    wave[-12:] += 30
    history = frame(wave[None])
    median_path = Prophet().fit(history, DAY).predict(history, DAY, (0.5,)).values[0, :, 0]
    expected = 100 + 40 * np.sin(2 * np.pi * np.arange(DAY) / DAY)
    assert np.abs(median_path[DAY // 2 :] - expected[DAY // 2 :]).mean() < 6
    assert 20 < (median_path[:6] - expected[:6]).mean() < 40


def test_prophet_beside_others_fits_the_clearest_days_only_and_none_for_short_horizons() -> None:
    history = apps()
    bounded = Prophet(most_series=1, least_hours=6)
    heard = np.isfinite(bounded.fit(history, DAY).predict(history, 10, (0.5,)).values[:, 0, 0])
    assert heard.sum() == 1
    silent = bounded.fit(history, DAY // 4).predict(history, 10, (0.5,)).values
    assert np.isnan(silent).all()


def test_the_serving_process_restores_and_predicts_without_torch_and_prophet() -> None:
    """They cost 300 MB; only training needs them."""
    code = """
import sys, numpy as np
sys.path.insert(0, {folder!r})
import test_models as t
from forecaster.models import lstm
history = t.apps().tail(4 * t.DAY)
predictor = lstm.Lstm().fit(history, t.DAY)
arrays = {{"shares": np.ones((4, 4, 0), np.float32), "stretch": np.ones((4, 4), np.float32)}}
kept = t.State(arrays, {{"step": 300.0, "keys": [], "models": {{}}}})
t.build("auto").restore(t.Ensemble({{}}).restore(kept).state())
assert np.isfinite(predictor.predict(history, 10, (0.5,)).values).all()
assert not {{"torch", "prophet", "cmdstanpy", "matplotlib"}} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code.format(folder=str(Path(__file__).parent))],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def some_parameters() -> dict[str, NDArray[np.float32]]:
    """Random parameters of the shipped network's shapes."""
    random = np.random.default_rng(3)
    return {name: random.normal(0, 0.1, array.shape).astype(np.float32) for name, array in weights.read("lstm").items()}


def given() -> tuple[features.Inputs, features.Basis]:
    grid = Grid(300.0)
    values = grid.align(apps().values)
    scaled = stack.scale_of(values, grid).apply(values)
    kept = stack.fit(scaled, grid, grid.sample(DAY), 0.0)
    basis = features.basis(scaled, grid, np.arange(DAY), 0.0, kept)
    return features.inputs(scaled, grid, np.arange(DAY), 0.0, kept, basis), basis


def test_the_network_in_numpy_is_the_network_in_torch() -> None:
    import torch

    from forecaster.models import torch_training

    inputs, basis = given()
    twin = torch_training.Network(inputs.steps.shape[-1], basis.prior.shape[-1])
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in some_parameters().items()})
    twin.eval()
    parts = (inputs.sequence, inputs.traits, inputs.steps, basis.stack, basis.width, basis.anchors, basis.prior)
    with torch.no_grad():
        expected = twin(*(torch.from_numpy(np.asarray(part, np.float32)) for part in parts)).numpy()
    found = network.correction(some_parameters(), inputs, basis.prior).apply(basis)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_an_untrained_network_is_the_stack_around_the_mix_of_its_members() -> None:
    inputs, basis = given()
    parameters = {name: np.zeros_like(array) for name, array in some_parameters().items()}
    found = network.correction(parameters, inputs, basis.prior).apply(basis)
    mixed = basis.stack[..., 6] + basis.width[..., 0] * (basis.prior * basis.anchors).sum(-1)
    assert (np.abs(found[..., 6] - mixed) / basis.width[..., 0]).max() < 0.02
    gaps = np.diff(basis.stack, axis=-1) + network.LEAST_GAP * basis.width
    np.testing.assert_allclose(np.diff(found, axis=-1), gaps, atol=1e-4)


def test_asking_the_network_at_some_leads_is_nearly_as_good_as_at_all() -> None:
    inputs, basis = given()
    few, between = lstm.sampled(DAY, Grid(300.0))
    assert len(few) < DAY / 2
    every = network.correction(weights.read("lstm"), inputs, basis.prior)
    some = network.Correction(every.shares[:, few], every.shift[:, few], every.stretch[:, few]).at(between)
    apart = np.abs(some.apply(basis) - every.apply(basis)) / basis.width
    assert apart.mean() < 0.04


def test_the_network_is_asked_only_on_grids_that_it_can_read() -> None:
    """Two hours are coarser than what it was trained on, and 7 min have no time of day."""
    for step, heard in ((300.0, True), (60.0, True), (7200.0, False), (420.0, False)):
        fitted = Lstm().fit(frame(apps().values[:, :600], step), 10)
        assert isinstance(fitted, LstmPredictor)
        assert bool(fitted.parameters) == heard


def test_a_package_without_its_weights_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(CorruptFile, match=r"lstm\.safetensors: missing: .*install it again"):
        weights.read.__wrapped__("lstm")


class Oracle:
    """A model that is told what comes, or its opposite."""

    def __init__(self, truth: Frame, error: float) -> None:
        self.truth, self.error = truth, error

    def fit(self, history: Frame, horizon: int) -> Oracle:
        return self

    def restore(self, state: State) -> Oracle:
        return self

    def state(self) -> State:
        return State()

    def weights(self, recent: Frame) -> dict[str, NDArray[np.float64]]:
        raise NotImplementedError

    def predict(self, recent: Frame, horizon: int, levels: tuple[float, ...]) -> backtest.Forecast:
        from_column = round((recent.end - self.truth.start) / self.truth.step) + 1
        came = self.truth.values[:, from_column : from_column + horizon]
        values = np.full((len(came), horizon), came.mean())
        values[:, : came.shape[1]] = came
        spread = np.linspace(-1, 1, len(levels))
        return backtest.Forecast(
            recent.end + recent.step, recent.step, levels, recent.labels, (values + self.error)[:, :, None] + spread
        )


def test_the_ensemble_trusts_who_was_right_and_gives_nothing_to_who_was_worse_than_the_floor() -> None:
    history = apps()
    mixed = Ensemble({"right": Oracle(history, 0.0), "wrong": Oracle(history, 1e4)}).fit(history, DAY)
    assert isinstance(mixed, EnsemblePredictor)
    assert list(mixed.parts) == ["right", "seasonal_naive"]
    assert mixed.shares[:, :, 0].min() == 1
    hopeless = Ensemble({"seasonal_naive": MODELS["seasonal_naive"](), "wrong": Oracle(history, 1e4)})
    assert list(hopeless.fit(history, DAY).weights(history)) == ["seasonal_naive"]


def test_a_model_that_is_silent_about_a_series_leaves_it_to_the_others() -> None:
    history = apps()
    profile = Profile().fit(history, DAY)
    silent = Prophet(most_series=0).fit(history, DAY)
    half = np.full((4, len(trial.BUCKET_HOURS), 2), 0.5, np.float32)
    keys = profile.state().facts["keys"]
    ones = np.ones(half.shape[:2], np.float32)
    mixed = EnsemblePredictor(300.0, tuple(keys), {"profile": profile, "prophet": silent}, half, ones)
    np.testing.assert_allclose(mixed.predict(history, DAY, LEVELS).values, profile.predict(history, DAY, LEVELS).values)


def test_an_ensemble_whose_series_were_silent_when_models_were_compared_still_forecasts() -> None:
    values = apps().values[:, : 8 * DAY].copy()
    values[:, -3 * DAY :] = np.nan
    for names in (("profile", "ridge"), ("seasonal_naive", "profile", "lstm")):
        fitted = build(names).fit(frame(values), DAY)
        assert np.isfinite(fitted.predict(frame(values), DAY, LEVELS).values).all()
        np.testing.assert_allclose(sum(fitted.weights(frame(values)).values()), 1)


def test_where_a_series_lies_does_not_change_who_forecasts_it() -> None:
    """Unix times and free bytes have no digits to spare in float32."""
    history = frame(apps().values)
    far = frame(apps().values + 1.7e9)
    names = ("profile", "ridge")
    here, there = (build(names).fit(one, DAY).weights(one) for one in (history, far))
    for name in here:
        np.testing.assert_allclose(here[name], there[name], atol=0.05)


def test_a_grid_that_no_network_reads_is_not_credited_to_one() -> None:
    days = frame(apps().values[:, : 14 * DAY].reshape(4, 14, DAY).mean(-1), 86400.0)
    assert build("auto").fit(days, 3).weights(days).get("lstm", np.zeros(4)).max() == 0
    assert Lstm().fit(days, 3).weights(days).keys() == {"profile"}


def test_unknown_names_are_refused_with_those_that_exist() -> None:
    with pytest.raises(ConfigError, match='there is no "arima", expected auto or some of seasonal_naive, profile'):
        build(("profile", "arima"))
    with pytest.raises(ConfigError, match="each name once"):
        build(("profile", "profile"))
    with pytest.raises(ConfigError, match="at least one"):
        build(())
    with pytest.raises(ConfigError, match="auto or a list"):
        build("profile")


def test_medians_and_quantiles_agree_with_numpy_where_something_was_seen() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(40, 9))
    values[random.random(values.shape) < 0.4] = np.nan
    values[0] = np.nan
    np.testing.assert_allclose(median(values)[1:], np.nanmedian(values[1:], axis=1))
    np.testing.assert_allclose(
        quantiles(values, [0.1, 0.7])[1:], np.nanquantile(values[1:], [0.1, 0.7], axis=1).T, rtol=1e-6
    )
    assert np.isnan(median(values)[0])
    assert np.isnan(quantiles(values, [0.5])[0]).all()


def test_levels_between_and_beyond_the_known_ones_lie_on_the_normal_scale() -> None:
    from statistics import NormalDist

    known, asked = (0.1, 0.5, 0.9), (0.01, 0.1, 0.35, 0.9, 0.99)
    normal = NormalDist(3, 2)
    found = np.array([normal.inv_cdf(level) for level in known]) @ level_weights(known, asked)
    np.testing.assert_allclose(found, [normal.inv_cdf(level) for level in asked])
