"""Every panel of every dashboard has data: its expressions, with the variables filled in as Grafana would, are answered
by the running stack.

What only happens now and then is made to happen: an alert that one receiver gets and others don't, an anomaly, a
disk that fills, a service on Docker that is scaled. What not every host has comes from an imagined one.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from cloudpulse.local import past, programs
from cloudpulse.reloading import Reload
from cloudpulse.serving import Face
from cloudpulse.testing import serving
from exporter.app import Exporter, create_face
from exporter.config import CollectorSwitches, ExporterSettings
from grafana.expressions import Expression, expressions
from tests.e2e.conftest import Running, free_ports, started
from tests.e2e.others import Others, Swarm, shop_past
from tests.exporter import hosts
from tests.grafana.saved import DASHBOARDS
from tests.scaler.docker import engines

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1/namespaces/default/demand_ahead"
SECONDS = 120.0
PICKED = {"forecast": "shop", "horizon": "5s"}
"""Where one is to be picked: the forecast and the horizon whose predictions come true within seconds."""
PAST_SECONDS, INTERVAL = 120, 15
ROUND: dict[str, Any] = {"step": "5s", "every": "1s", "horizons": ["5s", "1h"], "models": ["seasonal_naive"]}
BY_HOST = "max by (instance) (cloudpulse_node_memory_{0}_bytes)"
BY_MOUNT = "max by (instance, device, mountpoint, fstype) (cloudpulse_node_filesystem_{0}_bytes{1})"
FORECASTS: dict[str, dict[str, Any]] = {
    "shop": {"query": "shop_requests", "history": "2d", "thresholds": [160], "train_every": "10s"},
    "node_memory": {"query": f"1 - {BY_HOST.format('available')} / {BY_HOST.format('total')}", "history": "1h"},
    "node_filesystem": {
        "query": f"1 - {BY_MOUNT.format('available', '')} / {BY_MOUNT.format('size', ' > 0')}",
        "history": "1h",
        "thresholds": [0.000001],  # crossed by whatever disk there is
    },
}


@dataclass
class Scene:
    """The stack, and the others that it watches."""

    running: Running
    others: Others

    def act(self, moment: int) -> None:
        """What goes on while somebody looks at the dashboards."""
        with contextlib.suppress(requests.RequestException):
            self.running.scaler(EXTERNAL)
        (self.running.data_dir / f"filling-{moment}").write_bytes(bytes(4_000_000))
        self.others.surge = bool(self.running.query('cloudpulse_forecast_mase{forecast="shop"}'))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    others, (port, machine) = Others(), free_ports(2)
    with (
        engines.answering(Swarm("web").answer) as engine,
        serving(others, f"127.0.0.1:{port}") as url,
        serving(_bare_metal(tmp_path_factory.mktemp("machine")), f"127.0.0.1:{machine}"),
    ):

        def prepare(data_dir: Path, taken: dict[str, int]) -> None:
            config, prometheus = data_dir / "cloudpulse.yaml", data_dir / "prometheus.yml"
            config.write_text(yaml.safe_dump(_with_others(yaml.safe_load(config.read_text()), url, engine)))
            tree = yaml.safe_load(prometheus.read_text())
            tree["scrape_configs"] += [
                {"job_name": name, "static_configs": [{"targets": [f"localhost:{number}"]}]}
                for name, number in (("others", port), ("machine", machine))
            ]
            prometheus.write_text(yaml.safe_dump(tree))
            lines = shop_past(time.time(), f"localhost:{port}")
            past.write(programs.find().promtool, lines, data_dir / "demo" / "prometheus")

        with started(tmp_path_factory.mktemp("dashboards"), prepare) as running:
            yield Scene(running, others)


def _bare_metal(root: Path) -> Face:
    """An exporter on an imagined host that has what a virtual machine may lack: sensors, pressure stall information."""
    switches = CollectorSwitches(disable_defaults=True, info=True, pressure=True, sensors=True)
    settings = ExporterSettings(collectors=switches, paths=hosts.write(root, hosts.Host()))
    exporter = Exporter(lambda: settings)
    return create_face(exporter, Reload(exporter.apply, time.time), lifecycle=False)


def _with_others(tree: dict[str, Any], url: str, engine: str) -> dict[str, Any]:
    forecasts = {one["name"]: one for one in tree["forecaster"]["forecasts"]}
    forecasts["node_cpu"] |= {**ROUND, "history": "1h"}
    for name, own in FORECASTS.items():
        forecasts[name] = {"name": name, "levels": [0.1, 0.5, 0.9], "thresholds": [0.9], **ROUND, **own}
    tree["forecaster"]["forecasts"] = list(forecasts.values())
    bridge = tree["alert_bridge"]
    unwilling = ("closed", "busy")  # one notification is given up, another waits
    bridge["receivers"] += [{"name": name, "type": "webhook", "url": f"{url}/{name}"} for name in unwilling]
    bridge["routes"] = [{"receivers": ["pager", *unwilling]}]
    service = {"swarm": "web", "metric": "demand_ahead", "selector": "app=app09", "target": 100, "max": 20}
    tree["scaler"]["docker"] = {"host": f"unix://{engine}", "interval": "1s", "services": [service]}
    return tree


def test_every_expression_of_every_dashboard_has_data(scene: Scene) -> None:
    asked = [one for board in DASHBOARDS.values() for one in expressions(board)]
    missing = [one for one in asked if not _is_mark(one)]
    assert len(missing) > len(DASHBOARDS)
    deadline = time.monotonic() + SECONDS
    moment = 0
    while missing and time.monotonic() < deadline:
        scene.act(moment := moment + 1)
        chosen = {board["uid"]: choices(scene.running, board) for board in DASHBOARDS.values()}
        missing = [one for one in missing if not has_data(scene.running, one, chosen[one.board])]
        time.sleep(1)
    assert [f"{one.board} / {one.place}: {one.expr}" for one in missing] == []


def test_the_marks_of_alerts_are_what_prometheus_understands(scene: Scene) -> None:
    """None may fire, and then there is nothing to mark."""
    for board in DASHBOARDS.values():
        chosen = choices(scene.running, board)
        for mark in filter(_is_mark, expressions(board)):
            assert answer(scene.running, "query", query=mark.filled(chosen))["resultType"] == "vector"


def _is_mark(one: Expression) -> bool:
    return one.expr.startswith("ALERTS{") and one.place == "Alerts"


def choices(running: Running, board: Mapping[str, Any]) -> dict[str, str]:
    """A value for each variable, as Grafana takes them at first; "" where there is none to choose yet."""
    start, end = span(board)
    filled = {"__range": f"{end - start:.0f}s", "__interval": f"{INTERVAL}s", "__rate_interval": f"{4 * INTERVAL}s"}
    for variable in board["templating"]["list"]:
        if variable["type"] != "query":
            continue
        name = variable["name"]
        if variable.get("multi"):
            filled[name] = variable["allValue"]
            continue
        query, _, label = variable["query"]["query"].removeprefix("label_values(").removesuffix(")").rpartition(", ")
        selector = Expression(board["uid"], f"${name}", query).filled(filled)
        found = _label_values(running, label, selector)
        sort = variable["sort"]  # odd numbers rise, even ones fall; from 3 on they sort numbers
        ordered = sorted(found, key=float if sort in (3, 4) else str, reverse=sort in (2, 4))
        filled[name] = PICKED[name] if PICKED.get(name) in ordered else next(iter(ordered), "")
    return filled


def has_data(running: Running, one: Expression, chosen: Mapping[str, str]) -> bool:
    """Whether there is a number anywhere in the answer."""
    board = next(board for board in DASHBOARDS.values() if board["uid"] == one.board)
    start, end = span(board)
    if not all(chosen[name] for name in one.variables):
        return False
    query = one.filled(chosen)
    if one.place.startswith("$"):
        found = answer(running, "series", **{"match[]": query}, start=f"{start}")
        return bool(found)
    if one.instant:
        now = time.time() if one.now else end
        found = answer(running, "query", query=query, time=f"{now}")["result"]
        return any(not math.isnan(float(series["value"][1])) for series in found)
    found = answer(running, "query_range", query=query, start=f"{start}", end=f"{end}", step=f"{INTERVAL}")["result"]
    return any(not math.isnan(float(value)) for series in found for _, value in series["values"])


def span(board: Mapping[str, Any]) -> tuple[float, float]:
    """The board's range, of whose past only the minutes since the stack was started."""
    now = time.time()
    hours = {"now": 0, "now+6h": 6, "now+24h": 24}[board["time"]["to"]]
    return now - PAST_SECONDS, now + hours * 3600


def answer(running: Running, path: str, **params: str) -> Any:
    """The data of a successful answer of Prometheus' API."""
    reply = requests.get(running.url("prometheus", f"/api/v1/{path}"), params=params, timeout=30).json()
    assert reply["status"] == "success", f"{params}: {reply}"
    return reply["data"]


def _label_values(running: Running, label: str, selector: str) -> list[str]:
    found: list[str] = answer(running, f"label/{label}/values", **{"match[]": selector})
    return found
