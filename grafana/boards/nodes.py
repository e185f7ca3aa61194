"""*Nodes*: each host by the USE method (utilisation, saturation, errors of each resource), and where it is heading."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Panel

from grafana.board import Board, Row
from grafana.panels import VALUES, Column, Steps, stat, table, timeseries
from grafana.queries import Look, Query
from grafana.variables import label_values

CHOSEN = 'job=~"$job", instance=~"$instance"'
RATE = "[$__rate_interval]"
OUTSIDE = f'device!="lo", {CHOSEN}'
SHARES: Steps = ((None, "transparent"), (0.8, "orange"), (0.9, "red"))
SOON: Steps = ((None, "red"), (14400, "orange"), (86400, "transparent"))
"""Seconds that are left: 4 hours, a day, as the alerts have it."""
EXPECTED = Look(dashed=True, width=1)
AT_MOST = Look(dashed=True, width=0.5)

CPU_USED = f"""1 - sum by (instance) (rate(cloudpulse_node_cpu_seconds_total{{mode="idle", {CHOSEN}}}{RATE}))
  / sum by (instance) (rate(cloudpulse_node_cpu_seconds_total{{{CHOSEN}}}{RATE}))"""
LOAD = f"""max by (instance) (cloudpulse_node_load1{{{CHOSEN}}})
  / max by (instance) (cloudpulse_node_cpu_count{{kind="logical", {CHOSEN}}})"""
MEMORY_USED = f"""1 - max by (instance) (cloudpulse_node_memory_available_bytes{{{CHOSEN}}})
  / max by (instance) (cloudpulse_node_memory_total_bytes{{{CHOSEN}}})"""
DISK_BUSY = f"max by (instance, device) (rate(cloudpulse_node_disk_io_time_seconds_total{{{CHOSEN}}}{RATE}))"
OF_FILESYSTEM = "max by (instance, mountpoint)"
AVAILABLE = f"{OF_FILESYSTEM} (cloudpulse_node_filesystem_available_bytes{{{CHOSEN}}})"
FILESYSTEM_USED = f"1 - {AVAILABLE} / {OF_FILESYSTEM} (cloudpulse_node_filesystem_size_bytes{{{CHOSEN}}} > 0)"
INODES_USED = f"""1 - {OF_FILESYSTEM} (cloudpulse_node_filesystem_files_free{{{CHOSEN}}})
  / {OF_FILESYSTEM} (cloudpulse_node_filesystem_files{{{CHOSEN}}} > 0)"""
FULL_IN = """min by (instance, mountpoint) (
  cloudpulse_forecast_time_to_threshold_seconds{forecast="node_filesystem", level="0.5", instance=~"$instance"} < +Inf
)"""
AT_THIS_PACE = f"""min by (instance, mountpoint) (
  cloudpulse_node_filesystem_available_bytes{{{CHOSEN}}}
    / -(deriv(cloudpulse_node_filesystem_available_bytes{{{CHOSEN}}}[6h]) < 0)
)"""
NETWORK_FAULTS = " + ".join(
    f"sum by (instance) (rate(cloudpulse_node_network_{way}_{fault}_total{{{CHOSEN}}}{RATE}))"
    for way in ("receive", "transmit")
    for fault in ("errors", "drops")
)


def _ahead(forecast: str, level: str) -> str:
    return f'cloudpulse_forecast_curve{{forecast="{forecast}", level="{level}", instance=~"$instance"}}'


def _pressure(resource: str, when: str, *kinds: str) -> Panel:
    series = f"cloudpulse_node_pressure_{resource.lower().replace('/', '')}"
    rates = {kind: f"rate({series}_{kind}_seconds_total{{{CHOSEN}}}{RATE})" for kind in kinds}
    return timeseries(
        f"{resource} pressure",
        f"Share of time in which {when}; stalled: no task at all could go on. Linux with pressure stall information.",
        "percentunit",
        *(Query(f"max by (instance) ({rate})", f"{{{{instance}}}} {kind}") for kind, rate in rates.items()),
        minimum=0,
        width=8,
    )


HOSTS = table(
    "Which host is in trouble",
    "One row a host, the busiest first. Fullest disk is the filesystem with the largest used share.",
    Query(CPU_USED),
    Query(LOAD),
    Query(MEMORY_USED),
    Query(f"max by (instance) ({FILESYSTEM_USED})"),
    Query(f"max by (instance) ({DISK_BUSY})"),
    Query(NETWORK_FAULTS),
    Query(f"""max by (instance) (cloudpulse_node_time_seconds{{{CHOSEN}}})
  - max by (instance) (cloudpulse_node_boot_time_seconds{{{CHOSEN}}})"""),
    columns=[
        Column("instance", "Host"),
        Column(VALUES[0], "CPU used", "percentunit", SHARES),
        Column(VALUES[1], "Load per CPU", "none", ((None, "transparent"), (1, "orange"), (2, "red")), decimals=2),
        Column(VALUES[2], "Memory used", "percentunit", SHARES),
        Column(VALUES[3], "Fullest disk", "percentunit", SHARES),
        Column(VALUES[4], "Busiest disk", "percentunit", SHARES),
        Column(VALUES[5], "Network faults", "pps", ((None, "transparent"), (1, "orange"))),
        Column(VALUES[6], "Up for", "dtdurations"),
    ],
    sort="CPU used",
    descending=True,
    width=20,
    now=True,
)
BLIND = stat(
    "Collectors that fail",
    "Parts of the exporters that fail now: what they measure is missing below. The exporter's log says why.",
    "short",
    Query(f"sum(1 - cloudpulse_exporter_collector_success{{{CHOSEN}}})"),
    steps=((None, "green"), (1, "red")),
    height=8,
    now=True,
)
CPU = Row(
    "CPU",
    [
        timeseries(
            "CPU utilisation, and ahead",
            "Busy share of all CPUs. Dashed: the forecast node_cpu, its median and what holds in 9 of 10 cases.",
            "percentunit",
            Query(CPU_USED, "{{instance}}"),
            Query(_ahead("node_cpu", "0.5"), "{{instance}} expected", EXPECTED),
            Query(_ahead("node_cpu", "0.9"), "{{instance}} at most, in 9 of 10", AT_MOST),
            minimum=0,
            maximum=1,
            limit=0.9,
        ),
        timeseries(
            "CPU saturation: load per CPU",
            "Processes that run or wait, per logical CPU: above 1 some wait.",
            "none",
            Query(LOAD, "{{instance}}"),
            minimum=0,
            limit=1,
            width=6,
        ),
        timeseries(
            "What the CPUs do",
            "Share of time by mode, mean over the chosen hosts. iowait is waiting for disks, steal what a hypervisor "
            "gives to others.",
            "percentunit",
            Query(
                f'avg by (mode) (rate(cloudpulse_node_cpu_seconds_total{{mode!="idle", {CHOSEN}}}{RATE}))', "{{mode}}"
            ),
            stacked=True,
            minimum=0,
            width=6,
        ),
    ],
)
MEMORY = Row(
    "Memory",
    [
        timeseries(
            "Memory utilisation, and ahead",
            "Share that programs can't get without swapping. Dashed: the median of the forecast node_memory, if there "
            "is one.",
            "percentunit",
            Query(MEMORY_USED, "{{instance}}"),
            Query(_ahead("node_memory", "0.5"), "{{instance}} expected", EXPECTED),
            minimum=0,
            maximum=1,
            limit=0.9,
        ),
        timeseries(
            "Memory saturation: swapping",
            "Bytes a second to and from swap. In use is harmless, to and fro is not.",
            "Bps",
            Query(
                f"max by (instance) (rate(cloudpulse_node_swap_out_bytes_total{{{CHOSEN}}}{RATE}))", "{{instance}} out"
            ),
            Query(
                f"max by (instance) (rate(cloudpulse_node_swap_in_bytes_total{{{CHOSEN}}}{RATE}))", "{{instance}} in"
            ),
            minimum=0,
        ),
    ],
)
DISKS = Row(
    "Disks",
    [
        timeseries(
            "Disk utilisation",
            "Share of time in which the device had I/O under way.",
            "percentunit",
            Query(DISK_BUSY, "{{instance}} {{device}}"),
            minimum=0,
            maximum=1,
            limit=0.9,
            width=8,
        ),
        timeseries(
            "Disk saturation: busy time per operation",
            "Busy seconds over completed reads and writes: rises when the device can't keep up.",
            "s",
            Query(
                f"""{DISK_BUSY}
  / (
    max by (instance, device) (rate(cloudpulse_node_disk_reads_completed_total{{{CHOSEN}}}{RATE}))
      + max by (instance, device) (rate(cloudpulse_node_disk_writes_completed_total{{{CHOSEN}}}{RATE}))
  )""",
                "{{instance}} {{device}}",
            ),
            minimum=0,
            width=8,
        ),
        timeseries(
            "Disk throughput",
            "Bytes a second, read and written.",
            "Bps",
            Query(
                f"max by (instance, device) (rate(cloudpulse_node_disk_read_bytes_total{{{CHOSEN}}}{RATE}))",
                "{{instance}} {{device}} read",
            ),
            Query(
                f"max by (instance, device) (rate(cloudpulse_node_disk_written_bytes_total{{{CHOSEN}}}{RATE}))",
                "{{instance}} {{device}} written",
            ),
            minimum=0,
            width=8,
        ),
    ],
)
FILESYSTEMS = Row(
    "Filesystems",
    [
        table(
            "Which filesystem fills up, and when",
            "Forecast: when the median of the forecast node_filesystem crosses its threshold, if there is one. At this "
            "pace: a straight line through the last 6 hours; empty where nothing fills.",
            Query(FILESYSTEM_USED),
            Query(INODES_USED),
            Query(AVAILABLE),
            Query(FULL_IN),
            Query(AT_THIS_PACE),
            columns=[
                Column("instance", "Host"),
                Column("mountpoint", "Mounted at"),
                Column(VALUES[0], "Used", "percentunit", SHARES),
                Column(VALUES[1], "Inodes used", "percentunit", SHARES),
                Column(VALUES[2], "Available", "bytes"),
                Column(VALUES[3], "Full in: forecast", "dtdurations", SOON),
                Column(VALUES[4], "Full in: at this pace", "dtdurations", SOON),
            ],
            sort="Used",
            descending=True,
            now=True,
        ),
        timeseries(
            "Filesystem utilisation",
            "Share that non-root users can't write to.",
            "percentunit",
            Query(FILESYSTEM_USED, "{{instance}} {{mountpoint}}"),
            minimum=0,
            maximum=1,
            limit=0.9,
        ),
    ],
)
NETWORK = Row(
    "Network",
    [
        timeseries(
            "Network throughput",
            "Bytes a second, all interfaces but the loopback.",
            "Bps",
            *(
                Query(
                    f"sum by (instance) (rate(cloudpulse_node_network_{way}_bytes_total{{{OUTSIDE}}}{RATE}))",
                    f"{{{{instance}}}} {verb}",
                )
                for way, verb in (("receive", "received"), ("transmit", "sent"))
            ),
            minimum=0,
        ),
        timeseries(
            "Network saturation and errors",
            "Packets a second that were dropped for want of room, or broken, both ways.",
            "pps",
            *(
                Query(
                    f"sum by (instance) (rate(cloudpulse_node_network_{way}_{fault}_total{{{CHOSEN}}}{RATE}))",
                    f"{{{{instance}}}} {fault}, {verb}",
                )
                for fault in ("drops", "errors")
                for way, verb in (("receive", "received"), ("transmit", "sent"))
            ),
            minimum=0,
        ),
    ],
)
PRESSURE = Row(
    "Pressure: time lost to waiting",
    [
        _pressure("CPU", "a task had no CPU to run on", "waiting"),
        _pressure("Memory", "a task waited for memory to be freed or read back", "waiting", "stalled"),
        _pressure("I/O", "a task waited for a disk", "waiting", "stalled"),
    ],
)
TOP = Row(
    "Processes",
    [
        timeseries(
            "Who uses the CPUs",
            "CPUs in use by processes of the same name, the ten busiest at the moment of each point. Needs the "
            "exporter's --collector.top.",
            "none",
            Query(
                f"topk(10, max by (instance, name) (rate(cloudpulse_node_top_cpu_seconds_total{{{CHOSEN}}}{RATE})))",
                "{{instance}} {{name}}",
            ),
            minimum=0,
        ),
        timeseries(
            "Who has the memory",
            "Resident memory of processes of the same name, the ten largest; pages that they share count in each.",
            "bytes",
            Query(
                f"topk(10, max by (instance, name) (cloudpulse_node_top_memory_bytes{{{CHOSEN}}}))",
                "{{instance}} {{name}}",
            ),
            minimum=0,
        ),
    ],
)
SENSORS = Row(
    "Sensors",
    [
        timeseries(
            "Temperature, and what is critical",
            "By chip and sensor, of hosts that have some: virtual machines don't. Dashed: the limit, where the chip "
            "knows it.",
            "celsius",
            Query(
                f"max by (instance, chip, sensor) (cloudpulse_node_sensors_temperature_celsius{{{CHOSEN}}})",
                "{{instance}} {{chip}} {{sensor}}",
            ),
            Query(
                f"max by (instance, chip, sensor) (cloudpulse_node_sensors_temperature_critical_celsius{{{CHOSEN}}})",
                "{{instance}} {{chip}} {{sensor}} critical",
                AT_MOST,
            ),
        ),
        timeseries(
            "Fans",
            "Turns a minute. 0 is a fan that stands still, or isn't there.",
            "rotrpm",
            Query(
                f"max by (instance, chip, sensor) (cloudpulse_node_sensors_fan_rpm{{{CHOSEN}}})",
                "{{instance}} {{chip}} {{sensor}}",
            ),
            minimum=0,
        ),
    ],
)

BOARD = Board(
    name="nodes",
    title="CloudPulse / Nodes",
    description="The hosts of CloudPulse's exporter: utilisation, saturation and errors, and where they are heading.",
    variables=[
        label_values("job", "Job", "cloudpulse_node_info", "job", many=True),
        label_values("instance", "Host", 'cloudpulse_node_info{job=~"$job"}', "instance", many=True),
    ],
    span=("now-24h", "now+6h"),
    alerts='alertname=~".*(CPU|Memory|Filesystem|Inodes|Host|Exporter).*", instance=~"$instance"',
    rows=[Row(None, [HOSTS, BLIND]), CPU, MEMORY, DISKS, FILESYSTEMS, NETWORK, PRESSURE, TOP, SENSORS],
)
