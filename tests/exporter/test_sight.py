"""An exporter without root: what it says, and what it shows, as another user on a host that hides things."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.config import CollectorSwitches, ExporterSettings
from exporter.paths import Paths
from exporter.sight import unseen
from exporter.system import this_system
from tests.exporter import hosts

NOBODY = 65534

# Imports first: the interpreter itself may be somewhere that only root gets to.
AS_NOBODY = f"""
import encodings.ascii, encodings.idna, os, sys, cloudpulse.cli, exporter.__main__
from exporter.collectors import enabled
from exporter.config import ExporterSettings
for collector in enabled(ExporterSettings()).values():
    list(collector.collect())
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
cloudpulse.cli.main()
"""

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else"
)


@pytest.fixture
def open_host() -> Iterator[Paths]:
    """An imagined host in a folder that every user gets to."""
    root = Path(tempfile.mkdtemp(prefix="cloudpulse-sight-"))
    try:
        root.chmod(0o755)
        yield hosts.write(root, hosts.Host())
    finally:
        shutil.rmtree(root)


@contextlib.contextmanager
def _running(paths: Paths, *options: str) -> Iterator[tuple[str, str]]:
    """The exporter as nobody: its page, and what it said of its sight before it was stopped."""
    arguments = [f"--path.{key}={getattr(paths, key)}" for key in paths.__struct_fields__]
    process = subprocess.Popen(
        [sys.executable, "-c", AS_NOBODY, "exporter", "--web.listen-address=127.0.0.1:0", *arguments, *options],
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""},
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        url = said = ""
        for line in process.stderr:
            if found := re.search(r"url=(http://\S+)", line):
                url = found[1]
            elif f"uid={NOBODY}" in line:
                said = line
            if url and said:
                break
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            yield answer.read().decode(), said
    finally:
        process.kill()
        process.wait(10)
        process.stderr.close()


@needs_root
def test_without_root_it_says_what_is_hidden_and_shows_the_rest(open_host: Paths) -> None:
    for pid in (2, 3):  # as hidepid=1 does
        Path(open_host.proc(str(pid))).chmod(0o700)
    for place in ("mnt", "data"):  # /data is a mount point that may be asked; below /mnt nothing may
        Path(open_host.rootfs, place).chmod(0o700)
    with _running(open_host) as (page, said):
        assert "warning" in said
        assert "2 of 4 hide their state, CPU and memory" in said
        assert "no permission to ask" in said
        assert "/mnt/broken" in said
        assert 'cloudpulse_node_processes{state="unknown"} 2' in page
        assert 'cloudpulse_node_disk_reads_completed_total{device="vda"} 10' in page
        assert "cloudpulse_exporter_collector_success" in page
        assert not re.search(r"collector_success\S+ 0", page)


@needs_root
def test_without_root_it_says_so_when_nothing_is_hidden(open_host: Paths) -> None:
    with _running(open_host, "--no-collector.filesystem") as (_, said):
        assert "nothing that the collectors show is hidden from this user" in said
        assert "warning" not in said


def test_a_proc_without_the_processes_of_others_is_noticed(tmp_path: Path) -> None:
    """As hidepid=2 does: they aren't even listed."""
    paths = hosts.write(tmp_path, hosts.Host())
    shutil.rmtree(paths.proc("1"))
    settings = ExporterSettings(collectors=CollectorSwitches(filesystem=False))
    found = unseen(settings, this_system(paths))
    assert found == {"processes": "only 3 of them: /proc hides those of others (mounted with hidepid)"}


def test_what_a_collector_that_is_off_could_not_see_does_not_matter(tmp_path: Path) -> None:
    paths = hosts.write(tmp_path, hosts.Host())
    shutil.rmtree(paths.proc("1"))
    off = CollectorSwitches(processes=False, filesystem=False)
    assert unseen(ExporterSettings(collectors=off), this_system(paths)) == {}
