"""*Alerts*: from Prometheus over Alertmanager and the bridge to people, and where on that way one is stuck."""

from __future__ import annotations

from grafana.board import Board, Row
from grafana.boards.absence import none_without
from grafana.panels import VALUES, Column, Steps, stat, table, timeseries
from grafana.queries import Look, Query
from grafana.variables import label_values

RATE = "[$__rate_interval]"
TOLD = 'receiver=~"$receiver"'
BRIDGE = "cloudpulse_alert_bridge_stored_alerts_limit"
"""A series that every bridge has."""
NONE_IS_GOOD: Steps = ((None, "green"), (1, "red"))
WEBHOOK = 'integration="webhook"'


def _latency(level: str) -> str:
    return f"""histogram_quantile(
  {level}, sum by (receiver, le) (rate(cloudpulse_alert_bridge_delivery_latency_seconds_bucket{{{TOLD}}}{RATE}))
)"""


STATE = [
    stat(
        "Waiting",
        "Notifications that wait to be delivered, all chosen receivers.",
        "short",
        Query(f"sum(max by (receiver) (cloudpulse_alert_bridge_pending{{{TOLD}}}))"),
        sparkline=True,
    ),
    stat(
        "Oldest waits for",
        "Age of the oldest waiting notification: above a minute something holds it back.",
        "s",
        Query("max(cloudpulse_alert_bridge_oldest_pending_age_seconds)"),
        steps=((None, "green"), (60, "orange"), (300, "red")),
    ),
    stat(
        "Given up",
        "Dead letters: notifications that nobody got, kept for a person to send again or to discard.",
        "short",
        Query(f"sum(max by (receiver) (cloudpulse_alert_bridge_dead_letters{{{TOLD}}}))"),
        steps=NONE_IS_GOOD,
    ),
    stat(
        "Refused posts",
        "In the dashboard's range: posts of Alertmanager that the bridge didn't take. The bridge's log says why.",
        "short",
        Query(
            f"sum(increase(cloudpulse_alert_bridge_groups_rejected_total[$__range]))\nor on () 0 * count({BRIDGE})",
            instant=True,
        ),
        steps=NONE_IS_GOOD,
        decimals=0,
    ),
    stat(
        "Store in use",
        "Alerts kept, of those that may be kept (max_stored_alerts): at 100 % new ones are refused.",
        "percentunit",
        Query("max(cloudpulse_alert_bridge_stored_alerts / cloudpulse_alert_bridge_stored_alerts_limit)"),
        steps=((None, "green"), (0.8, "orange"), (0.95, "red")),
    ),
    stat(
        "Bridge",
        "Whether Prometheus reaches every bridge that it reached within the last day.",
        "none",
        Query(f"min(up and on (job, instance) last_over_time({BRIDGE}[1d]))"),
        steps=((None, "red"), (1, "green")),
        words={"0": "down", "1": "up"},
        no_value="unknown",
    ),
]
FIRING = table(
    "Which alerts fire now",
    "As Prometheus sees it, whether or not anybody was told: how many of each, and since when the first holds.",
    Query('count by (alertname, severity) (ALERTS{alertstate="firing"})'),
    Query(
        'time() - min by (alertname, severity) (ALERTS_FOR_STATE and ignoring (alertstate) ALERTS{alertstate="firing"})'
    ),
    columns=[
        Column("alertname", "Alert"),
        Column("severity", "Severity"),
        Column(VALUES[0], "Firing", "short"),
        Column(VALUES[1], "Since", "dtdurations"),
    ],
    sort="Since",
    no_value="none",
)
IN = [
    timeseries(
        "Is everything that was sent accepted?",
        "Posts a second from Alertmanager to webhooks, those that failed (it tries again), and those that the bridge "
        "refused, by reason, or had already.",
        "reqps",
        Query(f"sum(rate(alertmanager_notifications_total{{{WEBHOOK}}}{RATE}))", "sent", Look(width=2)),
        Query(f"sum(rate(alertmanager_notifications_failed_total{{{WEBHOOK}}}{RATE}))", "failed", Look(color="red")),
        Query(
            none_without(
                f"sum by (reason) (rate(cloudpulse_alert_bridge_groups_rejected_total{RATE}))", "reason", BRIDGE
            ),
            "refused: {{reason}}",
        ),
        Query(f"sum(rate(cloudpulse_alert_bridge_duplicates_total{RATE}))", "had already"),
        minimum=0,
    ),
    timeseries(
        "Alerts received",
        "Alerts a second that the bridge has on disk, firing and resolved.",
        "cps",
        Query(f"sum by (status) (rate(cloudpulse_alert_bridge_alerts_received_total{RATE}))", "{{status}}"),
        minimum=0,
        width=6,
    ),
    timeseries(
        "Alerts in Alertmanager",
        "Suppressed ones are silenced or inhibited: nobody is told.",
        "short",
        Query("sum by (state) (alertmanager_alerts)", "{{state}}"),
        minimum=0,
        width=6,
    ),
]
OUT = [
    timeseries(
        "Deliveries by receiver and result",
        "Attempts in the dashboard's interval. A receiver with failures only is unreachable or refuses.",
        "short",
        Query(
            f"sum by (receiver, result) (increase(cloudpulse_alert_bridge_notifications_total{{{TOLD}}}{RATE}))",
            "{{receiver}} {{result}}",
        ),
        minimum=0,
        width=8,
    ),
    timeseries(
        "Time from stored to delivered",
        "By receiver: the median, and what 95 of 100 stay under. Gaps: nothing was delivered.",
        "s",
        Query(_latency("0.5"), "{{receiver}} median"),
        Query(_latency("0.95"), "{{receiver}} 95 %", Look(dashed=True)),
        minimum=0,
        width=8,
    ),
    timeseries(
        "Waiting and given up, by receiver",
        "What waits goes down by itself once the receiver answers; what was given up waits for a person.",
        "short",
        Query(f"max by (receiver) (cloudpulse_alert_bridge_pending{{{TOLD}}})", "{{receiver}} waiting"),
        Query(
            f"max by (receiver) (cloudpulse_alert_bridge_dead_letters{{{TOLD}}})",
            "{{receiver}} given up",
            Look(width=2),
        ),
        minimum=0,
        width=8,
    ),
    timeseries(
        "Retries and messages for many",
        "In the dashboard's interval, by receiver: deliveries put back for another try, and summaries of what a rate "
        "limit had held back.",
        "short",
        Query(
            f"sum by (receiver) (increase(cloudpulse_alert_bridge_retries_total{{{TOLD}}}{RATE}))",
            "{{receiver}} retries",
        ),
        Query(
            f"sum by (receiver) (increase(cloudpulse_alert_bridge_summaries_total{{{TOLD}}}{RATE}))",
            "{{receiver}} summaries",
        ),
        minimum=0,
        width=8,
    ),
    timeseries(
        "Insight: did messages get what Prometheus knows?",
        "Questions of messages to Prometheus in the dashboard's interval, by result; without an answer the message "
        "goes without a picture.",
        "short",
        Query(
            none_without(f"sum by (result) (increase(cloudpulse_alert_bridge_insights_total{RATE}))", "result", BRIDGE),
            "{{result}}",
        ),
        minimum=0,
        width=8,
    ),
    timeseries(
        "Listeners, and requests refused for who asks",
        "Clients of the bridge's /api/v1/stream; and requests a second without a right to what they asked, by reason.",
        "short",
        Query("sum(cloudpulse_alert_bridge_streams)", "listeners"),
        Query(
            none_without(f"sum by (reason) (rate(cloudpulse_alert_bridge_denied_total{RATE}))", "reason", BRIDGE),
            "refused: {{reason}}",
            Look(right_axis_unit="reqps"),
        ),
        minimum=0,
        width=8,
    ),
]

BOARD = Board(
    name="alerts",
    title="CloudPulse / Alerts",
    description="From Prometheus over Alertmanager and the alert bridge to people, and where one is stuck or lost.",
    variables=[label_values("receiver", "Receiver", "cloudpulse_alert_bridge_pending", "receiver", many=True)],
    alerts='alertname=~"AlertBridge.*|Alertmanager.*"',
    rows=[
        Row(None, STATE),
        Row("Firing, and how it came here", [FIRING, *IN]),
        Row("To people", OUT),
    ],
)
