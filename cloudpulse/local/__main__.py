"""`cloudpulse up`: start everything, show where it is and what it forecasts, stop everything."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from cloudpulse import logs, share
from cloudpulse.local import demo, layout, ports, programs
from cloudpulse.local.outlook import Outlook
from cloudpulse.local.stack import Part, Stack
from cloudpulse.serving import in_thread, stop_on_signals

READY_SECONDS = 60.0


@click.command("up")
@click.option("--demo", "with_demo", is_flag=True, help="Replay real demand: two weeks of history, and on from now.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), default=Path("data/local"), show_default=True
)
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Your forecasts instead of the example.")
@click.option(
    "--port", "port_options", multiple=True, metavar="NAME=PORT", help="Another port, such as exporter=19810."
)
def command(with_demo: bool, data_dir: Path, config_path: Path | None, port_options: tuple[str, ...]) -> None:
    """Run exporter, Prometheus, Alertmanager, forecaster, alert bridge and scaler; Ctrl-C stops all of it."""
    logs.configure("warning")
    console = Console(stderr=True)
    console.print("CloudPulse: starting the local stack")
    found = programs.find()
    taken = ports.chosen(port_options)
    if not with_demo:
        del taken["demo"]
    ports.check_free(taken)
    data_dir = data_dir.resolve()
    stop = threading.Event()
    stop_on_signals(stop)
    with ExitStack() as open_things:
        if with_demo:
            console.print("  writing 14 days of real demand into Prometheus")
            target = f"localhost:{taken['demo']}"
            replay = demo.prepare(data_dir / "demo", found, demo.load(), target, time.time())
            open_things.enter_context(in_thread(demo.face(replay, time.time), f"127.0.0.1:{taken['demo']}"))
        layout.write_files(config_path, taken, data_dir)
        parts = layout.parts(found, taken, data_dir, with_demo)
        stack = open_things.enter_context(Stack(data_dir / "logs", layout.environment()))
        for part in parts:
            stack.start(part)
        for part in parts:
            stack.wait_ready(part, READY_SECONDS)
            console.print(f"  {part.name} is up")
        console.print(_addresses(parts))
        console.print(f"Console: http://localhost:{taken['forecaster']}/console", highlight=False)
        console.print(f"Grafana dashboards, to import: {share.path('grafana', 'dashboards')}", highlight=False)
        outlook = Outlook(f"http://localhost:{taken['forecaster']}", console)
        console.print(f"Logs: {data_dir / 'logs'}. Ctrl-C stops everything. Forecasts come next.")
        while not stop.wait(1.0):
            stack.check()
            outlook.show_news()
        console.print("stopping")
    console.print("everything is stopped")


def _addresses(parts: list[Part]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("part")
    table.add_column("where")
    for part in parts:
        table.add_row(part.name, part.url)
    return table
