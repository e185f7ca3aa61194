"""The one table of every series that CloudPulse exports: name, type, help, labels.

Code builds its metrics from here, and tests hold rules, dashboards, charts and docs to it. Labels of
the source series, which forecast series keep, are not listed: they are the user's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # prometheus_client costs 10 MiB, and the exporter does without
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.core import Metric

PREFIX = "cloudpulse_"


@dataclass(frozen=True)
class Definition:
    """One metric: its full name (a counter's with `_total`), type, help and own labels."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()

    def family(self) -> Metric:
        """An empty family for a Collector to fill with `add_metric(label_values, value)`."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        if self.kind == "counter":
            return CounterMetricFamily(self.name, self.help, labels=self.labels)
        return GaugeMetricFamily(self.name, self.help, labels=self.labels)

    def counter(self, registry: CollectorRegistry) -> Counter:
        """A counter to increment, registered in `registry`."""
        from prometheus_client import Counter

        return Counter(self.name, self.help, self.labels, registry=registry)

    def gauge(self, registry: CollectorRegistry) -> Gauge:
        """A gauge to set, registered in `registry`."""
        from prometheus_client import Gauge

        return Gauge(self.name, self.help, self.labels, registry=registry)

    def histogram(self, registry: CollectorRegistry, buckets: Sequence[float]) -> Histogram:
        """A histogram to observe, registered in `registry`; `buckets` are upper bounds in the metric's unit."""
        from prometheus_client import Histogram

        return Histogram(self.name, self.help, self.labels, registry=registry, buckets=buckets)


def _gauge(name: str, text: str, *labels: str) -> Definition:
    return Definition(PREFIX + name, "gauge", text, labels)


def _counter(name: str, text: str, *labels: str) -> Definition:
    return Definition(PREFIX + name, "counter", text, labels)


def _histogram(name: str, text: str, *labels: str) -> Definition:
    return Definition(PREFIX + name, "histogram", text, labels)


# Every service
BUILD_INFO = _gauge("build_info", "Always 1; the labels say what runs.", "version", "revision", "pythonversion")
CONFIG_RELOAD_OK = _gauge("config_last_reload_successful", "Whether the last reload of the config succeeded.")
CONFIG_RELOAD_TIME = _gauge(
    "config_last_reload_success_timestamp_seconds", "Unix time of the last successful load of the config."
)
METRICS_FAILED = _gauge("metrics_failed_sources", "Parts of this page that are missing since reading them failed.")
WEB_CONFIG_RELOAD_OK = _gauge(
    "web_config_last_reload_successful", "Whether what the web config file, and the files it names, hold is in force."
)
WEB_CONFIG_RELOAD_TIME = _gauge(
    "web_config_last_reload_success_timestamp_seconds", "Unix time of the last successful load of the web config."
)
AUDIT_FAILURES = _counter(
    "audit_failures_total", "Lines that could not be written to the file of --audit-log, and went to the log."
)
SPANS_LOST = _counter("spans_lost_total", "Spans that did not get to the traces' collector; only where traces are on.")

# Exporter
CPU_SECONDS = _counter("node_cpu_seconds_total", "Seconds that each logical CPU spent in each mode.", "cpu", "mode")
CPU_FREQUENCY = _gauge("node_cpu_frequency_hertz", "Current frequency of each logical CPU.", "cpu")
CPU_COUNT = _gauge("node_cpu_count", "Number of CPUs.", "kind")
MEMORY_TOTAL = _gauge("node_memory_total_bytes", "Physical memory.")
MEMORY_AVAILABLE = _gauge("node_memory_available_bytes", "Memory that programs can get without swapping.")
MEMORY_USED = _gauge("node_memory_used_bytes", "Memory in use, as psutil defines it for the platform.")
MEMORY_FREE = _gauge("node_memory_free_bytes", "Memory used for nothing at all.")
MEMORY_BUFFERS = _gauge("node_memory_buffers_bytes", "Memory that buffers file-system metadata.")
MEMORY_CACHED = _gauge("node_memory_cached_bytes", "Memory that caches files.")
MEMORY_SHARED = _gauge("node_memory_shared_bytes", "Memory that several processes may access.")
SWAP_TOTAL = _gauge("node_swap_total_bytes", "Swap space.")
SWAP_USED = _gauge("node_swap_used_bytes", "Swap space in use.")
SWAP_FREE = _gauge("node_swap_free_bytes", "Swap space not in use.")
SWAP_IN = _counter("node_swap_in_bytes_total", "Bytes read back from swap since boot.")
SWAP_OUT = _counter("node_swap_out_bytes_total", "Bytes written to swap since boot.")
LOAD1 = _gauge("node_load1", "Processes running or waiting, 1-minute average.")
LOAD5 = _gauge("node_load5", "Processes running or waiting, 5-minute average.")
LOAD15 = _gauge("node_load15", "Processes running or waiting, 15-minute average.")
NETWORK_RECEIVE_BYTES = _counter("node_network_receive_bytes_total", "Bytes received.", "device")
NETWORK_TRANSMIT_BYTES = _counter("node_network_transmit_bytes_total", "Bytes sent.", "device")
NETWORK_RECEIVE_PACKETS = _counter("node_network_receive_packets_total", "Packets received.", "device")
NETWORK_TRANSMIT_PACKETS = _counter("node_network_transmit_packets_total", "Packets sent.", "device")
NETWORK_RECEIVE_ERRORS = _counter("node_network_receive_errors_total", "Errors while receiving.", "device")
NETWORK_TRANSMIT_ERRORS = _counter("node_network_transmit_errors_total", "Errors while sending.", "device")
NETWORK_RECEIVE_DROPS = _counter("node_network_receive_drops_total", "Incoming packets dropped.", "device")
NETWORK_TRANSMIT_DROPS = _counter("node_network_transmit_drops_total", "Outgoing packets dropped.", "device")
NETWORK_UP = _gauge("node_network_up", "Whether the interface is up.", "device")
DISK_READ_BYTES = _counter("node_disk_read_bytes_total", "Bytes read.", "device")
DISK_WRITTEN_BYTES = _counter("node_disk_written_bytes_total", "Bytes written.", "device")
DISK_READS = _counter("node_disk_reads_completed_total", "Reads completed.", "device")
DISK_WRITES = _counter("node_disk_writes_completed_total", "Writes completed.", "device")
DISK_IO_TIME = _counter("node_disk_io_time_seconds_total", "Seconds in which the device had I/O under way.", "device")
FILESYSTEM_SIZE = _gauge("node_filesystem_size_bytes", "Size of the filesystem.", "device", "mountpoint", "fstype")
FILESYSTEM_AVAILABLE = _gauge(
    "node_filesystem_available_bytes", "Bytes free for non-root users.", "device", "mountpoint", "fstype"
)
FILESYSTEM_USED = _gauge("node_filesystem_used_bytes", "Bytes in use.", "device", "mountpoint", "fstype")
FILESYSTEM_FILES = _gauge("node_filesystem_files", "Inodes of the filesystem.", "device", "mountpoint", "fstype")
FILESYSTEM_FILES_FREE = _gauge("node_filesystem_files_free", "Free inodes.", "device", "mountpoint", "fstype")
FILESYSTEM_ERROR = _gauge(
    "node_filesystem_device_error",
    "Whether the filesystem failed or hung, so that its other series are missing.",
    "device",
    "mountpoint",
    "fstype",
)
PRESSURE_CPU_WAITING = _counter("node_pressure_cpu_waiting_seconds_total", "Seconds in which a task waited for a CPU.")
PRESSURE_IO_WAITING = _counter("node_pressure_io_waiting_seconds_total", "Seconds in which a task waited for I/O.")
PRESSURE_IO_STALLED = _counter("node_pressure_io_stalled_seconds_total", "Seconds in which every task waited for I/O.")
PRESSURE_MEMORY_WAITING = _counter(
    "node_pressure_memory_waiting_seconds_total", "Seconds in which a task waited for memory."
)
PRESSURE_MEMORY_STALLED = _counter(
    "node_pressure_memory_stalled_seconds_total", "Seconds in which every task waited for memory."
)
PRESSURE_IRQ_STALLED = _counter(
    "node_pressure_irq_stalled_seconds_total", "Seconds in which every task waited for interrupts to be handled."
)
SENSOR_TEMPERATURE = _gauge("node_sensors_temperature_celsius", "Temperature.", "chip", "sensor")
SENSOR_TEMPERATURE_HIGH = _gauge(
    "node_sensors_temperature_high_celsius", "Temperature that the sensor calls high.", "chip", "sensor"
)
SENSOR_TEMPERATURE_CRITICAL = _gauge(
    "node_sensors_temperature_critical_celsius", "Temperature that the sensor calls critical.", "chip", "sensor"
)
SENSOR_FAN = _gauge("node_sensors_fan_rpm", "Turns of the fan a minute.", "chip", "sensor")
BATTERY_CHARGE = _gauge("node_battery_charge_ratio", "Charge of the battery, 0 to 1.", "battery")
POWER_PLUGGED = _gauge("node_power_plugged", "Whether the host with a battery runs on outside power.")
PROCESSES = _gauge("node_processes", "Processes by state.", "state")
TOP_CPU = _counter(
    "node_top_cpu_seconds_total",
    "CPU seconds of all processes of a name since the exporter started; only for the names that take most.",
    "name",
)
TOP_MEMORY = _gauge(
    "node_top_memory_bytes",
    "Resident memory of all processes of a name, shared pages counted in each; only for the names that take most.",
    "name",
)
TOP_PROCESSES = _gauge(
    "node_top_processes", "Number of processes of a name; only for the names that take most.", "name"
)
BOOT_TIME = _gauge("node_boot_time_seconds", "Unix time at which the host started.")
TIME = _gauge("node_time_seconds", "The host's clock, Unix time.")
NODE_INFO = _gauge(
    "node_info",
    "Always 1; the labels describe the host.",
    "hostname",
    "os",
    "kernel",
    "machine",
    "distribution",
    "distribution_version",
)
TEXTFILE_MTIME = _gauge("node_textfile_mtime_seconds", "Unix time at which the file was last written.", "file")
TEXTFILE_ERROR = _gauge("node_textfile_scrape_error", "1 when a file or directory could not be shown, else 0.")
COLLECTOR_DURATION = _gauge("exporter_collector_duration_seconds", "How long the collector took.", "collector")
COLLECTOR_SUCCESS = _gauge("exporter_collector_success", "Whether the collector succeeded.", "collector")

# Forecaster: forecasts
FORECAST_VALUE = _gauge(
    "forecast_value",
    "Quantile `level` of the value `horizon` ahead, as last predicted; horizon 0s: expected for now.",
    "forecast",
    "horizon",
    "level",
)
FORECAST_CURVE = _gauge(
    "forecast_curve", "The whole predicted path, at future timestamps; by remote read only.", "forecast", "level"
)
FORECAST_OBSERVED = _gauge("forecast_observed", "The newest value of the source, as last read.", "forecast")
FORECAST_THRESHOLD = _gauge("forecast_threshold", "The threshold itself, to be drawn.", "forecast", "threshold")
FORECAST_ANOMALY_SCORE = _gauge(
    "forecast_anomaly_score", "0 as expected, 1 at the edge of the band, above 1 outside of it.", "forecast"
)
FORECAST_TIME_TO_THRESHOLD = _gauge(
    "forecast_time_to_threshold_seconds",
    "Seconds until quantile `level` of the path crosses the threshold; +Inf if not within the horizon.",
    "forecast",
    "threshold",
    "level",
)
FORECAST_THRESHOLD_PROBABILITY = _gauge(
    "forecast_threshold_probability",
    "Chance, 0 to 1, that the series crosses the threshold within the horizon.",
    "forecast",
    "threshold",
    "horizon",
)
FORECAST_MASE = _gauge(
    "forecast_mase",
    "Live rolling MASE: mean absolute error of the median over that of seasonal naive; below 1 is better than it.",
    "forecast",
    "horizon",
)
FORECAST_COVERAGE = _gauge(
    "forecast_coverage_ratio",
    "Share of actual values at or under quantile `level`, live.",
    "forecast",
    "horizon",
    "level",
)
FORECAST_BIAS = _gauge(
    "forecast_bias_ratio", "Mean signed error of the median over the scale of the series, live.", "forecast", "horizon"
)
FORECAST_MODEL_WEIGHT = _gauge(
    "forecast_model_weight", "Weight of the model in the ensemble, as in use now; sum 1.", "forecast", "model"
)
FORECAST_TIMESTAMP = _gauge("forecast_timestamp_seconds", "Unix time of the last prediction.", "forecast")
FORECAST_INFO = _gauge(
    "forecast_info",
    "Always 1; `matchers` names the series in PromQL: its source's labels alone, without those that a scrape adds.",
    "forecast",
    "matchers",
)
FORECAST_SERIES = _gauge("forecast_series", "Number of series forecast now.", "forecast")

# Forecaster: itself
FORECASTER_TRAIN_DURATION = _histogram(
    "forecaster_train_duration_seconds", "Time of training one part, waiting included.", "forecast"
)
FORECASTER_PREDICT_DURATION = _histogram("forecaster_predict_duration_seconds", "Time of one prediction.", "forecast")
FORECASTER_QUERY_DURATION = _histogram("forecaster_query_duration_seconds", "Time of one PromQL query.", "forecast")
FORECASTER_READ_DURATION = _histogram(
    "forecaster_read_duration_seconds", "Time of one remote read, up to the first byte of the answer.", "code"
)
FORECASTER_STREAMS = _gauge("forecaster_streams", "Clients that listen to /api/v1/stream.")
FORECASTER_ERRORS = _counter(
    "forecaster_errors_total",
    "Failures, by reason; a round whose models fail is forecast by seasonal naive.",
    "forecast",
    "reason",
)
FORECASTER_SERIES_SKIPPED = _gauge(
    "forecaster_series_skipped", "Series that the last round left out, by reason.", "forecast", "reason"
)
FORECASTER_TRAINING_BACKLOG = _gauge(
    "forecaster_training_backlog", "Series whose training is due and has not begun.", "forecast"
)
FORECASTER_TRAINING_SHED = _counter(
    "forecaster_training_shed_total",
    "Rounds after which due training was held back, since they took too long beside training.",
    "forecast",
)
FORECASTER_ROUNDS_SKIPPED = _counter(
    "forecaster_rounds_skipped_total", "Rounds left out since the one before took too long.", "forecast"
)
FORECASTER_DEMOTED_SERIES = _gauge(
    "forecaster_demoted_series",
    "Series in which the model has no say at some horizon, being worse than seasonal naive live.",
    "forecast",
    "model",
)
FORECASTER_MODEL_VERSION = _gauge(
    "forecaster_model_version", "Version of the trained models in use (counts up).", "forecast"
)
FORECASTER_TRAINED = _gauge("forecaster_trained_timestamp_seconds", "Unix time of the last training.", "forecast")

# Alert bridge
BRIDGE_ALERTS_RECEIVED = _counter("alert_bridge_alerts_received_total", "Alerts accepted from Alertmanager.", "status")
BRIDGE_GROUPS_REJECTED = _counter("alert_bridge_groups_rejected_total", "Webhook posts not accepted.", "reason")
BRIDGE_DENIED = _counter("alert_bridge_denied_total", "Requests refused for who asks, by reason.", "reason")
BRIDGE_DUPLICATES = _counter("alert_bridge_duplicates_total", "Webhook posts that were already stored.")
BRIDGE_NOTIFICATIONS = _counter(
    "alert_bridge_notifications_total", "Delivery attempts, by receiver and result.", "receiver", "result"
)
BRIDGE_RETRIES = _counter("alert_bridge_retries_total", "Deliveries put back for another try.", "receiver")
BRIDGE_SUMMARIES = _counter(
    "alert_bridge_summaries_total", "Messages delivered for many, which a rate limit had held back.", "receiver"
)
BRIDGE_SUMMARISED = _counter(
    "alert_bridge_summarised_notifications_total", "Notifications delivered within summaries.", "receiver"
)
BRIDGE_PENDING = _gauge("alert_bridge_pending", "Notifications that wait to be delivered.", "receiver")
BRIDGE_OLDEST_PENDING = _gauge("alert_bridge_oldest_pending_age_seconds", "Age of the oldest waiting notification.")
BRIDGE_DEAD_LETTERS = _gauge("alert_bridge_dead_letters", "Notifications given up, kept for a person.", "receiver")
BRIDGE_STORED = _gauge("alert_bridge_stored_alerts", "Alerts kept, waiting or finished, when last counted.")
BRIDGE_STORED_LIMIT = _gauge("alert_bridge_stored_alerts_limit", "Alerts that may be kept: max_stored_alerts.")
BRIDGE_TEMPLATE_FAILURES = _counter(
    "alert_bridge_template_failures_total",
    "Templates of the config not usable for a message; worded as by default.",
    "receiver",
)
BRIDGE_INSIGHTS = _counter("alert_bridge_insights_total", "Messages' questions to Prometheus, by result.", "result")
BRIDGE_INSIGHT_DURATION = _histogram("alert_bridge_insight_duration_seconds", "Time that a message waited for insight.")
BRIDGE_DELIVERY_LATENCY = _histogram("alert_bridge_delivery_latency_seconds", "From stored to delivered.", "receiver")
BRIDGE_STREAMS = _gauge("alert_bridge_streams", "Clients that listen to /api/v1/stream.")

# Scaler
SCALER_REQUESTS = _counter("scaler_requests_total", "Metric requests answered.", "api", "metric", "code")
SCALER_REQUEST_DURATION = _histogram("scaler_request_duration_seconds", "Time to answer a metric request.", "api")
SCALER_VALUE = _gauge("scaler_value", "Value last served: the sum over the items.", "api", "metric")
SCALER_VALUE_AGE = _gauge(
    "scaler_value_age_seconds", "Age of the oldest sample behind the value last served.", "api", "metric"
)
SCALER_FALLBACK = _counter(
    "scaler_fallback_total",
    "Series that fell back to what is measured now, by reason, counted at each evaluation.",
    "metric",
    "reason",
)
SCALER_PART = _gauge(
    "scaler_part_value",
    "At the last evaluation, summed over all series: measured now, forecast, and ahead, what the rule makes of both.",
    "metric",
    "kind",
    "part",
)
SCALER_SERIES = _gauge("scaler_series", "Series at the last evaluation.", "metric", "kind")
SCALER_GATED = _gauge("scaler_gated_series", "Series whose forecast is not good enough to be used.", "metric", "kind")
SCALER_HORIZON = _gauge("scaler_horizon_seconds", "How far ahead the forecast in use looks.", "metric", "kind")
SCALER_DENIED = _counter("scaler_denied_total", "Requests refused for lack of authentication or permission.", "reason")
SCALER_DOCKER_REPLICAS = _gauge(
    "scaler_docker_replicas", "Replicas that the service on Docker is to have, as the Engine says.", "service"
)
SCALER_DOCKER_READY = _gauge(
    "scaler_docker_ready_replicas", "Replicas that run, and are healthy if that is checked.", "service"
)
SCALER_DOCKER_DESIRED = _gauge(
    "scaler_docker_desired_replicas", "Replicas last decided on; absent while nothing can be decided.", "service"
)
SCALER_DOCKER_CHANGES = _counter(
    "scaler_docker_changes_total", "Changes of the number of replicas, by direction.", "service", "direction"
)
SCALER_DOCKER_ERRORS = _counter(
    "scaler_docker_errors_total",
    "Times that scaling stopped, for a reason: metric, engine, refused, service, conflict, disabled, internal.",
    "service",
    "reason",
)

# The demo of `cloudpulse up --demo`
DEMO_REQUESTS = _gauge("demo_requests_per_minute", "Replayed demand of a real application.", "app")


def definitions() -> Iterator[Definition]:
    """Every definition in the table, in order."""
    yield from (value for value in globals().values() if isinstance(value, Definition))
