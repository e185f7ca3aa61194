"""`cloudpulse up`: start everything, show where it is and what it forecasts, stop everything."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import yaml
from rich.console import Console
from rich.table import Table

from cloudpulse import config, logs, share
from cloudpulse.errors import ConfigError
from cloudpulse.local import demo, ports, programs
from cloudpulse.local.outlook import Outlook
from cloudpulse.local.stack import Part, Stack
from cloudpulse.serving import Server, WsgiApp, stop_on_signals

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
            open_things.enter_context(_served(demo.face(replay, time.time), taken["demo"]))
        parts = _parts(found, taken, data_dir, with_demo, _configured(config_path, taken, data_dir))
        stack = open_things.enter_context(Stack(data_dir / "logs", _environment()))
        for part in parts:
            stack.start(part)
        for part in parts:
            stack.wait_ready(part, READY_SECONDS)
            console.print(f"  {part.name} is up")
        console.print(_addresses(parts))
        outlook = Outlook(f"http://localhost:{taken['forecaster']}", console)
        console.print(f"Logs: {data_dir / 'logs'}. Ctrl-C stops everything. Forecasts come next.")
        while not stop.wait(1.0):
            stack.check()
            outlook.show_news()
        console.print("stopping")
    console.print("everything is stopped")


@contextmanager
def _served(app: WsgiApp, port: int) -> Iterator[None]:
    server, stop = Server(app, f"127.0.0.1:{port}", threads=4), threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,), name="demo", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def _configured(config_path: Path | None, taken: Mapping[str, int], data_dir: Path) -> Path:
    """The config for this stack: the user's or the example, with this stack's Prometheus and folders."""
    source = config_path or share.path("examples", "cloudpulse.yaml")
    config.read(source)  # an error there is named with its own path, before anything is started
    tree = yaml.safe_load(source.read_text(encoding="utf-8")) or {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{source}: expected sections such as `forecaster:`")
    tree.setdefault("prometheus", {})["url"] = f"http://localhost:{taken['prometheus']}"
    for section in ("forecaster", "alert_bridge", "scaler"):
        tree.setdefault(section, {})["data_dir"] = str(data_dir / section)
    made = data_dir / "cloudpulse.yaml"
    data_dir.mkdir(parents=True, exist_ok=True)
    made.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return made


def _parts(
    found: programs.Programs, taken: Mapping[str, int], data_dir: Path, with_demo: bool, config_file: Path
) -> list[Part]:
    """Every process. All listen on loopback only: a local stack is nobody else's."""
    storage = data_dir / ("demo" if with_demo else "") / "prometheus"
    prometheus = [
        found.prometheus,
        f"--config.file={_ported('prometheus.yml', taken, data_dir)}",
        f"--storage.tsdb.path={storage}",
        "--storage.tsdb.retention.time=30d",
        f"--web.listen-address=127.0.0.1:{taken['prometheus']}",
    ]
    alertmanager = [
        found.alertmanager,
        f"--config.file={_ported('alertmanager.yml', taken, data_dir)}",
        f"--storage.path={data_dir / 'alertmanager'}",
        f"--web.listen-address=127.0.0.1:{taken['alertmanager']}",
        "--cluster.listen-address=",
    ]
    return [
        _service("exporter", "http", taken, config_file),
        _part("prometheus", prometheus, "http", taken, "/-/ready"),
        _part("alertmanager", alertmanager, "http", taken, "/-/ready"),
        _service("alert-bridge", "http", taken, config_file),
        _service("forecaster", "http", taken, config_file),
        _service("scaler", "https", taken, config_file),
    ]


def _service(name: str, scheme: str, taken: Mapping[str, int], config_file: Path) -> Part:
    listen = f"127.0.0.1:{taken[name]}"
    argv = [sys.executable, "-m", "cloudpulse", name, "--config", str(config_file), "--web.listen-address", listen]
    return _part(name, argv, scheme, taken, "/-/healthy")


def _part(name: str, argv: list[str], scheme: str, taken: Mapping[str, int], ready: str) -> Part:
    url = f"{scheme}://localhost:{taken[name]}"
    return Part(name, argv, f"{url}{ready}", url)


def _ported(name: str, taken: Mapping[str, int], data_dir: Path) -> Path:
    """A file of `prometheus/`, with this stack's ports and the rules where they are."""
    text = share.path("prometheus", name).read_text(encoding="utf-8")
    for part, port in taken.items():
        text = text.replace(f"localhost:{ports.DEFAULTS[part]}", f"localhost:{port}")
    text = text.replace("rules/*.yml", str(share.path("prometheus", "rules", "*.yml")))
    made = data_dir / name
    made.write_text(text, encoding="utf-8")
    return made


def _environment() -> Mapping[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"}


def _addresses(parts: list[Part]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("part")
    table.add_column("where")
    for part in parts:
        table.add_row(part.name, part.url)
    return table
