"""The stream of real bridge processes: to the package `websockets`, to a browser, and through kills and stops."""

import contextlib
import json
import shutil
import signal
import subprocess
import threading
import time

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from alert_bridge.testing import eventually, webhook_body
from cloudpulse.testing import serving

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def stream(bridge, query=""):
    return f"{bridge.url.replace('http', 'ws', 1)}/api/v1/stream{query}"


def post(bridge, *alerts, **more):
    answer = requests.post(f"{bridge.url}/api/v1/alerts", data=webhook_body(*alerts, **more), timeout=10)
    answer.raise_for_status()


def test_an_alert_and_its_delivery_reach_a_client(start_bridge):
    bridge = start_bridge("")
    with connect(stream(bridge)) as client:
        assert json.loads(client.recv(10))["kind"] == "hello"
        post(bridge, ("a", "firing"))
        told, sent = (json.loads(client.recv(10)) for _ in range(2))
    assert (told["kind"], told["alerts"][0]["fingerprint"]) == ("alerts", "a")
    assert (sent["kind"], sent["receiver"], sent["incident"]) == ("delivered", "log", told["incident"])
    assert "cloudpulse_alert_bridge_streams " in requests.get(f"{bridge.url}/metrics", timeout=10).text


def test_through_kills_a_client_that_comes_back_with_its_last_id_hears_each_event_once(start_bridge):
    bridge, stop = start_bridge(""), threading.Event()
    accepted, heard, last = [], [], 0

    def write():
        number = 0
        while not stop.is_set():
            try:
                post(bridge, (str(number), "firing"), key=str(number))
                accepted.append(str(number))
            except requests.RequestException:
                time.sleep(0.05)
            number += 1

    def ends(told):
        return told["kind"] == "alerts" and told["alerts"][0]["fingerprint"] == "last"

    def listen(messages):
        nonlocal last
        try:
            with connect(stream(bridge, f"?after={last}"), open_timeout=10) as client:
                while messages > 0:
                    told = json.loads(client.recv(10))
                    assert told["kind"] != "reset"
                    last, messages = told["id"], messages - 1
                    if told["kind"] != "hello":
                        heard.append(told)
                    if ends(told):
                        return
        except (ConnectionClosed, OSError):
            pass

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(3):
        listen(50)
        listener = threading.Thread(target=listen, args=(10**9,))
        listener.start()
        time.sleep(0.5)
        bridge.kill()
        listener.join(15)
        bridge.start()
    stop.set()
    writer.join(15)
    post(bridge, ("last", "firing"), key="last")
    while not ends(heard[-1]):
        listen(10**9)
    ids = [one["id"] for one in heard]
    assert ids == list(range(1, len(ids) + 1)), "lost, twice or out of order"
    told = {one["alerts"][0]["fingerprint"] for one in heard if one["kind"] == "alerts"}
    assert set(accepted) <= told


def test_sigterm_tells_clients_and_ends_the_process_in_time(start_bridge):
    bridge = start_bridge("")
    with connect(stream(bridge)) as client:
        client.recv(10)
        began = time.monotonic()
        bridge.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(10)
        assert closed.value.rcvd.code == 1001
        assert bridge.process.wait(15) == 0
    assert time.monotonic() - began < 10
    assert "Traceback" not in bridge.log


def test_at_most_as_many_clients_as_the_config_says(start_bridge):
    bridge = start_bridge("  stream: {most: 1}\n")
    with connect(stream(bridge)):
        answer = requests.get(
            stream(bridge).replace("ws", "http", 1),
            headers={
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
            },
            timeout=10,
        )
    assert answer.status_code == 503


@contextlib.contextmanager
def browser(url, profile):
    """A real Chromium with the page open; yields what evaluates JavaScript in it."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    process = subprocess.Popen([CHROMIUM, *options, f"--user-data-dir={profile}", url], stderr=subprocess.DEVNULL)
    try:
        found = profile / "DevToolsActivePort"
        eventually(lambda: found.exists() and found.read_text().count("\n") >= 1, 60)
        port = found.read_text().splitlines()[0]

        def pages():
            listed = requests.get(f"http://127.0.0.1:{port}/json/list", timeout=10).json()
            return [page["webSocketDebuggerUrl"] for page in listed if page["url"] == url]

        eventually(lambda: bool(pages()), 60)
        with connect(pages()[0]) as client:

            def evaluate(code):
                asked = {"id": 1, "method": "Runtime.evaluate", "params": {"expression": code}}
                client.send(json.dumps(asked))
                return json.loads(client.recv(30))["result"]["result"].get("value")

            yield evaluate
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_shows_what_happens_and_takes_alerts_for_text(start_bridge, tmp_path):
    """The bridge's own page under its Content-Security-Policy: the browser's plain WebSocket, from the same origin."""
    bridge = start_bridge("")
    evil = "<img src=x onerror=\"document.title='owned'\">"
    post(bridge, ("a", "firing"), labels={"alertname": evil}, key="first")
    with browser(f"{bridge.url}/stream", tmp_path / "profile") as evaluate:
        rows = "[...document.querySelectorAll('#events tr')].map(row => row.innerText).join('\\n')"
        eventually(lambda: evil in (evaluate(rows) or ""), 30)  # from before the page was there
        post(bridge, ("b", "resolved"), key="second")
        eventually(lambda: "resolved\tTest" in evaluate(rows), 30)
        eventually(lambda: evaluate(rows).count("to log") == 2, 30)
        bridge.kill()
        eventually(lambda: "next try" in evaluate("document.getElementById('state').innerText"), 30)
        assert evaluate("document.querySelectorAll('img').length") == 0
        assert "owned" not in evaluate("document.title")


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_page_of_another_origin_hears_only_a_bridge_that_allows_it(start_bridge, tmp_path):
    """What a browser does about it, not only what the handshake says. (The bridge's own pages are let nowhere else.)"""

    def page(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/html"), ("Content-Security-Policy", "connect-src *")])
        return [b"up"]

    with serving(page) as url, browser(f"{url}/", tmp_path / "profile") as evaluate:
        wide = start_bridge(f"  stream: {{origins: ['{url}']}}\n")
        for bridge, heard in ((wide, "hello"), (start_bridge(""), "closed")):
            evaluate(f"""
                var told = "";
                var socket = new WebSocket("{stream(bridge)}");
                socket.onmessage = (message) => {{ told = JSON.parse(message.data).kind; }};
                socket.onclose = () => {{ told = "closed"; }};
            """)
            eventually(lambda: evaluate("told") != "", 30)
            assert evaluate("told") == heard
