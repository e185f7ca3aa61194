import hashlib
import json
import os
import signal
import threading

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from alert_bridge import webhook
from alert_bridge.bridge import Bridge
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.insight import NoInsights
from alert_bridge.notifiers.webhook import WebhookReceiver
from alert_bridge.testing import eventually, webhook_body
from cloudpulse.apikeys import ApiKey
from cloudpulse.config import Secret
from cloudpulse.durations import Duration
from cloudpulse.errors import ConfigError
from cloudpulse.testing import serving


class Reloadable:
    """A bridge whose config is `settings`, taken up by `reload`."""

    def __init__(self, data_dir, **settings):
        self.settings = AlertBridgeSettings(data_dir=data_dir, **settings)
        self.bridge = Bridge(self.settings, NoInsights(), reread=lambda: self.settings, lifecycle=True)
        self.bridge.start()

    def reload(self, data_dir, **settings):
        self.settings = AlertBridgeSettings(data_dir=data_dir, **settings)
        self.bridge.reload()


@pytest.fixture
def start(tmp_path):
    started = []

    def begin(**settings):
        one = Reloadable(tmp_path, **settings)
        server = serving(one.bridge.face)
        started.append((one, server))
        return one, server.__enter__()

    yield begin
    for one, server in started:
        server.__exit__(None, None, None)
        one.bridge.close()


def to(name, url, **more):
    return WebhookReceiver(name=name, url=Secret(f"{url}/{name}"), timeout=Duration(20), **more)


def post(url, *alerts, **changes):
    return requests.post(f"{url}/api/v1/alerts", data=webhook_body(*alerts, **changes), timeout=10)


def states(url):
    entries = requests.get(f"{url}/api/v1/notifications", timeout=10).json()["notifications"]
    return [(entry["receiver"], entry["state"], entry["attempts"]) for entry in entries]


def test_a_delivery_under_way_ends_as_it_began_while_new_ones_already_go_out(start, receiver, tmp_path):
    app, place = receiver
    hold, arrived = threading.Event(), threading.Event()

    def answer(post):
        if post["path"] == "/old":
            arrived.set()
            hold.wait(20)
        return 200, {}

    app.answer = answer
    one, url = start(receivers=(to("old", place),))
    post(url, ("a", "firing"))
    assert arrived.wait(10)
    one.reload(tmp_path, receivers=(to("new", place),))
    post(url, ("b", "firing"), key="other")
    eventually(lambda: [sent["path"] for sent in app.taken] == ["/new"])
    hold.set()
    eventually(lambda: sorted(states(url)) == [("new", "delivered", 1), ("old", "delivered", 1)])
    assert [sent["path"] for sent in app.taken] == ["/new", "/old"]


def test_what_waits_for_a_receiver_that_goes_is_the_fallbacks_in_its_order(start, receiver, tmp_path):
    app, place = receiver
    hold, arrived = threading.Event(), threading.Event()

    def answer(post):
        if post["path"] == "/old":
            arrived.set()
            hold.wait(20)
            return 503, {}
        return 200, {}

    app.answer = answer
    one, url = start(receivers=(to("old", place, concurrency=1),), retry_first=Duration(0.01))
    post(url, ("a", "firing"))
    assert arrived.wait(10)
    post(url, ("a", "resolved"))
    one.reload(tmp_path, receivers=(to("new", place),))
    assert app.taken == [], "the resolve stays behind the firing one that is on its way"
    hold.set()
    eventually(lambda: len(app.taken) == 2)
    assert [(sent["path"], sent["body"]["status"]) for sent in app.taken] == [("/new", "firing"), ("/new", "resolved")]


def test_routes_tokens_and_limits_are_those_of_the_new_config(start, receiver, tmp_path):
    app, place = receiver
    one, url = start(receivers=(to("old", place),))
    assert post(url, ("a", "firing")).status_code == 200
    one.reload(tmp_path, receivers=(to("old", place), to("new", place)), fallback=("new",), bearer_token=Secret("t"))
    assert post(url, ("b", "firing")).status_code == 401
    headers = {"Authorization": "Bearer t"}
    requests.post(f"{url}/api/v1/alerts", data=webhook_body(("b", "firing")), headers=headers, timeout=10)
    eventually(lambda: [sent["path"] for sent in app.taken] == ["/old", "/new"])
    told = 'cloudpulse_alert_bridge_notifications_total{receiver="new",result="delivered"} 1'
    eventually(lambda: told in requests.get(f"{url}/metrics", timeout=10).text)
    metrics = requests.get(f"{url}/metrics", timeout=10).text
    assert 'cloudpulse_alert_bridge_pending{receiver="new"} 0' in metrics
    assert "cloudpulse_config_last_reload_successful 1" in metrics


def test_a_config_that_can_not_be_used_leaves_the_one_before_in_force(start, receiver, tmp_path):
    app, place = receiver
    one, url = start(receivers=(to("old", place),))
    for settings in (
        {"data_dir": tmp_path / "elsewhere"},
        {"data_dir": tmp_path, "bearer_token_file": tmp_path / "missing"},
        {"data_dir": tmp_path, "receivers": (WebhookReceiver(name="x", url_file=tmp_path / "missing"),)},
    ):
        with pytest.raises(ConfigError, match=r"needs a restart|missing"):
            one.reload(**settings)
        assert requests.post(f"{url}/-/reload", timeout=10).status_code == 500
    assert "cloudpulse_config_last_reload_successful 0" in requests.get(f"{url}/metrics", timeout=10).text
    assert post(url, ("a", "firing")).status_code == 200
    eventually(lambda: [sent["path"] for sent in app.taken] == ["/old"])


def test_a_dead_letter_of_a_receiver_that_is_gone_is_sent_again_by_the_fallback(start, receiver, tmp_path):
    app, place = receiver
    app.answer = lambda post: (400 if post["path"] == "/old" else 200, {})
    one, url = start(receivers=(to("old", place),))
    post(url, ("a", "firing"))
    eventually(lambda: states(url) == [("old", "dead", 1)])
    one.reload(tmp_path, receivers=(to("new", place),))
    assert requests.post(f"{url}/api/v1/notifications/1/retry", timeout=10).status_code == 200
    eventually(lambda: states(url) == [("new", "delivered", 1)])


def test_reloads_under_load_lose_and_double_nothing(start, receiver, tmp_path):
    app, place = receiver
    one, url = start(receivers=(to("r0", place),))
    stop = threading.Event()

    def turn():
        count = 0
        while not stop.is_set():
            count += 1
            one.reload(tmp_path, receivers=(to(f"r{count % 3}", place),))

    turning = threading.Thread(target=turn)
    turning.start()
    try:
        for number in range(60):
            assert post(url, (f"f{number}", "firing"), key=str(number)).status_code == 200
    finally:
        stop.set()
        turning.join()
    eventually(lambda: len(app.taken) >= 60, 20)
    eventually(lambda: all(state == "delivered" for _, state, _ in states(url)))
    assert sorted(sent["body"]["alerts"][0]["fingerprint"] for sent in app.taken) == sorted(f"f{n}" for n in range(60))


def test_a_running_bridge_takes_up_its_file_at_sighup(start_bridge, receiver):
    app, place = receiver
    process = start_bridge("  receivers: [{name: old, type: log}]\n")
    config = process.data_dir.parent / "cloudpulse.yaml"
    config.write_text(
        f"alert_bridge:\n  data_dir: {process.data_dir}\n"
        f"  receivers: [{{name: new, type: webhook, url: {json.dumps(place + '/new')}}}]\n"
    )
    os.kill(process.process.pid, signal.SIGHUP)
    eventually(lambda: '"config reloaded"' in process.log)
    post(process.url, ("a", "firing"))
    eventually(lambda: [sent["path"] for sent in app.taken] == ["/new"])
    config.write_text("alert_bridge: {receivers: 3}\n")
    os.kill(process.process.pid, signal.SIGHUP)
    eventually(lambda: '"config not reloaded, the one before goes on"' in process.log)
    config.write_text("prometheus: {url: 'http://elsewhere.example:9090'}\n")
    os.kill(process.process.pid, signal.SIGHUP)
    eventually(lambda: "prometheus: needs a restart of the alert bridge to change" in process.log)
    assert post(process.url, ("b", "firing")).status_code == 200


def test_a_key_that_is_revoked_hears_no_more(start, tmp_path):
    def key(name):
        return ApiKey(name=name, sha256=hashlib.sha256(name.encode()).hexdigest())

    def listen(url, name):
        return connect(f"{url.replace('http', 'ws', 1)}/api/v1/stream", additional_headers={"X-API-Key": name})

    one, url = start(api_keys=(key("anna"), key("jo")))
    with listen(url, "anna") as anna, listen(url, "jo") as jo:
        assert [json.loads(client.recv(10))["kind"] for client in (anna, jo)] == ["hello", "hello"]
        one.reload(tmp_path, api_keys=(key("jo"),))
        with pytest.raises(ConnectionClosed) as closed:
            anna.recv(10)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason[:19]) == (1008, "expected an API key")
        one.bridge.outbox.store(webhook.parse(webhook_body(("a", "firing"))), {})
        assert json.loads(jo.recv(10))["kind"] == "alerts"
