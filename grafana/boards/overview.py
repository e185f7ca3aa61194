"""*Overview*: is everything there, what comes next, and can it be believed?"""

from __future__ import annotations

from cloudpulse import names
from grafana import variables
from grafana.board import Board, Row, uid
from grafana.panels import VALUES, Column, Link, Steps, stat, table, timeseries
from grafana.queries import Query
from grafana.series import link, named, some

GOOD_AT_ZERO: Steps = ((None, "green"), (1, "red"))
SOON: Steps = ((None, "red"), (3600, "orange"), (6 * 3600, "yellow"), (24 * 3600, "green"))
LIKELY: Steps = ((None, "green"), (0.2, "yellow"), (0.5, "orange"), (0.8, "red"))
ERROR: Steps = ((None, "green"), (1, "yellow"), (1.5, "red"))
"""Of MASE: below 1 is better than seasonal naive; from 1.5 on the alerts don't use the forecast."""
FORECAST = Column("forecast", "Forecast", width=160)
SERIES = Column("matchers", "Series", links=[link()])
KNOWN = f"last_over_time({names.BUILD_INFO.name}[1d])"
THRESHOLD = f"min by (forecast) (last_over_time({some(names.FORECAST_THRESHOLD)}[$__range]))"
MEDIAN = some(names.FORECAST_CURVE, level="0.5")
NEXT = named(
    some(names.FORECAST_TIME_TO_THRESHOLD, level="0.5"), "threshold", "level", aggregate="min", shown=("threshold",)
)
SOONEST = f"bottomk(50, {NEXT} < +Inf)"
EARLIEST = named(some(names.FORECAST_TIME_TO_THRESHOLD), "threshold", "level", aggregate="min", shown=("threshold",))
CHANCE = named(some(names.FORECAST_THRESHOLD_PROBABILITY), "threshold", "horizon", shown=("threshold",))
WORST = named(some(names.FORECAST_MASE), "horizon")
SCORE = named(some(names.FORECAST_ANOMALY_SCORE))
ODDEST = f"topk(50, {SCORE} > 1)"
OBSERVED = named(some(names.FORECAST_OBSERVED))
EXPECTED = named(some(names.FORECAST_VALUE, horizon="0s", level="0.5"), "horizon", "level")

STATE = Row(
    None,
    [
        stat(
            "Services",
            "Every CloudPulse service that Prometheus has known within a day, and whether the last scrape reached it.",
            "none",
            Query(f"min by (job) (up and on (job, instance) {KNOWN})", "{{job}}"),
            width=8,
            steps=((None, "red"), (1, "green")),
            words={"0": "down", "1": "up"},
            no_value="none known",
            now=True,
        ),
        stat(
            "Forecasts fresh",
            "Forecasts predicted within the last 5 minutes, or 2.5 steps; older ones are not shown as if new.",
            "none",
            Query(f"count(count by (forecast) ({names.FORECAST_SERIES.name}))"),
            width=3,
            no_value="none",
            now=True,
        ),
        stat(
            "Forecasts gone",
            "Forecasts that were there within a day and are not now: their forecaster is down, isn't scraped, can't "
            "read its source, or no longer has them in its config.",
            "none",
            Query(
                f"count(count by (forecast) (last_over_time({names.FORECAST_SERIES.name}[1d])) "
                f"unless on (forecast) {names.FORECAST_SERIES.name}) or vector(0)",
            ),
            width=3,
            steps=GOOD_AT_ZERO,
            now=True,
        ),
        stat(
            "Series forecast",
            "Series of the chosen forecasts that are forecast now.",
            "short",
            Query(f"sum({some(names.FORECAST_SERIES)})"),
            width=3,
            no_value="none",
            now=True,
        ),
        stat(
            "Anomalies now",
            "Series that are outside of the band that was forecast for now: anomaly score above 1.",
            "none",
            Query(f"count({some(names.FORECAST_ANOMALY_SCORE)} > 1) or vector(0)"),
            width=3,
            steps=((None, "green"), (1, "orange")),
            now=True,
        ),
        stat(
            "Alerts on forecasts",
            "Firing alerts that name a forecast: what is predicted to happen, what is unusual, and forecasts that are "
            "stale or not to be trusted. The dashboard Alerts shows how they reach people.",
            "none",
            Query('count(ALERTS{alertstate="firing", forecast=~"$forecast"}) or vector(0)'),
            steps=((None, "green"), (1, "red")),
            now=True,
        ),
    ],
)

AHEAD = Row(
    "What comes next",
    [
        table(
            "What will cross its threshold next",
            "Series whose expected path (the median) crosses a threshold of their forecast, the soonest first. "
            "Earliest: when the first of the levels does. Chance: that it crosses within the longest horizon. Error: "
            "the worst live MASE of the series; above 1, repeating the season would have been better. Click a series "
            "to see it.",
            Query(SOONEST),
            Query(f"{EARLIEST} and {SOONEST}"),
            Query(f"{CHANCE} and {SOONEST}"),
            Query(f"{WORST} * on (forecast, matchers) group_right () ({SOONEST} >= bool 0)"),
            columns=[
                FORECAST,
                SERIES,
                Column("threshold", "Threshold", width=110),
                Column(VALUES[0], "Expected in", "s", SOON, 130),
                Column(VALUES[1], "Earliest in", "s", width=130),
                Column(VALUES[2], "Chance", "percentunit", LIKELY, 100, decimals=0),
                Column(VALUES[3], "Error (MASE)", "none", ERROR, 120, decimals=2),
            ],
            sort="Expected in",
            height=9,
            no_value="nothing is expected to cross a threshold",
            now=True,
        ),
        timeseries(
            "How near to their thresholds",
            "The expected paths of the eight series that come nearest to the lowest threshold of their forecast, as a "
            "share of it: 100% is the threshold. Where a threshold warns of falling below it, crossing is downwards. "
            "Empty without remote_read of the forecaster in Prometheus (docs/future.md).",
            "percentunit",
            Query(
                f"{MEDIAN} / on (forecast) group_left () {THRESHOLD}\n"
                f"and topk(8, max_over_time({MEDIAN}[$__range] @ end()) / on (forecast) group_left () {THRESHOLD})",
                "__auto",
            ),
            height=9,
            limit=1,
        ),
    ],
)

TRUST = Row(
    "What is odd, and what is to be trusted",
    [
        table(
            "Anomalies now",
            "Series outside of the band that was forecast for now, the oddest first. The score is 0 as expected and 1 "
            "at the edge of the band.",
            Query(ODDEST),
            Query(f"{OBSERVED} and {ODDEST}"),
            Query(f"{EXPECTED} and {ODDEST}"),
            columns=[
                FORECAST,
                SERIES,
                Column(VALUES[0], "Score", "none", ((None, "yellow"), (2, "orange"), (4, "red")), 90, decimals=1),
                Column(VALUES[1], "Observed", "short", width=110),
                Column(VALUES[2], "Expected", "short", width=110),
            ],
            sort="Score",
            descending=True,
            no_value="everything is as expected",
            now=True,
        ),
        table(
            "Worst accuracy",
            "The live error of each series over that of seasonal naive (MASE), the worst horizon of each, worst first. "
            "Above 1 repeating the season would have been better; from 1.5 on the alerts don't use a forecast.",
            Query(f"topk(20, {WORST})"),
            columns=[FORECAST, SERIES, Column(VALUES[0], "Error (MASE)", "none", ERROR, 120, decimals=2)],
            sort="Error (MASE)",
            descending=True,
            no_value="nothing has been measured yet",
            now=True,
        ),
        table(
            "Forecasts",
            "Each forecast: how many series, how long ago predicted and trained, and in which share of its series and "
            "horizons seasonal naive would have been better. Click a forecast for its accuracy.",
            Query(f"sum by (forecast) ({some(names.FORECAST_SERIES)})"),
            Query(f"time() - max by (forecast) ({some(names.FORECAST_TIMESTAMP)})"),
            Query(f"time() - max by (forecast) ({some(names.FORECASTER_TRAINED)})"),
            Query(f"avg by (forecast) ({some(names.FORECAST_MASE)} > bool 1)"),
            columns=[
                Column(
                    "forecast",
                    "Forecast",
                    links=[
                        Link(
                            "Open its accuracy",
                            f"/d/{uid('accuracy')}?var-datasource=${{datasource}}"
                            "&var-forecast=${__data.fields.Forecast:percentencode}",
                        )
                    ],
                ),
                Column(VALUES[0], "Series", "short"),
                Column(VALUES[1], "Predicted", "s", ((None, "green"), (120, "yellow"), (300, "red"))),
                Column(VALUES[2], "Trained", "s"),
                Column(VALUES[3], "Worse than seasonal naive", "percentunit", LIKELY, decimals=0),
            ],
            sort="Forecast",
            width=24,
            no_value="no forecasts",
            now=True,
        ),
    ],
)

BOARD = Board(
    "overview",
    "CloudPulse / Overview",
    "The state of everything, what will cross its threshold next, and whether the forecasts deserve trust.",
    [STATE, AHEAD, TRUST],
    [
        variables.label_values("forecast", "Forecast", names.FORECAST_SERIES.name, "forecast", many=True),
    ],
    span=("now-1h", "now+24h"),
    alerts='forecast=~"$forecast"',
)
