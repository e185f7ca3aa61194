"""The exporter beside Debian's node_exporter: every bar that it is held to, in one run.

    python -m benchmarks.exporter [SCRAPES]

What can be compared is measured in turns, so that both see the same machine. CPU is what the kernel accounts to the
process, not time. Scrapes that are to cost their full price are further apart than the exporter shares its readings.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import machine
from benchmarks.scraper import Scraper, together

ROOT = Path(__file__).parents[1]
NODE_EXPORTER = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")

APART_SECONDS = 0.12
"""More than `cloudpulse.shared.FRESH_SECONDS`: within that a scrape gets the readings of the one before."""
TURNS = 200
STARTS = 9
SCRAPERS, ROUNDS = 40, 50
LARGE_TURNS = 40
READER_TURNS = 50
READINGS = (
    *("cpu_seconds", "cpu_frequencies", "cpu_counts", "memory", "swap", "load", "boot_time", "networks", "disks"),
    *("mounts", "processes"),
)
"""What both read: the functions of `exporter.system.System`."""

CORE = ("cpu", "memory", "load", "network", "disk", "filesystem", "info", "clock")
SAME: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "core": (
        CORE,
        ("cpu", "meminfo", "loadavg", "netdev", "diskstats", "filesystem", "stat", "uname", "time"),
    ),
    "all that both have": (
        (*CORE, "swap", "processes", "pressure", "sensors"),
        (
            *("cpu", "cpufreq", "meminfo", "loadavg", "netdev", "netclass", "diskstats", "filesystem", "stat", "uname"),
            *("os", "time", "vmstat", "processes", "pressure", "hwmon", "powersupplyclass"),
        ),
    ),
}
"""The collectors of each program for the same families. node_exporter's netclass has `up` among 20 others of a device,
which is why the core does without, though the exporter's network has it."""

_NODE_EXPORTER_DEFAULTS = (  # Debian's own hide more
    "--collector.netdev.device-exclude=",
    r"--collector.diskstats.device-exclude=^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$",
    r"--collector.filesystem.mount-points-exclude=^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+)($|/)",
)


@dataclass(frozen=True)
class Program:
    """A running exporter."""

    process: psutil.Process
    port: int
    start: float
    """Seconds from the command to the first page."""

    @property
    def megabytes(self) -> float:
        """Resident."""
        return float(self.process.memory_info().rss / 2**20)


@dataclass(frozen=True)
class Times:
    """Of scrapes, rising seconds; and the CPU seconds of one."""

    all: Sequence[float]
    cpu: float

    def at(self, level: float) -> float:
        """Milliseconds at a quantile."""
        return self.all[min(int(level * len(self.all)), len(self.all) - 1)] * 1e3


def ours(*options: str) -> list[str]:
    """The command that runs the exporter."""
    return [sys.executable, "-m", "cloudpulse", "exporter", "--log-level", "error", *options]


def theirs(*options: str) -> list[str]:
    """The command that runs node_exporter, without the metrics about itself."""
    assert NODE_EXPORTER is not None
    return [NODE_EXPORTER, "--web.disable-exporter-metrics", "--log.level=error", *_NODE_EXPORTER_DEFAULTS, *options]


def only(collectors: Sequence[str]) -> list[str]:
    """Options that both understand."""
    return ["--collector.disable-defaults", *(f"--collector.{name}" for name in collectors)]


@contextlib.contextmanager
def running(command: Sequence[str]) -> Iterator[Program]:
    """The command on a free port, from its first page on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, f"--web.listen-address=127.0.0.1:{port}"], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                Scraper(port).scrape()
                break
            except ConnectionRefusedError:
                if process.poll() is not None:
                    raise SystemExit(f"{command[0]} ended with {process.returncode}") from None
                time.sleep(0.002)
        yield Program(psutil.Process(process.pid), port, time.perf_counter() - began)
    finally:
        process.terminate()
        process.wait(15)


def in_turns(programs: Sequence[Program], turns: int) -> list[Times]:
    """Scrape each once a turn, at the turns' own pace."""
    scrapers = [Scraper(program.port) for program in programs]
    for scraper in scrapers:
        scraper.scrape()
    before = [machine.cpu_seconds(program.process) for program in programs]
    seconds: list[list[float]] = [[] for _ in programs]
    for _ in range(turns):
        for kept, scraper in zip(seconds, scrapers, strict=True):
            kept.append(scraper.scrape()[0])
        time.sleep(APART_SECONDS)
    used = [machine.cpu_seconds(program.process) - b for program, b in zip(programs, before, strict=True)]
    return [Times(sorted(kept), cpu / turns) for kept, cpu in zip(seconds, used, strict=True)]


def samples(program: Program) -> int:
    """How many a page has."""
    return sum(not line.startswith(b"#") for line in Scraper(program.port).scrape()[1].splitlines() if b" " in line)


def report(what: str, measured: float, bar: float, unit: str, detail: str = "") -> None:
    """A bar, and whether it holds."""
    verdict = "holds" if measured <= bar else "MISSED"
    print(f"{verdict:6}  {what:48} {measured:8.2f} {unit:5} bar {bar:g} {unit}  {detail}", flush=True)


def compare_cpu() -> None:
    """CPU of a scrape, and how soon an unloaded exporter answers."""
    for name, (our, their) in SAME.items():
        with running(ours(*only(our))) as one, running(theirs(*only(their))) as other:
            mine, node = in_turns([one, other], TURNS)
            detail = (
                f"{mine.cpu * 1e3:.2f} ms for {samples(one)} samples, "
                f"node_exporter {node.cpu * 1e3:.2f} ms for {samples(other)}"
            )
        report(f"CPU of a scrape, {name}", mine.cpu / node.cpu, 0.6, "of it", detail)
    with running(ours()) as one, running(theirs()) as other:
        mine, node = in_turns([one, other], TURNS)
    detail = (
        f"p50 {mine.at(0.5):.1f} ms, node_exporter p50 {node.at(0.5):.1f}, p99 {node.at(0.99):.1f} ms (its defaults)"
    )
    report("p99 of a scrape, unloaded", mine.at(0.99), 10, "ms", detail)


def crowded() -> None:
    """Many scrapers at once, each with a kept connection of its own."""
    results = []
    for command in (ours(), theirs()):
        with running(command) as program:
            scrapers = [Scraper(program.port) for _ in range(SCRAPERS)]
            together(scrapers)
            before = machine.cpu_seconds(program.process)
            seconds = []
            for _ in range(ROUNDS):
                seconds += together(scrapers)
                time.sleep(APART_SECONDS)
            cpu = machine.cpu_seconds(program.process) - before
            results.append(Times(sorted(seconds), cpu / len(seconds)))
            if len(results) == 1:
                rss = program.megabytes
    mine, node = results
    detail = (
        f"p50 {mine.at(0.5):.1f} ms, {mine.cpu * 1e3:.2f} ms of CPU each, {rss:.1f} MiB; "
        f"node_exporter p50 {node.at(0.5):.1f}, p99 {node.at(0.99):.1f} ms, {node.cpu * 1e3:.2f} ms of CPU"
    )
    report(f"p99 of a scrape, {SCRAPERS} at once", mine.at(0.99), 50, "ms", detail)


def memory(scrapes: int) -> None:
    """After many scrapes, as fast as they are answered."""
    early = scrapes // 10
    with running(theirs()) as other:
        scraper = Scraper(other.port)
        for _ in range(early):
            scraper.scrape()
        detail = f"node_exporter after {early}: {other.megabytes:.1f} MiB"
    with running(ours()) as one:
        scraper = Scraper(one.port)
        for _ in range(early):
            scraper.scrape()
        then = one.megabytes
        for _ in range(scrapes - early):
            scraper.scrape()
        rss, grown = one.megabytes, one.megabytes - then
    report(f"RSS after {scrapes} scrapes", rss, 30, "MiB", detail)
    report(f"RSS grown since {early} scrapes", grown, 0.5, "MiB")


def start() -> None:
    """From the command to the first page."""
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    cpu = []
    for _ in range(STARTS):
        for name, command in (("ours", ours()), ("theirs", theirs())):
            with running(command) as program:
                seconds[name].append(program.start * 1e3)
                if name == "ours":
                    cpu.append(machine.cpu_seconds(program.process) * 1e3)
    mine, node = (sorted(kept)[STARTS // 2] for kept in seconds.values())
    detail = f"best {min(seconds['ours']):.0f}, CPU {sorted(cpu)[STARTS // 2]:.0f} ms; node_exporter {node:.0f} ms"
    report(f"start, median of {STARTS}", mine, 300, "ms", detail)


def readers() -> None:
    """CPU of one reading of this host by our own code and by psutil: why Linux is read without it."""
    if not sys.platform.startswith("linux"):
        return
    from exporter.elsewhere import elsewhere
    from exporter.linux import linux
    from exporter.paths import Paths

    systems = {"ours": linux(Paths()), "psutil": elsewhere(Paths())}
    used: dict[str, dict[str, float]] = {name: dict.fromkeys(READINGS, 0.0) for name in systems}
    for _ in range(READER_TURNS):
        time.sleep(APART_SECONDS)
        for name, system in systems.items():
            for reading in READINGS:
                began = time.thread_time()
                getattr(system, reading)()
                used[name][reading] += time.thread_time() - began
    ours_, theirs_ = ({key: cpu / READER_TURNS * 1e6 for key, cpu in used[name].items()} for name in systems)
    detail = ", ".join(f"{key} {ours_[key]:.0f}/{theirs_[key]:.0f}" for key in READINGS) + " µs, ours/psutil"
    report("CPU of reading the host beside psutil's", sum(ours_.values()) / sum(theirs_.values()), 0.5, "of it", detail)


def large() -> None:
    """A host of 100 disks, 200 network devices and 5,000 processes, as a tree of files."""
    # By name, since tests are no package that type checkers may follow from here.
    hosts = importlib.import_module("tests.exporter.hosts")
    with tempfile.TemporaryDirectory() as place:
        paths = hosts.write(Path(place), hosts.large())
        options = [f"--path.{name}={getattr(paths, name)}" for name in ("procfs", "sysfs", "rootfs")]
        our, their = SAME["all that both have"]
        with running([*ours(*only(our)), *options]) as one:
            (mine,) = in_turns([one], LARGE_TURNS)
            detail = f"p50 {mine.at(0.5):.1f} ms, {mine.cpu * 1e3:.1f} ms of CPU, {samples(one)} samples, "
            detail += f"{one.megabytes:.1f} MiB"
        # Its collector of processes reads every thread, which the tree doesn't have.
        with running([*theirs(*only([name for name in their if name != "processes"])), *options]) as other:
            (node,) = in_turns([other], LARGE_TURNS)
            detail += f"; node_exporter without processes {node.cpu * 1e3:.1f} ms of CPU, {samples(other)} samples"
    report("100 disks, 200 interfaces, 5,000 processes, p99", mine.at(0.99), 100, "ms", detail)


def main(scrapes: int) -> None:
    """Print every bar."""
    print(machine.facts())
    if NODE_EXPORTER is None:
        raise SystemExit("node_exporter is not on PATH: apt-get install prometheus-node-exporter")
    start()
    readers()
    compare_cpu()
    crowded()
    large()
    memory(scrapes)
    print(machine.load())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
