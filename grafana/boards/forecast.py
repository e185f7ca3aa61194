"""*Forecast*: one series with its past, its future, what was forecast of it, and how far that can be believed."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import VariableSort

from cloudpulse import names
from grafana import variables
from grafana.board import FUTURE, Board, Row
from grafana.boards.overview import ERROR, LIKELY, SOON
from grafana.panels import stat, timeseries
from grafana.queries import Look, Query, band
from grafana.series import one

THRESHOLDS = f'max by (threshold) (last_over_time({names.FORECAST_THRESHOLD.name}{{forecast="$forecast"}}[$__range]))'


def before(level: str) -> str:
    """What was forecast for each moment one `$horizon` before it."""
    return f"{one(names.FORECAST_VALUE, horizon='$horizon', level=level)} offset $horizon"


def off(level: str) -> str:
    """How far a level lay from the median of the same forecast, one `$horizon` before."""
    return f"{before(level)} - ignoring (level) {before('0.5')}"


def coverage(level: str) -> str:
    return one(names.FORECAST_COVERAGE, horizon="$horizon", level=level)


NOW = Row(
    None,
    [
        stat(
            "Crosses its threshold in",
            "Time until the expected path (the median) crosses each threshold of the forecast; 0 where it has.",
            "s",
            Query(f"{one(names.FORECAST_TIME_TO_THRESHOLD, level='0.5')} < +Inf", "{{threshold}}"),
            steps=SOON,
            no_value="not expected",
            now=True,
        ),
        stat(
            "Chance within $horizon",
            "How likely the series crosses each threshold at some moment within the chosen horizon.",
            "percentunit",
            Query(one(names.FORECAST_THRESHOLD_PROBABILITY, horizon="$horizon"), "{{threshold}}"),
            steps=LIKELY,
            no_value="no threshold",
            decimals=0,
            now=True,
        ),
        stat(
            "Anomaly score",
            "How odd the newest value is: 0 as expected, 1 at the edge of the band that was forecast for it.",
            "none",
            Query(one(names.FORECAST_ANOMALY_SCORE)),
            steps=((None, "green"), (1, "orange"), (2, "red")),
            no_value="unknown",
            decimals=2,
            now=True,
        ),
        stat(
            "Error (MASE), $horizon ahead",
            "The live error of the median over that of seasonal naive: below 1 the forecast is worth more than "
            "repeating the season; from 1.5 on alerts don't use it.",
            "none",
            Query(one(names.FORECAST_MASE, horizon="$horizon")),
            steps=ERROR,
            no_value="not measured yet",
            decimals=2,
            now=True,
        ),
        stat(
            "In the band, $horizon ahead",
            "Share of the actual values that fell between the levels $low and $high forecast for them. It should be "
            "the difference of the two levels: 80% between 0.1 and 0.9.",
            "percentunit",
            Query(f"{coverage('$high')} - ignoring (level) {coverage('$low')}"),
            no_value="not measured yet",
            decimals=0,
            now=True,
        ),
        stat(
            "Predicted",
            "How long ago the future below was predicted. It disappears after 5 minutes; with a step "
            "of over 2 minutes, after 2.5 steps.",
            "s",
            Query(f"time() - {one(names.FORECAST_TIMESTAMP)}"),
            steps=((None, "green"), (120, "yellow"), (300, "red")),
            no_value="no forecast",
            now=True,
        ),
    ],
)

STORY = Row(
    None,
    [
        timeseries(
            "What was, what is to come",
            "The newest measured values; from now on the expected path, with the band between the levels $low and "
            "$high; in purple what was forecast for each moment one $horizon before it, with its band; and the "
            "thresholds. The future needs remote_read of the forecaster in Prometheus (docs/future.md).",
            "short",
            *band(one(names.FORECAST_CURVE, level="$low"), one(names.FORECAST_CURVE, level="$high")),
            *band(before("$low"), before("$high"), color="purple", name="earlier band"),
            Query(before("0.5"), "forecast earlier", Look("purple", 1, dashed=True)),
            Query(one(names.FORECAST_CURVE, level="0.5"), "expected", Look("blue", 2)),
            Query(one(names.FORECAST_OBSERVED), "actual", Look("green", 2)),
            Query(THRESHOLDS, "threshold {{threshold}}", Look("red", 1, dashed=True)),
            width=24,
            height=12,
        ),
    ],
)

PAST = Row(
    "Was it right?",
    [
        timeseries(
            "Error of the forecast made $horizon before",
            "Actual value minus the median that was forecast for it one $horizon before. The band is what that "
            "forecast allowed for: within it, the error was expected.",
            "short",
            *band(off("$low"), off("$high"), color="purple", name="expected error"),
            Query(
                f"{one(names.FORECAST_OBSERVED)} - ignoring (horizon, level) {before('0.5')}",
                "error",
                Look("green", 1.5),
            ),
        ),
        timeseries(
            "Anomaly score",
            "How odd each value was when it came: 0 as expected, 1 (the line) at the edge of the band.",
            "none",
            Query(one(names.FORECAST_ANOMALY_SCORE), "score", Look("orange")),
            limit=1,
            minimum=0,
        ),
    ],
)

CROSSING = Row(
    "When will it cross its threshold?",
    [
        timeseries(
            "Time to threshold",
            "Until each level's path crosses each threshold, as forecast at the time. A line that falls by an hour an "
            "hour is a forecast that stays by what it said. There is none where the path doesn't cross.",
            "s",
            Query(f"{one(names.FORECAST_TIME_TO_THRESHOLD)} < +Inf", "{{threshold}}, level {{level}}"),
            minimum=0,
        ),
        timeseries(
            "Chance of crossing",
            "How likely the series was to cross each threshold within each horizon, as forecast at the time.",
            "percentunit",
            Query(one(names.FORECAST_THRESHOLD_PROBABILITY), "{{threshold}} within {{horizon}}"),
            minimum=0,
            maximum=1,
        ),
    ],
)

TRUST = Row(
    "Does it deserve trust?",
    [
        timeseries(
            "Error against seasonal naive (MASE)",
            "The live error of the median at each horizon; below 1 (the line) it is better than repeating the season.",
            "none",
            Query(one(names.FORECAST_MASE), "{{horizon}} ahead"),
            limit=1,
            minimum=0,
        ),
        timeseries(
            "Weights of the models",
            "Each model's say in this series' forecast. One that is worse than seasonal naive loses it.",
            "percentunit",
            Query(one(names.FORECAST_MODEL_WEIGHT), "{{model}}"),
            minimum=0,
            maximum=1,
            stacked=True,
        ),
    ],
)

_VALUES = f'{names.FORECAST_VALUE.name}{{forecast="$forecast", horizon!="0s"}}'

BOARD = Board(
    "forecast",
    "CloudPulse / Forecast",
    "One series: what was measured, what is to come, what was forecast before, and how good that was.",
    [NOW, STORY, PAST, CROSSING, TRUST],
    [
        variables.label_values("forecast", "Forecast", names.FORECAST_SERIES.name, "forecast"),
        variables.label_values(
            "series",
            "Series",
            f'{names.FORECAST_INFO.name}{{forecast="$forecast"}}',
            "matchers",
            description="The labels of one series of the forecast.",
        ),
        variables.label_values(
            "horizon", "Horizon", _VALUES, "horizon", description="How far ahead the past forecasts looked."
        ),
        variables.label_values("low", "Band from", _VALUES, "level"),
        variables.label_values("high", "Band to", _VALUES, "level", sort=VariableSort.ALPHABETICAL_DESC),
    ],
    span=FUTURE,
    alerts='forecast="$forecast"',
)
