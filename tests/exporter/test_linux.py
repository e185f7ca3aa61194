"""What our own code reads of /proc and /sys: of imagined hosts beside psutil on the same trees, and of this host."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from exporter.elsewhere import elsewhere
from exporter.linux.cpu import Cpus, Stat
from exporter.linux.files import KeptFile
from exporter.paths import Paths
from exporter.processes import UNKNOWN, Process
from exporter.system import Mount, System, Values, this_system
from tests.exporter import hosts
from tests.exporter.conftest import FrozenHost

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's own files")

OLD_MEMINFO = "MemTotal: 1000 kB\nMemFree: 400 kB\nBuffers: 10 kB\nCached: 200 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"
"""From before Linux 3.14, which counts neither what is available nor what may be reclaimed."""


@pytest.fixture
def psutils(frozen_host: FrozenHost, monkeypatch: pytest.MonkeyPatch) -> System:
    """The imagined host as psutil reads it."""
    monkeypatch.setattr(psutil, "PROCFS_PATH", frozen_host.paths.procfs)
    return elsewhere(frozen_host.paths)


def _flat(values: Mapping[str, Values]) -> dict[tuple[str, str], float]:
    return {(name, field): value for name, fields in values.items() for field, value in fields.items()}


@pytest.mark.parametrize("family", ["cpu_seconds", "networks", "disks", "boot_time", "swap"])
def test_it_reads_what_psutil_reads(frozen_host: FrozenHost, psutils: System, family: str) -> None:
    ours = getattr(frozen_host.system, family)()
    assert ours
    assert ours == getattr(psutils, family)()


@pytest.mark.parametrize(
    "meminfo",
    [
        hosts.MEMINFO,
        hosts.MEMINFO.replace("5859375", "9812500"),  # more is available than there is, as in some containers
        hosts.MEMINFO.replace("97656", "0"),
    ],
)
def test_the_words_for_memory_mean_what_they_mean_to_psutil(
    frozen_host: FrozenHost, psutils: System, meminfo: str
) -> None:
    frozen_host.write("proc/meminfo", meminfo)
    ours, theirs = frozen_host.system.memory(), psutils.memory()
    assert len(ours) == 7
    assert ours == {field: theirs[field] for field in ours}


def test_memory_that_an_old_kernel_does_not_count_is_absent(frozen_host: FrozenHost) -> None:
    frozen_host.write("proc/meminfo", OLD_MEMINFO)
    assert frozen_host.system.memory().keys() == {"total", "free", "buffers", "cached"}
    assert frozen_host.system.memory()["cached"] == 200 * 1024


@pytest.mark.parametrize("vmstat", ["nr_free_pages 1\n", None])
def test_swap_traffic_that_the_kernel_does_not_count_is_absent(frozen_host: FrozenHost, vmstat: str | None) -> None:
    if vmstat is None:
        Path(frozen_host.paths.proc("vmstat")).unlink()
    else:
        frozen_host.write("proc/vmstat", vmstat)
    assert frozen_host.system.swap().keys() == {"total", "used", "free"}


def test_processes_are_read_as_by_psutil(frozen_host: FrozenHost, psutils: System) -> None:
    ours = frozen_host.system.processes()
    assert [process.state for process in ours] == ["running", "sleeping", "sleeping", "parked"]
    assert frozen_host.system.process_states() == {"running": 1, "sleeping": 2, "parked": 1}
    for process, reference in zip(ours, map(psutil.Process, range(1, 5)), strict=True):
        times = reference.cpu_times()
        assert process.comm == reference.name()
        assert process.state == reference.status()
        assert process.cpu_seconds == times.user + times.system
        assert process.started == reference.create_time()


def test_a_name_with_parentheses_and_odd_letters_ends_at_the_last_one(frozen_host: FrozenHost) -> None:
    path = Path(frozen_host.paths.proc("2/stat"))
    path.write_bytes(path.read_bytes().replace(b"worker", b"a\n) S (\xe9"))
    process = frozen_host.system.processes()[1]
    assert process.comm == "a\n) S (\ufffd) 2"
    assert process.state == "sleeping"
    assert frozen_host.system.process_states()["sleeping"] == 2
    assert process.cpu_seconds == 2.5
    assert process.rss_bytes == 200 * os.sysconf("SC_PAGE_SIZE")
    assert process.started == hosts.BOOT_TIME + 2


def test_a_process_that_ends_meanwhile_is_left_out(frozen_host: FrozenHost) -> None:
    Path(frozen_host.paths.proc("3/stat")).unlink()
    assert [process.pid for process in frozen_host.system.processes()] == [1, 2, 4]


def test_a_process_that_we_may_not_look_at_is_counted(frozen_host: FrozenHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """A /proc mounted with hidepid=1; root, as which tests may run, would be let in."""

    def refused(path: str, folder: int) -> bytes:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("exporter.linux.processes._read", refused)
    assert frozen_host.system.processes()[0] == Process(1, "", UNKNOWN, None, None, None)
    assert frozen_host.system.process_states() == {UNKNOWN: 4}


def test_cpus_keep_their_numbers_when_one_between_them_is_off(frozen_host: FrozenHost) -> None:
    frozen_host.write("proc/stat", f"cpu  1 1\ncpu0 100 0 0 5\ncpu7 200 0 0 6\nintr 1\nbtime {hosts.BOOT_TIME}\n")
    system = frozen_host.system
    assert {cpu: modes["user"] for cpu, modes in system.cpu_seconds().items()} == {"0": 1.0, "7": 2.0}
    assert system.cpu_counts() == {"logical": 2, "physical": 1}  # nothing in sysfs about the seventh
    assert system.cpu_frequencies().keys() == {"0"}


def test_a_cpu_that_comes_is_counted_and_its_frequency_shown(frozen_host: FrozenHost) -> None:
    both = Path(frozen_host.paths.proc("stat")).read_text()
    file = KeptFile(frozen_host.paths.proc("stat"))
    cpus = Cpus(frozen_host.paths, lambda: Stat.parsed(file.read()))
    one = "".join(line for line in both.splitlines(keepends=True) if not line.startswith("cpu1"))
    frozen_host.write("proc/stat", one)
    assert cpus.counts() == {"logical": 1, "physical": 1}
    assert cpus.frequencies() == {"0": 2_600_000_000}
    frozen_host.write("proc/stat", both)
    assert cpus.counts() == {"logical": 2, "physical": 1}
    assert cpus.frequencies() == {"0": 2_600_000_000, "1": 2_600_001_000}


@pytest.mark.parametrize(("flags", "later"), [("fpu aperfmperf", 3e9), ("fpu hypervisor", 2e9)])
def test_cpuinfo_is_read_once_where_its_frequency_is_that_at_boot(tmp_path: Path, flags: str, later: float) -> None:
    paths = hosts.write(tmp_path, hosts.Host(cpus=0))
    Path(paths.proc("stat")).write_text("cpu  1 1\ncpu0 1 1 1 1\nintr 1\nbtime 5\n")
    cpuinfo, entry = Path(paths.proc("cpuinfo")), "processor\t: 0\nflags\t\t: {}\ncpu MHz\t\t: {}\n\n"
    system = this_system(paths)
    assert system.cpu_frequencies() == {}
    cpuinfo.write_text(entry.format(flags, 2000))
    assert system.cpu_frequencies() == {"0": 2e9}
    cpuinfo.write_text(entry.format(flags, 3000))
    assert system.cpu_frequencies() == {"0": later}


def test_without_cpufreq_the_frequency_is_that_of_cpuinfo(tmp_path: Path) -> None:
    paths = hosts.write(tmp_path, hosts.Host(cpus=0))
    Path(paths.proc("stat")).write_text("cpu  1 1\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 1\nbtime 5\n")
    system = this_system(paths)
    assert system.cpu_frequencies() == {}
    entry = "processor\t: {}\nmodel name\t: a processor\t: 7 GHz\ncpu MHz\t\t: 2400.5\nbogomips\t: 1\n\n"
    Path(paths.proc("cpuinfo")).write_text(entry.format(0) + entry.format(1))
    assert system.cpu_frequencies() == {"0": 2_400_500_000.0, "1": 2_400_500_000.0}


@pytest.mark.parametrize(
    ("state", "flags", "up"),
    [
        ("up", "0x1003", True),
        ("unknown", "0x9", True),
        ("unknown", "0x8", False),
        ("down", "0x1003", False),
        ("dormant", "0x1003", False),
    ],
)
def test_a_device_is_up_when_it_is_on_and_nothing_says_that_it_is_not(
    frozen_host: FrozenHost, state: str, flags: str, up: bool
) -> None:
    frozen_host.write("sys/class/net/lo/operstate", f"{state}\n")
    frozen_host.write("sys/class/net/lo/flags", f"{flags}\n")
    assert frozen_host.system.networks_up(["lo", "gone"]) == {"lo": up}


def test_the_first_process_sees_the_hosts_mounts(frozen_host: FrozenHost) -> None:
    system = frozen_host.system
    rootfs = frozen_host.paths.rootfs
    assert system.mounts()[3] == Mount("/dev/vdc", '/mnt/odd "name" \\ here', "xfs", f'{rootfs}/mnt/odd "name" \\ here')
    assert system.mounts() is system.mounts()
    frozen_host.write("proc/1/mounts", "tmpfs /run/a\\011b tmpfs rw 0 0\n")
    assert system.mounts() == [Mount("tmpfs", "/run/a\tb", "tmpfs", f"{rootfs}/run/a\tb")]


def test_mounts_seen_from_a_container_are_shown_as_on_the_host(frozen_host: FrozenHost) -> None:
    """Where /proc/1 is hidden, our own view has the host's mounts under the root's folder, and others beside them."""
    rootfs, proc = frozen_host.paths.rootfs, Path(frozen_host.paths.procfs)
    (proc / "1/mounts").unlink()
    (proc / "self").mkdir()
    (proc / "self/mounts").write_text(
        f"overlay / overlay rw 0 0\n/dev/vda1 /etc/hosts ext4 rw 0 0\n/dev/vda1 {rootfs} ext4 ro 0 0\n"
        f"/dev/vdb {rootfs}/data ext4 ro 0 0\n/dev/vdc {rootfs}data ext4 ro 0 0\n"
    )
    found = frozen_host.system.mounts()
    assert [(mount.device, mount.mount_point, mount.reached) for mount in found] == [
        ("/dev/vda1", "/", rootfs),
        ("/dev/vdb", "/data", f"{rootfs}/data"),
    ]


@pytest.mark.parametrize("family", ["cpu_seconds", "networks", "disks"])
def test_on_this_host_counters_lie_between_two_readings_of_psutil(family: str) -> None:
    ours, psutils = this_system(Paths()), elsewhere(Paths())
    before, now, after = (_flat(getattr(system, family)()) for system in (psutils, ours, psutils))
    assert now
    assert before.keys() == now.keys() == after.keys()
    outside = {key for key in now if not before[key] <= now[key] <= after[key]}
    assert {key for key in outside if key[1] not in ("idle", "iowait")} == set()  # those may fall: proc(5)


@pytest.mark.parametrize("family", ["cpu_counts", "boot_time", "mounts"])
def test_on_this_host_it_finds_what_psutil_finds(family: str) -> None:
    assert getattr(this_system(Paths()), family)() == getattr(elsewhere(Paths()), family)()


def test_on_this_host_the_same_devices_are_up_as_for_psutil() -> None:
    system = this_system(Paths())
    assert system.networks_up(system.networks()) == elsewhere(Paths()).networks_up(system.networks())


def test_a_kept_file_is_read_anew_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "file"
    kept = KeptFile(str(path))
    for text in (b"short", b"x" * 200_000, b""):
        path.write_bytes(text)
        assert kept.read() == text


def test_a_file_that_is_not_there_is_named_and_found_when_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    kept = KeptFile(str(path))
    assert kept.read_if_there() == b""
    with pytest.raises(FileNotFoundError, match=str(path)):
        kept.read()
    path.write_bytes(b"now")
    assert kept.read() == b"now"


def test_a_device_that_comes_back_under_its_name_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a device that is gone the kernel keeps the open file, and refuses to read it."""
    path = tmp_path / "operstate"
    path.write_bytes(b"up\n")
    kept = KeptFile(str(path))
    kept.read()
    path.unlink()
    path.write_bytes(b"down\n")
    real, gone = os.pread, []

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        if not gone:
            gone.append(descriptor)
            raise OSError(19, "No such device")
        return real(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", pread)
    assert kept.read() == b"down\n"


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    system = this_system(hosts.write(tmp_path, hosts.Host()))

    def opened() -> set[str]:
        targets = (os.path.realpath(link) for link in Path("/proc/self/fd").iterdir())
        return {Path(target).name for target in targets if target.startswith(str(tmp_path))}

    system.networks_up(system.networks())
    system.memory()
    assert opened() == {"dev", "operstate", "flags", "meminfo"}
    system.networks_up([])
    assert opened() == {"dev", "meminfo"}
    del system
    assert opened() == set()
