"""Our numbers beside those of a real node_exporter on this host, for every family that both have.

Both are scraped over HTTP, ours between two scrapes of node_exporter.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cloudpulse import names
from cloudpulse.names import Definition

PROGRAM = shutil.which("node_exporter") or shutil.which("prometheus-node-exporter")
pytestmark = pytest.mark.skipif(
    PROGRAM is None or not sys.platform.startswith("linux"), reason="node_exporter is not on PATH"
)

COLLECTORS = ("cpu", "meminfo", "netdev", "netclass", "diskstats", "filesystem", "loadavg", "stat", "time", "vmstat")
MORE = ("os", "processes", "uname")

# What node_exporter's authors chose. Debian's has defaults of its own, which hide `lo` and /mnt.
# https://github.com/prometheus/node_exporter/tree/v1.8.2/collector: diskstats_common.go, filesystem_linux.go
DEFAULTS = {
    "diskstats.device-exclude": r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$",
    "filesystem.mount-points-exclude": (
        r"^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)"
    ),
    "filesystem.fs-types-exclude": (
        "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs"
        "|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tracefs)$"
    ),
    "netdev.device-exclude": "",
}

START_SECONDS = PATIENCE_SECONDS = 20

Values = Mapping[frozenset[tuple[str, str]], float]
"""By labels."""


@dataclass(frozen=True)
class Page:
    families: Mapping[str, Values]

    def of(self, name: str | Definition) -> Values:
        return self.families.get(name if isinstance(name, str) else name.name, {})

    def sum(self, *terms: str) -> Values:
        """Terms such as `node_a` or `-node_b`, each label set's."""
        signed = [(self.of(term.removeprefix("-")), -1 if term.startswith("-") else 1) for term in terms]
        return {labels: sum(values[labels] * sign for values, sign in signed) for labels in signed[0][0]}

    def scaled(self, name: str, factor: float) -> Values:
        return {labels: value * factor for labels, value in self.of(name).items()}


@dataclass(frozen=True)
class Look:
    """A scrape of ours, and node_exporter's before and after it."""

    before: Page
    ours: Page
    after: Page

    def counters_outside(
        self, definition: Definition, theirs: Callable[[Page], Values], slack: float = 0.0
    ) -> list[str]:
        """Counters that don't lie between node_exporter's two; `slack` in their unit."""
        return self._outside(definition, theirs, lambda _: slack)

    def gauges_outside(
        self, definition: Definition, theirs: Callable[[Page], Values], whole: Callable[[Page], Values], share: float
    ) -> list[str]:
        """Gauges further off than a `share` of the `whole`; they move both ways between two readings."""
        wholes = whole(self.ours)
        return self._outside(definition, theirs, lambda labels: share * wholes[labels])

    def _outside(
        self,
        definition: Definition,
        theirs: Callable[[Page], Values],
        slack: Callable[[frozenset[tuple[str, str]]], float],
    ) -> list[str]:
        before, ours, after = theirs(self.before), self.ours.of(definition), theirs(self.after)
        assert before
        assert before.keys() == ours.keys() == after.keys()
        return [
            f"{definition.name}{sorted(labels)}: {value!r}, node_exporter {before[labels]!r} and {after[labels]!r}"
            for labels, value in ours.items()
            # A millionth of a millionth: both divide the kernel's integers, in another order.
            if not min(before[labels], after[labels]) * (1 - 1e-12) - slack(labels)
            <= value
            <= max(before[labels], after[labels]) * (1 + 1e-12) + slack(labels)
        ]


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Look]]:
    """Scrapes both."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        theirs = f"127.0.0.1:{free.getsockname()[1]}"
    assert PROGRAM is not None
    command = [
        *(PROGRAM, f"--web.listen-address={theirs}", "--web.disable-exporter-metrics", "--collector.disable-defaults"),
        *(f"--collector.{name}" for name in COLLECTORS + MORE),
        *(f"--collector.{name}={value}" for name, value in DEFAULTS.items()),
    ]
    ours = [sys.executable, "-m", "cloudpulse", "exporter", "--web.listen-address", "127.0.0.1:0"]
    place = tmp_path_factory.mktemp("exporters")
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""}
    with (
        subprocess.Popen(command, stderr=subprocess.DEVNULL) as node_exporter,
        subprocess.Popen(ours, cwd=place, env=environment, stderr=subprocess.PIPE, text=True) as exporter,
    ):
        try:
            assert exporter.stderr is not None
            found = re.search(r"url=(http://\S+)", exporter.stderr.readline())
            assert found
            _until_up(f"http://{theirs}/metrics")

            def both() -> Look:
                time.sleep(0.15)  # our readings may serve several scrapes within 0.1 s
                return Look(_page(f"http://{theirs}"), _page(found[1]), _page(f"http://{theirs}"))

            both()
            yield both
        finally:
            node_exporter.kill()
            exporter.kill()


@pytest.fixture(scope="module")
def once(look: Callable[[], Look]) -> Look:
    """One look for all that can't be apart by chance."""
    return look()


def _until_up(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except URLError:
            assert time.monotonic() < deadline, f"nothing answers at {url}"
            time.sleep(0.02)


def _page(url: str) -> Page:
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    families: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            families.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return Page(families)


def _until(look: Callable[[], Look], complaints: Callable[[Look], list[str]]) -> None:
    """What moves both ways may have moved between two readings, but not in every try."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while found := complaints(look()):
        assert time.monotonic() < deadline, "\n".join(found)


def test_cpu_seconds_agree_by_cpu_and_mode(once: Look) -> None:
    # Linux lets idle and iowait fall by up to seconds (proc(5)), and each exporter keeps the highest that it has seen.
    assert once.counters_outside(names.CPU_SECONDS, lambda page: page.of("node_cpu_seconds_total"), slack=0.5) == []


@pytest.mark.parametrize(
    ("definition", "theirs"),
    [
        (names.NETWORK_RECEIVE_BYTES, "node_network_receive_bytes_total"),
        (names.NETWORK_TRANSMIT_BYTES, "node_network_transmit_bytes_total"),
        (names.NETWORK_RECEIVE_PACKETS, "node_network_receive_packets_total"),
        (names.NETWORK_TRANSMIT_PACKETS, "node_network_transmit_packets_total"),
        (names.NETWORK_RECEIVE_ERRORS, "node_network_receive_errs_total"),
        (names.NETWORK_TRANSMIT_ERRORS, "node_network_transmit_errs_total"),
        (names.NETWORK_RECEIVE_DROPS, "node_network_receive_drop_total"),
        (names.NETWORK_TRANSMIT_DROPS, "node_network_transmit_drop_total"),
        (names.DISK_READ_BYTES, "node_disk_read_bytes_total"),
        (names.DISK_WRITTEN_BYTES, "node_disk_written_bytes_total"),
        (names.DISK_READS, "node_disk_reads_completed_total"),
        (names.DISK_WRITES, "node_disk_writes_completed_total"),
        (names.DISK_IO_TIME, "node_disk_io_time_seconds_total"),
        (names.BOOT_TIME, "node_boot_time_seconds"),
        (names.TIME, "node_time_seconds"),
        (names.MEMORY_TOTAL, "node_memory_MemTotal_bytes"),
        (names.SWAP_TOTAL, "node_memory_SwapTotal_bytes"),
        (names.LOAD1, "node_load1"),
        (names.LOAD5, "node_load5"),
        (names.LOAD15, "node_load15"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_same_devices_have_values_between_two_of_node_exporters(
    once: Look, definition: Definition, theirs: str
) -> None:
    assert once.counters_outside(definition, lambda page: page.of(theirs)) == []


@pytest.mark.parametrize(
    ("definition", "theirs"), [(names.SWAP_IN, "node_vmstat_pswpin"), (names.SWAP_OUT, "node_vmstat_pswpout")]
)
def test_swap_traffic_is_node_exporters_pages_as_bytes(once: Look, definition: Definition, theirs: str) -> None:
    page_bytes = float(subprocess.check_output(["getconf", "PAGESIZE"]))
    assert once.counters_outside(definition, lambda page: page.scaled(theirs, page_bytes)) == []


@pytest.mark.parametrize(
    ("definition", "theirs"),
    [
        (names.MEMORY_FREE, ["node_memory_MemFree_bytes"]),
        (names.MEMORY_AVAILABLE, ["node_memory_MemAvailable_bytes"]),
        (names.MEMORY_USED, ["node_memory_MemTotal_bytes", "-node_memory_MemAvailable_bytes"]),
        (names.MEMORY_BUFFERS, ["node_memory_Buffers_bytes"]),
        (names.MEMORY_CACHED, ["node_memory_Cached_bytes", "node_memory_SReclaimable_bytes"]),
        (names.MEMORY_SHARED, ["node_memory_Shmem_bytes"]),
        (names.SWAP_FREE, ["node_memory_SwapFree_bytes"]),
        (names.SWAP_USED, ["node_memory_SwapTotal_bytes", "-node_memory_SwapFree_bytes"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_memory_agrees_within_a_thousandth_of_all(
    look: Callable[[], Look], definition: Definition, theirs: list[str]
) -> None:
    """Programs take and give back memory at any moment: megabytes, but not at each of many."""
    _until(
        look,
        lambda now: now.gauges_outside(
            definition, lambda page: page.sum(*theirs), lambda page: page.of(names.MEMORY_TOTAL), 0.001
        ),
    )


@pytest.mark.parametrize(
    ("definition", "theirs"),
    [
        (names.FILESYSTEM_SIZE, ["node_filesystem_size_bytes"]),
        (names.FILESYSTEM_AVAILABLE, ["node_filesystem_avail_bytes"]),
        (names.FILESYSTEM_USED, ["node_filesystem_size_bytes", "-node_filesystem_free_bytes"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_filesystems_agree_within_a_thousandth_of_their_size(
    look: Callable[[], Look], definition: Definition, theirs: list[str]
) -> None:
    """Files are written and deleted at any moment. Those of size 0, which hold none, node_exporter shows, too."""

    def with_files(page: Page) -> Values:
        sizes = page.of("node_filesystem_size_bytes")
        return {labels: value for labels, value in page.sum(*theirs).items() if sizes[labels]}

    _until(
        look, lambda now: now.gauges_outside(definition, with_files, lambda page: page.of(names.FILESYSTEM_SIZE), 0.001)
    )


@pytest.mark.parametrize(
    ("definition", "theirs"),
    [
        (names.FILESYSTEM_FILES, "node_filesystem_files"),
        (names.FILESYSTEM_FILES_FREE, "node_filesystem_files_free"),
    ],
)
def test_inodes_agree_where_a_filesystem_counts_them(
    look: Callable[[], Look], definition: Definition, theirs: str
) -> None:
    """node_exporter shows a 0 of those that don't, ours nothing. Files are made and deleted at any moment."""

    def counted(page: Page) -> Values:
        return {labels: page.of(theirs)[labels] for labels, all_ in page.of("node_filesystem_files").items() if all_}

    _until(
        look, lambda now: now.gauges_outside(definition, counted, lambda page: page.of(names.FILESYSTEM_FILES), 0.001)
    )


def test_every_device_that_node_exporter_calls_up_is_up(once: Look) -> None:
    """Ours also counts those whose driver doesn't say, such as `lo`, as `ip link` and psutil do (IFF_RUNNING)."""
    ours, theirs = once.ours.of(names.NETWORK_UP), once.before.of("node_network_up")
    assert ours.keys() == theirs.keys()
    assert [labels for labels in theirs if theirs[labels] > ours[labels]] == []


def test_the_host_is_called_the_same(once: Look) -> None:
    (ours,), (uname,), (release,) = (
        [dict(labels) for labels in values]
        for values in (once.ours.of(names.NODE_INFO), once.before.of("node_uname_info"), once.before.of("node_os_info"))
    )
    assert (ours["hostname"], ours["os"], ours["kernel"], ours["machine"]) == (
        uname["nodename"],
        uname["sysname"],
        uname["release"],
        uname["machine"],
    )
    assert (ours["distribution"], ours["distribution_version"]) == (release["id"], release["version_id"])


STATES = {"R": "running", "S": "sleeping", "D": "disk-sleep", "T": "stopped", "Z": "zombie", "I": "idle"}


def test_processes_agree_by_state(look: Callable[[], Look]) -> None:
    """They come, go, wake and sleep at any moment: the sums within 3, the kernel's idle threads too."""

    def counts(page: Page) -> dict[str, float]:
        return {STATES.get(dict(labels)["state"], ""): n for labels, n in page.of("node_processes_state").items()}

    def complaints(now: Look) -> list[str]:
        ours = {dict(labels)["state"]: count for labels, count in now.ours.of(names.PROCESSES).items()}
        theirs = counts(now.before)
        apart = {state: ours[state] - theirs.get(state, 0.0) for state in STATES.values()}
        apart["all"] = sum(ours.values()) - sum(theirs.values())
        return [f"{state}: {difference:+g}" for state, difference in apart.items() if abs(difference) > 3]

    _until(look, complaints)
