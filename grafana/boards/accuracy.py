"""*Accuracy*: live, measured, against the one thing that costs nothing: repeating the season."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import VariableSort

from cloudpulse import names
from grafana import variables
from grafana.board import Board, Row
from grafana.boards.overview import ERROR, FORECAST, SERIES
from grafana.panels import VALUES, Column, table, timeseries
from grafana.queries import Query
from grafana.series import named, some

AHEAD = "{{forecast}}, {{horizon}} ahead"
WORST = f"topk(20, {named(some(names.FORECAST_MASE), 'horizon', shown=('horizon',))})"


def covered(level: str) -> str:
    """The mean share of actual values at or under a level."""
    return f"avg by (forecast, horizon) ({some(names.FORECAST_COVERAGE, level=level)})"


ERRORS = Row(
    "Is it better than repeating the season?",
    [
        timeseries(
            "Error against seasonal naive (MASE)",
            "Of the middle series of each forecast: half of its series are better. Below 1 (the line) the forecast is "
            "better than repeating the season.",
            "none",
            Query(f"quantile by (forecast, horizon) (0.5, {some(names.FORECAST_MASE)})", AHEAD),
            limit=1,
            minimum=0,
        ),
        timeseries(
            "Series worse than seasonal naive",
            "Share of the series of each forecast whose live error is above that of repeating the season. Models that "
            "are worse lose their say, so it should fall back after a change of habits.",
            "percentunit",
            Query(f"avg by (forecast, horizon) ({some(names.FORECAST_MASE)} > bool 1)", AHEAD),
            minimum=0,
            maximum=1,
        ),
        table(
            "Worst series",
            "The series with the largest live error over that of seasonal naive, and which way they err: above 0 the "
            "forecast is too high. Click a series to see it.",
            Query(WORST),
            Query(f"{named(some(names.FORECAST_BIAS), 'horizon', shown=('horizon',))} and {WORST}"),
            columns=[
                FORECAST,
                SERIES,
                Column("horizon", "Horizon", width=100),
                Column(VALUES[0], "Error (MASE)", "none", ERROR, 120, decimals=2),
                Column(VALUES[1], "Bias", "percentunit", width=100, decimals=0),
            ],
            sort="Error (MASE)",
            descending=True,
            width=24,
            no_value="nothing has been measured yet",
        ),
    ],
)

BANDS = Row(
    "Do the bands hold what they say?",
    [
        timeseries(
            "In the band, against what it says",
            "Share of the actual values between the levels $low and $high minus the share that belongs there. Above 0 "
            "the band is wider than it needs to be, below 0 it promises too much.",
            "percentunit",
            Query(f"{covered('$high')} - {covered('$low')} - ($high - $low)", AHEAD),
        ),
        table(
            "Measured share at or under each level",
            "What each level should mean beside what it does: 90% of the actual values should be at or under the level "
            "0.9. Mean over the series of a forecast.",
            Query(f"avg by (forecast, horizon, level) ({some(names.FORECAST_COVERAGE)})"),
            columns=[
                FORECAST,
                Column("horizon", "Horizon", width=100),
                Column("level", "Level", width=100),
                Column(VALUES[0], "Measured", "percentunit", decimals=1),
            ],
            sort="Forecast",
            no_value="nothing has been measured yet",
        ),
        timeseries(
            "Bias",
            "Mean error of the median over the scale of its series, mean over the series: above 0 forecasts are too "
            "high, below 0 too low.",
            "percentunit",
            Query(f"avg by (forecast, horizon) ({some(names.FORECAST_BIAS)})", AHEAD),
            width=24,
        ),
    ],
)

MODELS = Row(
    "Which models have the say?",
    [
        timeseries(
            "Weights of the models",
            "Mean over the series of a forecast. The weights follow the live error of each model.",
            "percentunit",
            Query(f"avg by (forecast, model) ({some(names.FORECAST_MODEL_WEIGHT)})", "{{forecast}}: {{model}}"),
            minimum=0,
        ),
        timeseries(
            "Demoted series",
            "Series in which a model has no say at some horizon, being worse than seasonal naive live.",
            "short",
            Query(f"sum by (forecast, model) ({some(names.FORECASTER_DEMOTED_SERIES)})", "{{forecast}}: {{model}}"),
            minimum=0,
        ),
        timeseries(
            "Age of the trained models",
            "Since the last training. It should fall back each `train_every`: where it only grows, training fails.",
            "s",
            Query(f"time() - max by (forecast) ({some(names.FORECASTER_TRAINED)})", "{{forecast}}"),
            width=24,
            minimum=0,
        ),
    ],
)

BOARD = Board(
    "accuracy",
    "CloudPulse / Accuracy",
    "How good the forecasts are, measured live against repeating the season, and whether their bands hold.",
    [ERRORS, BANDS, MODELS],
    [
        variables.label_values("forecast", "Forecast", names.FORECAST_SERIES.name, "forecast", many=True),
        variables.label_values("low", "Band from", names.FORECAST_COVERAGE.name, "level"),
        variables.label_values(
            "high", "Band to", names.FORECAST_COVERAGE.name, "level", sort=VariableSort.ALPHABETICAL_DESC
        ),
    ],
    span=("now-7d", "now"),
    alerts='forecast=~"$forecast"',
)
