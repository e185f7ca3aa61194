"""A Prometheus with a past: samples from before it was started."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from cloudpulse.errors import CloudPulseError
from cloudpulse.local import programs
from cloudpulse.local.stack import Part, Stack

START_SECONDS = 60.0


def write(promtool: str, lines: Iterable[str], data_dir: Path) -> None:
    """Write OpenMetrics `lines` with timestamps as blocks into the Prometheus data in `data_dir`, which exists.

    Raises CloudPulseError when promtool fails.
    """
    text = data_dir / "past.om"
    with text.open("w", encoding="utf-8") as file:
        file.writelines(lines)
    # Its own default, a block for every 2 h, reads the whole text once for each.
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=336h"]
    done = subprocess.run([*command, str(text), str(data_dir)], capture_output=True, text=True, check=False)  # noqa: S603  promtool, on a file of ours
    text.unlink()
    if done.returncode:
        raise CloudPulseError(f"the past was not written: {done.stderr.strip()[-300:]}")


@contextlib.contextmanager
def prometheus(lines: Iterable[str], folder: Path, settings: str = "global: {}\n") -> Iterator[str]:
    """The URL of a real Prometheus of its own, on a free loopback port, that has `lines` and scrapes nothing.

    `settings` is its config file.

    Raises CloudPulseError when it isn't installed or doesn't start.
    """
    found = programs.find()
    data_dir = folder / "prometheus"
    data_dir.mkdir(parents=True)
    write(found.promtool, lines, data_dir)
    config = folder / "prometheus.yml"
    config.write_text(settings, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    argv = [
        found.prometheus,
        f"--config.file={config}",
        f"--storage.tsdb.path={data_dir}",
        "--storage.tsdb.retention.time=1y",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    part = Part("prometheus", argv, f"{url}/-/ready", url)
    with Stack(folder / "logs", os.environ) as stack:
        stack.start(part)
        stack.wait_ready(part, START_SECONDS)
        yield url
