"""The same directory, shown by us and by a real node_exporter."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest

from cloudpulse import exposition
from exporter.collectors.textfile import TextfileCollector
from exporter.config import TextfileSettings

PROGRAM = shutil.which("node_exporter") or shutil.which("prometheus-node-exporter")
START_SECONDS = 20

SHOWN = {
    "blank": "\n\n",
    "comma": 'NAME{a="1",} 1\n',
    "counter": "# TYPE NAME counter\nNAME 3\n# TYPE NAME_total counter\nNAME_total 4\n",
    "end": "NAME 1\n# EOF\n",
    "floats": 'NAME{a="1"} .5\nNAME{a="2"} 5.\nNAME{a="3"} +1.5e+3\nNAME{a="4"} Infinity\nNAME{a="5"} -Inf\n',
    "mixed": 'NAME{a="1"} 1\nNAMEb 1\nNAME{a="2"} 1\n',
    "nan": "NAME NaN\n",
    "nul": 'NAME{a="\0\x0b\u2028ü"} 1\n',
    "escapes": 'NAME{a="\\\\ \\" \\n"} 1\n',
    "spaces": '  NAME \t { a = "1" } \t 1\n',
    "summary": '# TYPE NAME summary\nNAME{quantile="0.5"} 1\nNAME_sum 2\nNAME_count 2\n',
    "histogram": '# TYPE NAME histogram\nNAME_bucket{le="1"} 1\nNAME_bucket{le="+Inf"} 2\nNAME_sum 2\nNAME_count 2\n',
    "upper": "# TYPE NAME GAUGE\n# HELP NAME <b>Jobs</b> \\\\ \\n\nNAME 1\n",
}
"""Files that both show, by what is odd in them."""

REFUSED = {
    "bom": "\ufeffNAME 1\n",
    "carriage": "NAME 1\r\n",
    "escape": 'NAME{a="\\x"} 1\n',
    "escape_in_help": "# HELP NAME \\x\nNAME 1\n",
    "exemplar": '# TYPE NAME counter\nNAME_total 1 # {trace="x"} 1\n',
    "half": "NAME 1",
    "hex": "NAME 0x10\n",
    "huge": "NAME 1e999\n",
    "le": '# TYPE NAME histogram\nNAME_bucket{le="wide"} 1\n',
    "openmetrics": "# TYPE NAME unknown\nNAME 1\n",
    "signed_nan": "NAME +nan\n",
    "timestamp": "NAME 1 1395066363000\n",
    "twice": "# TYPE NAME gauge\n# TYPE NAME gauge\nNAME 1\n",
    "underscore": "NAME 1_0\n",
}
"""Files that neither shows. One of the same series twice is not among them: it costs node_exporter the whole page."""


@pytest.mark.skipif(PROGRAM is None, reason="node_exporter is not on PATH")
def test_a_directory_is_shown_and_refused_as_node_exporter_does(tmp_path: Path) -> None:
    for name, text in (SHOWN | REFUSED).items():
        (tmp_path / f"{name}.prom").write_bytes(text.replace("NAME", f"t_{name}").encode())
    theirs = _theirs(tmp_path)
    ours = exposition.encode(TextfileCollector(TextfileSettings(directories=(str(tmp_path),))).collect()).decode()
    assert _files(ours) == _files(theirs) == set(SHOWN)
    assert _values(ours) == _values(theirs)
    assert "scrape_error 1" in ours
    assert "scrape_error 1" in theirs


def _theirs(directory: Path) -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    assert PROGRAM is not None
    options = ("--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={directory}")
    command = [PROGRAM, f"--web.listen-address={address}", *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as node_exporter:
        try:
            return _answer(f"http://{address}/metrics")
        finally:
            node_exporter.kill()


def _answer(url: str) -> str:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except URLError:
            assert time.monotonic() < deadline, f"nothing answers at {url}"
            time.sleep(0.02)


def _files(page: str) -> set[str]:
    return set(re.findall(r'textfile_mtime_seconds{file="[^"]*/(\w+)\.prom"}', page))


def _values(page: str) -> dict[str, str]:
    """By series, as it is written: both sort labels."""
    lines = (line.rpartition(" ") for line in page.split("\n") if line.startswith("t_"))
    return {series: repr(float(value)) for series, _, value in lines}  # as text, NaN equals itself
