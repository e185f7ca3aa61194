"""*CloudPulse itself*: do its services run, keep up and know what they need, and what do they cost the Prometheus?"""

from __future__ import annotations

from grafana.board import Board, Row
from grafana.boards.absence import none_without
from grafana.panels import VALUES, Column, Steps, stat, table, timeseries
from grafana.queries import Look, Query
from grafana.variables import label_values

RATE = "[$__rate_interval]"
CHOSEN = 'job=~"$job"'
OURS = "and on (job, instance) cloudpulse_build_info"
VERSIONED = f"* on (job, instance) group_left (version, revision) cloudpulse_build_info{{{CHOSEN}}}"
FORECASTER = "cloudpulse_forecaster_training_backlog"
"""A series that every forecaster has."""
NONE_IS_GOOD: Steps = ((None, "green"), (1, "red"))
OF_FORECAST = "by (forecast)"


def _slowest(metric: str, by: str = "forecast") -> str:
    return f"histogram_quantile(0.95, sum by ({by}, le) (rate({metric}_bucket{RATE})))"


STATE = [
    stat(
        "Services down",
        "CloudPulse's services that Prometheus can't scrape now, of those that it could within the last day.",
        "short",
        Query(
            f"count(up{{{CHOSEN}}} == 0 and on (job, instance) count_over_time(cloudpulse_build_info[1d]))\n"
            f"or on () 0 * count(cloudpulse_build_info{{{CHOSEN}}})"
        ),
        steps=NONE_IS_GOOD,
        no_value="unknown",
        width=6,
    ),
    stat(
        "Configs refused",
        "Services that run with an old config, since the new one was refused; their log says why.",
        "short",
        Query(f"sum(1 - cloudpulse_config_last_reload_successful{{{CHOSEN}}})"),
        steps=NONE_IS_GOOD,
        width=6,
    ),
    stat(
        "Oldest forecast",
        "Time since the forecast that waits longest was renewed: after 5 minutes, or 2.5 steps, it disappears.",
        "s",
        Query("max(time() - max by (forecast) (cloudpulse_forecast_timestamp_seconds))"),
        steps=((None, "green"), (120, "orange"), (300, "red")),
        width=6,
    ),
    stat(
        "Errors of the forecaster",
        "In the dashboard's range, all reasons; a round whose models fail is forecast by seasonal naive.",
        "short",
        Query(
            f"sum(increase(cloudpulse_forecaster_errors_total[$__range]))\nor on () 0 * count({FORECASTER})",
            instant=True,
        ),
        steps=((None, "green"), (1, "orange")),
        decimals=0,
        width=6,
    ),
]
SERVICES = table(
    "Services",
    "One row a process. CPU is cores in use; files is the share of file descriptors that may be open.",
    *(
        Query(f"max by (job, instance, version, revision) ({figure} {VERSIONED})")
        for figure in (
            f"(time() - process_start_time_seconds{{{CHOSEN}}})",
            f"process_resident_memory_bytes{{{CHOSEN}}}",
            f"rate(process_cpu_seconds_total{{{CHOSEN}}}{RATE})",
            f"process_open_fds{{{CHOSEN}}} / process_max_fds{{{CHOSEN}}}",
            f"cloudpulse_config_last_reload_successful{{{CHOSEN}}}",
        )
    ),
    columns=[
        Column("job", "Service"),
        Column("instance", "At"),
        Column("version", "Version"),
        Column("revision", "Revision"),
        Column(VALUES[0], "Runs for", "dtdurations"),
        Column(VALUES[1], "Memory", "bytes"),
        Column(VALUES[2], "CPU", "none", decimals=3),
        Column(VALUES[3], "Files", "percentunit", ((None, "transparent"), (0.8, "red"))),
        Column(VALUES[4], "Config taken", "short", ((None, "red"), (1, "green"))),
    ],
    sort="Service",
    width=24,
)
PROCESSES = [
    timeseries(
        "Memory",
        "Resident memory of each service: a line that only rises is a leak.",
        "bytes",
        Query(f"max by (job, instance) (process_resident_memory_bytes{{{CHOSEN}}} {OURS})", "{{job}} {{instance}}"),
        minimum=0,
        width=8,
    ),
    timeseries(
        "CPU",
        "Cores in use, training in processes of its own not included.",
        "none",
        Query(
            f"max by (job, instance) (rate(process_cpu_seconds_total{{{CHOSEN}}}{RATE}) {OURS})", "{{job}} {{instance}}"
        ),
        minimum=0,
        width=8,
    ),
    timeseries(
        "Open files",
        "File descriptors, connections included.",
        "short",
        Query(f"max by (job, instance) (process_open_fds{{{CHOSEN}}} {OURS})", "{{job}} {{instance}}"),
        minimum=0,
        width=8,
    ),
]
ROUNDS = [
    timeseries(
        "Does each round keep up?",
        "What 95 of 100 predictions and queries stay under, by forecast: together they must fit into `every`.",
        "s",
        Query(_slowest("cloudpulse_forecaster_predict_duration_seconds"), "{{forecast}} predict"),
        Query(_slowest("cloudpulse_forecaster_query_duration_seconds"), "{{forecast}} one query", Look(dashed=True)),
        minimum=0,
    ),
    timeseries(
        "Rounds left out, and training held back",
        "In the dashboard's interval: rounds skipped since the one before took too long, and rounds after which due "
        "training waited. More than a few: raise `every`, or give the host more CPU.",
        "short",
        Query(
            none_without(
                f"sum {OF_FORECAST} (increase(cloudpulse_forecaster_rounds_skipped_total{RATE}))",
                "forecast",
                FORECASTER,
            ),
            "{{forecast}} rounds skipped",
        ),
        Query(
            none_without(
                f"sum {OF_FORECAST} (increase(cloudpulse_forecaster_training_shed_total{RATE}))", "forecast", FORECASTER
            ),
            "{{forecast}} training held back",
        ),
        minimum=0,
    ),
    timeseries(
        "Training: what is due",
        "Series whose training is due and has not begun; it should go to 0 within `train_every`.",
        "short",
        Query(f"sum {OF_FORECAST} (cloudpulse_forecaster_training_backlog)", "{{forecast}}"),
        minimum=0,
        width=8,
    ),
    timeseries(
        "Training: how long one part takes",
        "What 95 of 100 parts stay under, waiting included. Gaps: nothing was trained.",
        "s",
        Query(_slowest("cloudpulse_forecaster_train_duration_seconds"), "{{forecast}}"),
        minimum=0,
        width=8,
    ),
    timeseries(
        "Age of the models",
        "Time since each forecast's last training.",
        "s",
        Query(f"time() - max {OF_FORECAST} (cloudpulse_forecaster_trained_timestamp_seconds)", "{{forecast}}"),
        minimum=0,
        width=8,
    ),
    timeseries(
        "Errors of the forecaster, by reason",
        "In the dashboard's interval. source_unavailable: Prometheus doesn't answer; store: the disk can't be written.",
        "short",
        Query(
            none_without(f"sum by (reason) (increase(cloudpulse_forecaster_errors_total{RATE}))", "reason", FORECASTER),
            "{{reason}}",
        ),
        minimum=0,
    ),
    timeseries(
        "Series left out of forecasts, by reason",
        "By the last round of each forecast. Too many: raise max_series, or aggregate in the query.",
        "short",
        Query(
            none_without("sum by (reason) (cloudpulse_forecaster_series_skipped)", "reason", FORECASTER), "{{reason}}"
        ),
        minimum=0,
    ),
]
COST = [
    timeseries(
        "Queries to Prometheus",
        "A second: the forecaster's, and all that Prometheus answers over HTTP, dashboards like this one included.",
        "reqps",
        Query(f"sum(rate(cloudpulse_forecaster_query_duration_seconds_count{RATE}))", "forecaster"),
        Query(
            f'sum(rate(prometheus_http_requests_total{{handler=~"/api/v1/query.*"}}{RATE}))', "all", Look(dashed=True)
        ),
        minimum=0,
        width=8,
    ),
    timeseries(
        "How busy the forecaster keeps Prometheus",
        "Queries under way at a time, on average: seconds of waiting for answers, a second.",
        "none",
        Query(f"sum by (forecast) (rate(cloudpulse_forecaster_query_duration_seconds_sum{RATE}))", "{{forecast}}"),
        stacked=True,
        minimum=0,
        width=8,
    ),
    timeseries(
        "Series that CloudPulse adds",
        "Samples in each scrape of its services, which is how many series each adds. Forecasts grow with series, "
        "horizons and levels.",
        "short",
        Query(f"sum by (job) (scrape_samples_post_metric_relabeling{{{CHOSEN}}} {OURS})", "{{job}}"),
        stacked=True,
        minimum=0,
        width=8,
    ),
    stat(
        "Share of Prometheus' series",
        "CloudPulse's series of all that this Prometheus has in memory.",
        "percentunit",
        Query(
            f"sum(scrape_samples_post_metric_relabeling{{{CHOSEN}}} {OURS}) / scalar(sum(prometheus_tsdb_head_series))"
        ),
        height=8,
        decimals=1,
    ),
    timeseries(
        "Time to scrape each service",
        "Must stay well under the scrape_timeout, or samples are lost.",
        "s",
        Query(f"max by (job, instance) (scrape_duration_seconds{{{CHOSEN}}} {OURS})", "{{job}} {{instance}}"),
        minimum=0,
        width=10,
    ),
    timeseries(
        "Slowest collectors of the exporters",
        "The five that take longest at the moment of each point.",
        "s",
        Query(
            "topk(5, max by (instance, collector) (cloudpulse_exporter_collector_duration_seconds))",
            "{{instance}} {{collector}}",
        ),
        minimum=0,
        width=10,
    ),
    stat(
        "Metrics missing",
        "Collectors of exporters, and parts of any service's metrics, that can't be read now; the service's log says "
        "why.",
        "short",
        Query("sum(1 - cloudpulse_exporter_collector_success)", "collectors"),
        Query(f"sum(cloudpulse_metrics_failed_sources{{{CHOSEN}}})", "other parts"),
        steps=NONE_IS_GOOD,
        height=8,
    ),
]

BOARD = Board(
    name="itself",
    title="CloudPulse / Itself",
    description="Whether CloudPulse's services run and keep up, and what they cost the Prometheus.",
    variables=[label_values("job", "Service", "cloudpulse_build_info", "job", many=True)],
    alerts='alertname=~"CloudPulse.*|Forecast.*|Exporter.*|AlertBridge.*|Scaler.*"',
    rows=[
        Row(None, [*STATE, SERVICES]),
        Row("Processes", PROCESSES),
        Row("Forecaster", ROUNDS),
        Row("What it costs", COST),
    ],
)
