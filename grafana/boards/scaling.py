"""*Scaling*: what is demanded now and ahead, what is served to who scales, and what became of the replicas."""

from __future__ import annotations

from grafana.board import Board, Row
from grafana.boards.absence import none_without
from grafana.panels import VALUES, Column, Steps, table, timeseries
from grafana.queries import Look, Query
from grafana.variables import label_values

RATE = "[$__rate_interval]"
METRIC = 'metric=~"$metric"'
SERVICE = 'service=~"$service"'
HPA = 'namespace=~"$namespace", horizontalpodautoscaler=~"$hpa"'
OF_HPA = "by (namespace, horizontalpodautoscaler)"
NAMED = "{{namespace}}/{{horizontalpodautoscaler}}"
ANY_RULE = "cloudpulse_scaler_series"
BAD: Steps = ((None, "green"), (1, "orange"))
BOUND = Look(dashed=True, width=0.5)


def _part(name: str) -> str:
    return f'max by (metric) (cloudpulse_scaler_part_value{{part="{name}", {METRIC}}})'


def _hpa(name: str) -> str:
    return f"max {OF_HPA} (kube_horizontalpodautoscaler_{name}{{{HPA}}})"


RULES = table(
    "What each rule does now",
    "Summed over the rule's series, and the largest of the scaler's replicas, which see the same. "
    "Ahead is what the rule makes of demand and forecast; gated series are scaled on "
    "what is measured now, since their forecast isn't good enough.",
    *(Query(_part(part)) for part in ("measured", "forecast", "ahead")),
    Query(f"max by (metric) (cloudpulse_scaler_horizon_seconds{{{METRIC}}})"),
    Query(f"max by (metric) (cloudpulse_scaler_series{{{METRIC}}})"),
    Query(f"max by (metric) (cloudpulse_scaler_gated_series{{{METRIC}}})"),
    Query(f"max by (metric) (cloudpulse_scaler_value_age_seconds{{{METRIC}}})"),
    columns=[
        Column("metric", "Metric"),
        Column(VALUES[0], "Demand now", "short"),
        Column(VALUES[1], "Forecast", "short"),
        Column(VALUES[2], "Ahead", "short"),
        Column(VALUES[3], "Looks ahead", "dtdurations"),
        Column(VALUES[4], "Series", "short"),
        Column(VALUES[5], "Gated", "short", ((None, "transparent"), (1, "orange"))),
        Column(VALUES[6], "Age of what was served", "s", ((None, "transparent"), (60, "orange"), (120, "red"))),
    ],
    sort="Metric",
    width=24,
    height=6,
)
DEMAND = [
    timeseries(
        "Demand now, the forecast, and what is served",
        "Served last, as the HPA, KEDA or Docker asked. It is at least what is measured now, unless the rule says "
        "floor: none.",
        "short",
        Query(_part("measured"), "{{metric}} now", Look(width=2)),
        Query(_part("forecast"), "{{metric}} forecast", Look(dashed=True)),
        Query(_part("ahead"), "{{metric}} ahead"),
        Query(f"max by (metric, api) (cloudpulse_scaler_value{{{METRIC}}})", "{{metric}} served, {{api}}", BOUND),
        width=16,
        height=9,
    ),
    timeseries(
        "Series that can't use their forecast",
        "Gated: the forecast has been wrong too often. By reason: series that fell back to what is measured now, for "
        "each second; a rule in good order has none.",
        "short",
        Query(f"max by (metric) (cloudpulse_scaler_gated_series{{{METRIC}}})", "{{metric}} gated"),
        Query(
            none_without(
                f"sum by (reason) (rate(cloudpulse_scaler_fallback_total{{{METRIC}}}{RATE}))", "reason", ANY_RULE
            ),
            "fell back: {{reason}}",
        ),
        minimum=0,
        width=8,
        height=9,
    ),
]
REQUESTS = [
    timeseries(
        "Requests by answer",
        "Anything but 200 leaves the HPA where it is: it never scales down on an error.",
        "reqps",
        Query(f"sum by (api, code) (rate(cloudpulse_scaler_requests_total{{{METRIC}}}{RATE}))", "{{api}} {{code}}"),
        minimum=0,
        width=8,
    ),
    timeseries(
        "Time to answer",
        "Median and 99th percentile by API. Answers come from memory: a rise means a host short of CPU.",
        "s",
        *(
            Query(
                f"""histogram_quantile(
  {level}, sum by (api, le) (rate(cloudpulse_scaler_request_duration_seconds_bucket{RATE}))
)""",
                f"{{{{api}}}} {name}",
            )
            for level, name in (("0.5", "median"), ("0.99", "99 %"))
        ),
        minimum=0,
        width=8,
    ),
    timeseries(
        "Refused for who asks",
        "Requests without authentication or permission, by reason.",
        "reqps",
        Query(
            none_without(f"sum by (reason) (rate(cloudpulse_scaler_denied_total{RATE}))", "reason", ANY_RULE),
            "{{reason}}",
        ),
        minimum=0,
        width=8,
    ),
]
DOCKER = [
    timeseries(
        "Replicas on Docker",
        "What was decided, what the Engine was told, and what is ready to serve.",
        "short",
        *(
            Query(f"max by (service) (cloudpulse_scaler_docker_{name}{{{SERVICE}}})", legend, look)
            for name, legend, look in (
                ("desired_replicas", "{{service}} decided", Look(dashed=True)),
                ("replicas", "{{service}} told", Look(width=2)),
                ("ready_replicas", "{{service}} ready", Look()),
            )
        ),
        minimum=0,
        width=12,
    ),
    timeseries(
        "Changes of replicas on Docker",
        "In the dashboard's interval, by direction.",
        "short",
        Query(
            f"sum by (service, direction) (increase(cloudpulse_scaler_docker_changes_total{{{SERVICE}}}{RATE}))",
            "{{service}} {{direction}}",
        ),
        minimum=0,
        width=6,
    ),
    timeseries(
        "What stopped scaling on Docker",
        "Times in the dashboard's interval, by reason; the scaler's /health says what to do.",
        "short",
        Query(
            none_without(
                f"sum by (reason) (increase(cloudpulse_scaler_docker_errors_total{{{SERVICE}}}{RATE}))",
                "reason",
                "cloudpulse_scaler_docker_replicas",
            ),
            "{{reason}}",
        ),
        minimum=0,
        width=6,
    ),
]
KUBERNETES = [
    timeseries(
        "Replicas of HPAs",
        "From kube-state-metrics. At its maximum an HPA can't follow the forecast any more.",
        "short",
        Query(_hpa("status_desired_replicas"), f"{NAMED} desired", Look(dashed=True)),
        Query(_hpa("status_current_replicas"), f"{NAMED} current", Look(width=2)),
        Query(_hpa("spec_min_replicas"), f"{NAMED} minimum", BOUND),
        Query(_hpa("spec_max_replicas"), f"{NAMED} maximum", BOUND),
        minimum=0,
    ),
    table(
        "What HPAs say of themselves",
        "1 is true. Able and active belong to a healthy HPA; limited means that its bounds hold it back. Changes: how "
        "often it wanted another number in the dashboard's range.",
        *(
            Query(
                f"""max {OF_HPA} (
  kube_horizontalpodautoscaler_status_condition{{condition="{condition}", status="true", {HPA}}}
)"""
            )
            for condition in ("AbleToScale", "ScalingActive", "ScalingLimited")
        ),
        Query(f"max {OF_HPA} (changes(kube_horizontalpodautoscaler_status_desired_replicas{{{HPA}}}[$__range]))"),
        columns=[
            Column("namespace", "Namespace"),
            Column("horizontalpodautoscaler", "HPA"),
            Column(VALUES[0], "Able to scale", "short", ((None, "red"), (1, "green"))),
            Column(VALUES[1], "Scaling active", "short", ((None, "red"), (1, "green"))),
            Column(VALUES[2], "Limited", "short", ((None, "green"), (1, "orange"))),
            Column(VALUES[3], "Changes", "short"),
        ],
        sort="Limited",
        descending=True,
    ),
]

BOARD = Board(
    name="scaling",
    title="CloudPulse / Scaling",
    description="Demand now and ahead, what the scaler serves, and the replicas that follow it.",
    variables=[
        label_values("metric", "Metric", ANY_RULE, "metric", many=True),
        label_values("service", "Docker service", "cloudpulse_scaler_docker_replicas", "service", many=True),
        label_values(
            "namespace", "Namespace", "kube_horizontalpodautoscaler_status_current_replicas", "namespace", many=True
        ),
        label_values(
            "hpa",
            "HPA",
            'kube_horizontalpodautoscaler_status_current_replicas{namespace=~"$namespace"}',
            "horizontalpodautoscaler",
            many=True,
        ),
    ],
    alerts='alertname=~".*(Demand|Scaler|Scaling).*"',
    rows=[
        Row(None, [RULES, *DEMAND]),
        Row("Requests of the HPA, KEDA and others", REQUESTS),
        Row("Docker services", DOCKER),
        Row("Kubernetes", KUBERNETES),
    ],
)
