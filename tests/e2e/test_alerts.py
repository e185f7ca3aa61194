"""An alert's whole way: a rule fires in a real Prometheus, a real Alertmanager tells the bridge, people hear of it.

They see the picture and the outlook, take it with the message's link, and hear how it ends. Only the services of other
people are stood in for; each is strict about what it is sent.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from alert_bridge.notifiers.webhook import SIGNATURE, signature
from alert_bridge.testing import BridgeProcess, Receiver, free_port
from alert_bridge.testing_alertmanager import PROGRAM, Alertmanager
from cloudpulse.local import past, programs
from cloudpulse.testing import serving
from tests.alert_bridge.post_office import PostOffice
from tests.alert_bridge.services import PagerDuty, Service, Slack
from tests.alert_bridge.test_grafana import TOKEN, FakeGrafana
from tests.e2e.conftest import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

USUAL, LIMIT, SURGE, CALM = 500.0, 600.0, 700.0, 480.0
LEVELS = {"0.1": -40.0, "0.5": 0.0, "0.9": 40.0}
HORIZONS = ("0s", "15m", "1h", "24h")
HOURS, STEP = 27, 60
EXTERNAL = "https://bridge.example.org"
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass
class Shop:
    """The target that is scraped: what `web` and `api` have now, and their forecasts."""

    web: float = USUAL
    api: float = USUAL

    def series(self, at: float) -> Iterator[tuple[str, dict[str, str], float]]:
        """As they are at `at`; 20 minutes ago nobody expected more than the usual, for the next hours either."""
        for app, value in (("web", self.web), ("api", self.api)):
            own = {"app": app, "instance": f"{app}:9100", "job": "shop"}
            yield "shop_requests", own, value
            told = {"forecast": "demand", **own}
            for horizon, (level, off) in itertools.product(HORIZONS, LEVELS.items()):
                yield "cloudpulse_forecast_value", {**told, "horizon": horizon, "level": level}, USUAL + off
            yield "cloudpulse_forecast_timestamp_seconds", told, at - 20
            for horizon in HORIZONS[1:]:
                yield "cloudpulse_forecast_mase", {**told, "horizon": horizon}, 0.62
                for level, share in (("0.1", 0.11), ("0.9", 0.9)):
                    yield "cloudpulse_forecast_coverage_ratio", {**told, "horizon": horizon, "level": level}, share

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        lines = [f"{_written(name, labels)} {value}\n" for name, labels, value in self.series(time.time())]
        start_response("200 OK", [("Content-Type", "text/plain; version=0.0.4")])
        return ["".join(lines).encode()]

    def past(self, until: float) -> Iterator[str]:
        """OpenMetrics lines of the last hours."""
        families: dict[str, list[str]] = {}
        for at in range(int(until) - HOURS * 3600, int(until), STEP):
            for name, labels, value in self.series(at):
                families.setdefault(name, []).append(f"{_written(name, labels)} {value} {at}\n")
        for name, lines in families.items():
            yield f"# TYPE {name} gauge\n"
            yield from lines
        yield "# EOF\n"


def _written(name: str, labels: dict[str, str]) -> str:
    return f"{name}{{{','.join(f'{key}={json.dumps(value)}' for key, value in labels.items())}}}"


@contextlib.contextmanager
def prometheus(shop: Shop, shop_url: str, alertmanager_url: str, port: int, folder: Path) -> Iterator[str]:
    """With the shop's past, scraping it each second, and a rule about it."""
    found = programs.find()
    (folder / "tsdb").mkdir(parents=True)
    past.write(found.promtool, shop.past(time.time() - STEP), folder / "tsdb")
    rule = {
        "alert": "TooManyRequests",
        "expr": f"shop_requests > {LIMIT:g}",
        "labels": {"severity": "critical"},
        "annotations": {
            "summary": "{{ $labels.app }} has {{ $value }} requests a second",
            "description": "More than the shop can serve: customers wait.",
            "runbook_url": "https://runbooks.example.org/too-many-requests",
        },
    }
    (folder / "rules.yml").write_text(json.dumps({"groups": [{"name": "shop", "interval": "1s", "rules": [rule]}]}))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [urlsplit(alertmanager_url).netloc]}]}]},
        "scrape_configs": [
            {
                "job_name": "shop",
                "honor_labels": True,
                "static_configs": [{"targets": [urlsplit(shop_url).netloc]}],
            }
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    url = f"http://127.0.0.1:{port}"
    argv = [
        found.prometheus,
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/tsdb",
        f"--web.listen-address={urlsplit(url).netloc}",
        "--rules.alert.resend-delay=1s",
        "--storage.tsdb.retention.time=1y",
        "--log.level=warn",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(argv, stderr=log) as process:
        try:
            until(lambda: _answers(f"{url}/-/ready"), 30, "Prometheus is ready")
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.ConnectionError:
        return False


@dataclass
class World:
    """All of it, running."""

    shop: Shop
    bridge: BridgeProcess
    alertmanager: Alertmanager
    slack: Slack
    pagerduty: PagerDuty
    grafana: FakeGrafana
    hook: Receiver
    office: PostOffice

    @property
    def root(self) -> dict[str, Any]:
        """The incident's message in Slack."""
        return next(iter(self.slack.messages.values()))

    def mails(self) -> list[EmailMessage]:
        return [mail for _, mail in self.office.mails]

    def actions(self) -> list[str]:
        return [request.json["event_action"] for request in self.pagerduty.requests]

    def open(self, link: str, **form: object) -> requests.Response:
        """Post the form behind a link of a message, which leads to the bridge from outside."""
        return requests.post(self.bridge.url + link.removeprefix(EXTERNAL), data=form, timeout=10)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    if PROGRAM is None:
        pytest.skip("needs Alertmanager on PATH")
    shop, slack, pagerduty, grafana, hook = Shop(), Slack(), PagerDuty(), FakeGrafana(), Receiver()
    services: list[Service] = [slack, pagerduty, grafana]
    with contextlib.ExitStack() as stack:
        shop_url, hook_url = stack.enter_context(serving(shop)), stack.enter_context(serving(hook))
        for service in services:
            service.url = stack.enter_context(serving(service))
        office = stack.enter_context(PostOffice())
        prometheus_port, alertmanager_port = free_port(), free_port()
        receivers: list[dict[str, object]] = [
            {
                "name": "chat",
                "type": "slack",
                "token": "bearer-token",
                "channel": "#alerts",
                "api_url": f"{slack.url}/api",
            },
            {"name": "page", "type": "pagerduty", "routing_key": "header-token", "url": f"{pagerduty.url}/v2/enqueue"},
            {
                "name": "mail",
                "type": "email",
                "host": "127.0.0.1",
                "port": office.port,
                "security": "none",
                "from": "CloudPulse <bridge@example.org>",
                "to": ["ann@example.org"],
            },
            {"name": "hook", "type": "webhook", "url": hook_url, "hmac_secret": "a secret", "picture": True},
        ]
        lines = {
            "external_url": EXTERNAL,
            "alertmanager": {"url": f"http://127.0.0.1:{alertmanager_port}", "ack_for": "1h"},
            "receivers": receivers,
            "routes": [{"receivers": [one["name"] for one in receivers]}],
            "grafana": {"url": grafana.url, "token": TOKEN, "predictions": False},
        }
        section = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in lines.items())
        section += f"prometheus: {{url: 'http://127.0.0.1:{prometheus_port}'}}\n"
        bridge = BridgeProcess(tmp_path / "bridge", section)
        stack.callback(bridge.kill)
        alertmanager = stack.enter_context(Alertmanager(tmp_path / "am", bridge.url, port=alertmanager_port))
        stack.enter_context(prometheus(shop, shop_url, alertmanager.url, prometheus_port, tmp_path / "prometheus"))
        yield World(shop, bridge, alertmanager, slack, pagerduty, grafana, hook, office)
    assert [service.wrong for service in services] == [[], [], []]
    assert "Traceback" not in bridge.log


def test_people_hear_of_an_alert_take_it_and_hear_how_it_ends(world: World) -> None:
    _fires(world)
    _grows(world)
    _is_given_back(world, _is_taken(world))
    _ends(world)


def _fires(world: World) -> None:
    world.shop.web = SURGE
    until(lambda: world.slack.uploads, 30, "a picture in Slack")
    title, text = world.root["text"], _text(world.root)
    assert title.startswith("[FIRING critical] TooManyRequests")
    assert "app=web" in title
    assert "now 700" in text
    assert "Expected now: 460–540. It is 700, above that." in text
    assert "Expected back under 600 in" in text
    (upload,) = world.slack.uploads.values()
    assert upload["content"].startswith(PNG)
    assert upload["thread"] is world.root

    until(lambda: world.mails(), 20, "a mail")
    (mail,) = world.mails()
    page = mail.get_body(("html",))
    assert page is not None
    assert "Expected now: 460–540." in page.get_content()
    (picture,) = [part for part in mail.walk() if part.get_content_type() == "image/png"]
    assert picture.get_content().startswith(PNG)

    until(lambda: world.hook.taken, 20, "a webhook")
    (post,) = world.hook.taken
    seconds = int(post["headers"][SIGNATURE.upper()].split(",")[0].removeprefix("t="))
    assert post["headers"][SIGNATURE.upper()] == signature(b"a secret", post["raw"], seconds)
    assert post["body"]["insight"]["values"] == {post["body"]["alerts"][0]["fingerprint"]: SURGE}

    until(lambda: world.actions() == ["trigger"], 20, "PagerDuty's incident")
    until(lambda: len(world.grafana.drawn) == 1, 20, "an annotation")


def _grows(world: World) -> None:
    world.shop.api = SURGE
    until(
        lambda: world.root["text"].startswith("[FIRING 2 critical]"), 30, "the message in Slack is brought up to date"
    )
    until(lambda: len(world.slack.messages) == 2, 20, "the thread is told")
    answer = list(world.slack.messages.values())[1]
    assert world.slack.messages[answer["thread_ts"]] is world.root
    until(lambda: len(world.mails()) == 2, 20, "another mail")
    first, second = world.mails()
    assert second["References"] == first["Message-ID"]
    until(lambda: len(world.grafana.drawn) == 2, 20, "another annotation")


def _is_taken(world: World) -> list[str]:
    """Returns the links that undo it."""
    link = _link(_text(world.root), "Take it")
    page = requests.get(world.bridge.url + link.removeprefix(EXTERNAL), timeout=10)
    assert "Take these alerts?" in page.text
    fingerprints = [alert["fingerprint"] for alert in world.hook.taken[-1]["body"]["alerts"]]
    assert len(fingerprints) == 2
    done = world.open(link, alert=fingerprints, by="Ann", comment="on it", duration="1h")
    assert done.status_code == 200
    silences = requests.get(f"{world.alertmanager.url}/api/v2/silences", timeout=10).json()
    assert [(one["status"]["state"], one["createdBy"]) for one in silences] == [("active", "Ann")] * 2
    until(lambda: "acknowledge" in world.actions(), 20, "PagerDuty knows that someone has it")
    until(lambda: world.root["text"].startswith("[TAKEN by Ann]"), 20, "Slack knows, too")
    links = [_link(_text(one), "Undo") for one in world.slack.messages.values() if "|Undo>" in _text(one)]
    return list(dict.fromkeys(links))


def _is_given_back(world: World, links: list[str]) -> None:
    """Alertmanager says nothing of what is silenced, not even that it ends."""
    assert len(links) == 2
    for link in links:
        assert world.open(link, by="Ann").status_code == 200
    until(lambda: world.root["text"].startswith("[FIRING"), 20, "everyone knows that it is nobody's")


def _ends(world: World) -> None:
    world.shop.web = world.shop.api = CALM
    until(lambda: world.root["text"].startswith("[RESOLVED]"), 40, "the message in Slack says that it is over")
    text = _text(world.root)
    assert "now 480" in text
    assert "was: " in text
    until(lambda: world.actions()[-1] == "resolve", 20, "PagerDuty's incident is closed")
    until(lambda: all(one.get("timeEnd") for one in world.grafana.drawn.values()), 20, "regions in Grafana")
    until(lambda: str(world.mails()[-1]["Subject"]).startswith("[RESOLVED]"), 20, "a mail that says so")
    assert {request.json["dedup_key"] for request in world.pagerduty.requests} == {
        world.pagerduty.requests[0].json["dedup_key"]
    }


def _text(message: dict[str, Any]) -> str:
    text: str = message["attachments"][0]["blocks"][0]["text"]["text"]
    return text


def _link(text: str, name: str) -> str:
    return next(part.partition("<")[2].partition("|")[0] for part in text.split(">") if part.endswith(f"|{name}"))
