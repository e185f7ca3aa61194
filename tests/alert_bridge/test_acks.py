"""With a real Alertmanager: what an ack promises is a silence there."""

import re
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from html import unescape

import pytest
import requests

from alert_bridge.access import Denied
from alert_bridge.acks import AT_ONCE, Acks
from alert_bridge.alertmanager import AlertmanagerSettings
from alert_bridge.links import Links
from alert_bridge.notifier import Notification
from alert_bridge.notifiers.webhook import WebhookReceiver
from alert_bridge.testing import eventually, webhook_body
from alert_bridge.webhook import parse
from cloudpulse.config import Secret
from cloudpulse.durations import Duration
from cloudpulse.local import programs
from cloudpulse.testing import FakeClock, captured_logs, serving

NOWHERE = "http://127.0.0.1:1"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Process:
    """Alertmanager, alone or as a member of a cluster: `gossip` is its own port and that of a peer."""

    def __init__(self, folder, gossip=()):
        config = folder / "alertmanager.yml"
        config.write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        options = [f"--config.file={config}", f"--storage.path={folder / 'data'}", "--cluster.listen-address="]
        if gossip:
            options[-1] += f"127.0.0.1:{gossip[0]}"
            options += [f"--cluster.peer=127.0.0.1:{gossip[1]}", "--cluster.gossip-interval=50ms"]
        self.process = subprocess.Popen(
            [programs.find().alertmanager, *options, f"--web.listen-address=127.0.0.1:{port}"],
            stderr=subprocess.DEVNULL,
        )
        eventually(self._ready, 30)

    def _ready(self):
        try:
            return requests.get(f"{self.url}/-/ready", timeout=5).ok
        except requests.ConnectionError:
            return False

    def silences(self, fingerprint):
        found = requests.get(f"{self.url}/api/v2/silences", timeout=5).json()
        return [one for one in found if {"pod": fingerprint} in [{m["name"]: m["value"]} for m in one["matchers"]]]

    def active(self, fingerprint):
        return [one["id"] for one in self.silences(fingerprint) if one["status"]["state"] == "active"]


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory):
    one = Process(tmp_path_factory.mktemp("alertmanager"))
    yield one
    one.process.kill()
    one.process.wait(10)


@pytest.fixture
def told(receiver):
    """What the bridge tells, and the receiver that it is told to."""
    app, to = receiver
    return app, (WebhookReceiver(name="one", url=Secret(to)),)


def firing(url, *fingerprints, **changes):
    alerts = [(fingerprint, "firing") for fingerprint in fingerprints]
    assert requests.post(f"{url}/api/v1/alerts", data=webhook_body(*alerts, **changes), timeout=10).ok


def ack(url, fingerprint, **asked):
    return requests.post(f"{url}/api/v1/alerts/{fingerprint}/ack", json=asked, timeout=20)


def undo(url, fingerprint):
    return requests.delete(f"{url}/api/v1/alerts/{fingerprint}/ack", timeout=20)


def story(url, fingerprint):
    return requests.get(f"{url}/api/v1/alerts/{fingerprint}", timeout=10).json()


def test_an_ack_is_a_silence_of_exactly_this_alert_and_undo_ends_it(bridge, alertmanager, told):
    app, receivers = told
    url = bridge(alertmanager=AlertmanagerSettings(url=alertmanager.url), receivers=receivers)
    labels = {"path": 'C:\\"täglich"\n{x=~".*"}'}
    firing(url, "one", labels=labels)
    eventually(lambda: len(app.taken) == 1)
    with captured_logs() as lines:
        answer = ack(url, "one", comment="on it", by="Anna", duration="30m")
    assert answer.status_code == 200
    (silence,) = alertmanager.silences("one")
    assert answer.json()["silence"] == silence["id"]
    assert answer.json()["receivers"] == ["one"]
    assert {m["name"]: m["value"] for m in silence["matchers"]} == {"alertname": "Test", "pod": "one", **labels}
    assert {(m["isRegex"], m["isEqual"]) for m in silence["matchers"]} == {(False, True)}
    assert (silence["createdBy"], silence["comment"]) == ("Anna", "on it")
    assert silence["endsAt"][:19] == answer.json()["until"][:19]
    (line,) = [line for line in lines if line["event"] == "audit"]
    assert (line["action"], line["silence"], line["said"]["by"]) == ("ack", silence["id"], "Anna")
    eventually(lambda: len(app.taken) == 2)
    assert story(url, "one")["taken"]["by"] == "Anna"

    assert undo(url, "one").status_code == 200
    assert alertmanager.active("one") == []
    eventually(lambda: len(app.taken) == 3)
    after = story(url, "one")
    assert after["taken"] is None
    assert after["acks"][0]["undoneAt"] is not None
    assert [sent["ack"] for sent in after["notifications"]] == [False, True, False]
    assert undo(url, "one").status_code == 404


def test_an_ack_again_prolongs_the_silence_and_one_that_was_ended_there_is_made_anew(bridge, alertmanager, told):
    _, receivers = told
    url = bridge(alertmanager=AlertmanagerSettings(url=alertmanager.url), receivers=receivers)
    firing(url, "again")
    first = ack(url, "again", duration="10m").json()
    began = alertmanager.silences("again")[0]["startsAt"]
    eventually(lambda: time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) > began[:19])  # Alertmanager looks at seconds
    second = ack(url, "again", duration="3h").json()
    assert second["silence"] == first["silence"]
    assert alertmanager.active("again") == [first["silence"]]
    requests.delete(f"{alertmanager.url}/api/v2/silence/{first['silence']}", timeout=5)
    third = ack(url, "again").json()
    assert alertmanager.active("again") == [third["silence"]]
    assert story(url, "again")["taken"]["silence"] == third["silence"]
    requests.delete(f"{alertmanager.url}/api/v2/silence/{third['silence']}", timeout=5)
    assert undo(url, "again").status_code == 200, "that it has ended already is fine"


def test_a_double_click_makes_one_silence(bridge, alertmanager, told):
    _, receivers = told
    url = bridge(alertmanager=AlertmanagerSettings(url=alertmanager.url), receivers=receivers)
    firing(url, "double")
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: ack(url, "double"), range(3)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(alertmanager.silences("double")) == 1
    assert len(story(url, "double")["acks"]) == 1


def test_alertmanager_may_hang_and_the_webhook_goes_on(bridge, told):
    _, receivers = told
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        hanging = f"http://127.0.0.1:{silent.getsockname()[1]}"
        url = bridge(alertmanager=AlertmanagerSettings(url=hanging, timeout=Duration(1)), receivers=receivers)
        firing(url, "hanging")
        with ThreadPoolExecutor(12) as pool:
            answers = [pool.submit(ack, url, "hanging") for _ in range(12)]
            eventually(lambda: sum(answer.done() for answer in answers) >= 12 - AT_ONCE)
            firing(url, "meanwhile", key="other")
            texts = [answer.result().json()["error"] for answer in answers]
    assert sum("try again in a moment" in text for text in texts) >= 12 - AT_ONCE
    assert {"timed out" in text or "try again in a moment" in text for text in texts} == {True}


def test_of_several_alertmanagers_the_first_that_answers_is_taken(bridge, alertmanager, told):
    _, receivers = told
    url = bridge(alertmanager=AlertmanagerSettings(urls=(NOWHERE, alertmanager.url)), receivers=receivers)
    firing(url, "pair")
    assert ack(url, "pair").status_code == 200
    assert len(alertmanager.active("pair")) == 1
    assert undo(url, "pair").status_code == 200
    assert alertmanager.active("pair") == []


def test_an_ack_made_at_one_member_of_a_cluster_is_undone_at_the_other(bridge, told, tmp_path):
    _, receivers = told
    ports = [free_port(), free_port()]
    members = []
    try:
        for own, peer in (ports, ports[::-1]):
            place = tmp_path / str(own)
            place.mkdir()
            members.append(Process(place, (own, peer)))
        one, other = members
        url = bridge(alertmanager=AlertmanagerSettings(urls=(one.url, other.url)), receivers=receivers)
        firing(url, "both")
        silence = ack(url, "both").json()["silence"]
        eventually(lambda: other.active("both") == [silence], 30)
        one.process.kill()
        assert undo(url, "both").status_code == 200
        assert other.active("both") == []
    finally:
        for member in members:
            member.process.kill()
            member.process.wait(10)


def test_an_ack_whose_silence_is_ended_at_alertmanager_holds_no_longer(bridge, alertmanager, told, monkeypatch):
    app, receivers = told
    monkeypatch.setattr("alert_bridge.bridge.REVIEW_SECONDS", 0.1)
    url = bridge(alertmanager=AlertmanagerSettings(url=alertmanager.url), receivers=receivers)
    firing(url, "by-hand", "stays")
    eventually(lambda: len(app.taken) == 1)
    ack(url, "stays")
    silence = ack(url, "by-hand").json()["silence"]
    eventually(lambda: len(app.taken) == 3)
    requests.delete(f"{alertmanager.url}/api/v2/silence/{silence}", timeout=5)
    eventually(lambda: len(app.taken) == 4)
    assert story(url, "by-hand")["taken"] is None
    assert [sent["ack"] for sent in story(url, "by-hand")["notifications"]] == [False, True, False]
    assert story(url, "stays")["taken"] is not None
    assert undo(url, "by-hand").status_code == 404


def test_an_ack_holds_while_alertmanager_does_not_answer(bridge, told, tmp_path, monkeypatch):
    _, receivers = told
    reviews = []
    whole = Acks.review
    monkeypatch.setattr("alert_bridge.bridge.REVIEW_SECONDS", 0.1)
    monkeypatch.setattr(Acks, "review", lambda self: reviews.append(whole(self)))
    one = Process(tmp_path)
    url = bridge(alertmanager=AlertmanagerSettings(url=one.url), receivers=receivers)
    firing(url, "down")
    ack(url, "down")
    one.process.kill()
    one.process.wait(10)
    seen = len(reviews)
    eventually(lambda: len(reviews) > seen + 2)
    assert story(url, "down")["taken"] is not None


class Forgetful:
    """A member that does what it is asked and then doesn't answer in time."""

    def __init__(self, url):
        self.url = url
        self.slow = True

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        answer = requests.request(
            environ["REQUEST_METHOD"],
            self.url + environ["PATH_INFO"],
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=5,
        )
        if self.slow:
            time.sleep(1.5)
        start_response(f"{answer.status_code} Told", [("Content-Length", str(len(answer.content)))])
        return [answer.content]


@pytest.mark.parametrize("member", ["alone", "first of two"])
def test_a_silence_made_without_an_answer_does_not_stay(bridge, alertmanager, told, monkeypatch, member):
    _, receivers = told
    monkeypatch.setattr("alert_bridge.bridge.REVIEW_SECONDS", 0.1)
    fingerprint = f"doubt {member}"
    forgetful = Forgetful(alertmanager.url)
    with serving(forgetful) as there:
        urls = (there,) if member == "alone" else (there, alertmanager.url)
        url = bridge(alertmanager=AlertmanagerSettings(urls=urls, timeout=Duration(1)), receivers=receivers)
        firing(url, fingerprint, "hand made")
        answer = ack(url, fingerprint)
        kept = [answer.json()["silence"]] if answer.ok else []
        assert len(kept) == len(urls) - 1
        assert len(alertmanager.silences(fingerprint)) == len(urls), "the member that didn't answer made one, too"
        forgetful.slow = False
        eventually(lambda: alertmanager.active(fingerprint) == kept, 20)
        assert (story(url, fingerprint)["taken"] is not None) == bool(kept)


@pytest.mark.parametrize(
    ("settings", "hint"),
    [(None, "set alert_bridge.alertmanager.url"), (AlertmanagerSettings(url=NOWHERE), "not reached")],
    ids=["not configured", "down"],
)
def test_without_an_alertmanager_nothing_is_taken_and_nobody_told(bridge, told, settings, hint):
    app, receivers = told
    url = bridge(alertmanager=settings, receivers=receivers)
    firing(url, "none")
    eventually(lambda: len(app.taken) == 1)
    answer = ack(url, "none")
    assert answer.status_code == 503
    assert hint in answer.json()["error"]
    after = story(url, "none")
    assert (after["taken"], after["acks"], len(after["notifications"])) == (None, [], 1)


def test_a_silence_that_can_not_be_recorded_does_not_stay(bridge, alertmanager, told, tmp_path):
    _, receivers = told
    url = bridge(alertmanager=AlertmanagerSettings(url=alertmanager.url), receivers=receivers)
    firing(url, "full")
    shutil.rmtree(tmp_path / "data")
    assert ack(url, "full").status_code == 503
    (silence,) = alertmanager.silences("full")
    assert silence["status"]["state"] == "expired"


def test_what_can_not_be_taken_is_refused(bridge, alertmanager):
    url = bridge(alertmanager=AlertmanagerSettings(url=alertmanager.url, ack_at_most=Duration(7200)))
    requests.post(f"{url}/api/v1/alerts", data=webhook_body(("over", "resolved")), timeout=10)
    firing(url, "long", key="other")
    assert ack(url, "over").status_code == 409
    assert ack(url, "unknown").status_code == 404
    assert undo(url, "long").status_code == 404
    for asked in ({"duration": "3h"}, {"duration": "1s"}, {"duration": "x"}, {"duration": 3}, {"unknown": ""}):
        assert ack(url, "long", **asked).status_code == 400, asked
    form = requests.post(f"{url}/api/v1/alerts/long/ack", data={"duration": "1h"}, timeout=10)
    assert form.status_code == 415
    assert alertmanager.silences("long") == []


def test_a_link_shows_the_alert_and_only_its_button_takes_it(bridge, alertmanager, told, monkeypatch):
    _, receivers = told
    given = []
    monkeypatch.setattr(
        "alert_bridge.notifiers.webhook.WebhookNotifier.send", lambda self, message: given.append(message) or {}
    )
    url = bridge(
        alertmanager=AlertmanagerSettings(url=alertmanager.url),
        receivers=receivers,
        external_url="https://alerts.example/bridge/",
        max_body_bytes=4000,
    )
    evil = '"><script>alert(1)</script>{{ 7 * 7 }}'
    firing(url, "page", "other", labels={"x": evil})
    eventually(lambda: len(given) == 1)
    link = given[0].ack_url
    assert link.startswith("https://alerts.example/bridge/ack/1/")
    here = url + link.removeprefix("https://alerts.example/bridge")
    page = requests.get(here, timeout=10)
    assert page.status_code == 200
    assert evil in unescape(page.text)
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"
    assert requests.head(here, timeout=10).status_code == 200
    assert alertmanager.silences("page") == [], "chat services open links by themselves"

    with captured_logs() as lines:
        done = requests.post(here, data={"alert": ["page", "stranger"], "by": "Anna <b>", "duration": "1h"}, timeout=20)
    assert done.status_code == 200
    assert (len(alertmanager.active("page")), alertmanager.silences("other")) == (1, [])
    assert "taken by Anna <b> until" in unescape(done.text)
    signature = link.rpartition("/")[2]
    assert signature not in str(lines)
    for wrong, status in (({"alert": "page", "duration": "x"}, 400), ({"by": "x" * 5000}, 413)):
        refused = requests.post(here, data=wrong, timeout=10)
        assert (refused.status_code, refused.headers["Content-Type"][:9]) == (status, "text/html")
    again = re.findall(r'value="(page|other)"( checked)?', requests.get(here, timeout=10).text)
    assert again == [("page", ""), ("other", " checked")], "nobody takes from Anna what they only look at"
    eventually(lambda: len(given) == 2)
    assert given[1].notification.ack.by == "Anna <b>"

    (back,) = re.findall(r'href="https://alerts\.example/bridge(/undo/[^"]+)"', done.text)
    assert given[1].notification.ack.undo_url.endswith(back)
    asking = unescape(requests.get(url + back, timeout=10).text)
    assert evil in asking
    assert "taken by Anna <b>" in asking
    assert len(alertmanager.active("page")) == 1
    assert requests.post(url + back, timeout=20).status_code == 200
    assert alertmanager.active("page") == []
    eventually(lambda: len(given) == 3)
    assert given[2].notification.ack is None
    assert requests.post(url + back, timeout=20).status_code == 404


def test_a_link_that_is_not_ours_opens_nothing(bridge, alertmanager, told):
    _, receivers = told
    url = bridge(
        alertmanager=AlertmanagerSettings(url=alertmanager.url), receivers=receivers, external_url="http://x.example"
    )
    firing(url, "forged")
    for path in (
        "/ack/1/9999999999/" + "0" * 32,
        "/ack/1/-1/ü",
        "/ack/%2e/\u0663/x",
        "/undo/abc/9999999999/" + "0" * 32,
    ):
        for method in ("GET", "POST"):
            answer = requests.request(method, url + path, timeout=10)
            assert answer.status_code == 403
            assert "text/html" in answer.headers["Content-Type"]
    assert (
        'cloudpulse_alert_bridge_denied_total{reason="bad_link"} 8' in requests.get(f"{url}/metrics", timeout=10).text
    )
    assert alertmanager.silences("forged") == []


def notification(stored_at, *alerts, summary=None):
    return Notification(7, "one", "key", 1, stored_at, 0, parse(webhook_body(*alerts)), summary=summary)


def test_a_link_is_the_same_for_every_attempt_and_ends():
    clock = FakeClock()
    links = Links("https://x.example", "key", 3600, clock)
    told = notification(clock(), ("a", "firing"))
    link = links.ack(told)
    kind, subject, expires, signature = link.removeprefix("https://x.example/").split("/")
    clock.advance(3599)
    assert links.ack(told) == link
    links.check(kind, subject, expires, signature)
    for wrong in (("undo", subject, expires), (kind, "8", expires), (kind, subject, str(int(expires) + 1))):
        with pytest.raises(Denied, match="isn't whole"):
            links.check(*wrong, signature)
    with pytest.raises(Denied, match="isn't whole"):
        Links("https://x.example", "other key", 3600, clock).check(kind, subject, expires, signature)
    clock.advance(2)
    with pytest.raises(Denied, match="too old"):
        links.check(kind, subject, expires, signature)


def test_there_is_no_link_where_nothing_can_be_taken():
    links = Links("https://x.example", "key", 3600, FakeClock())
    assert links.ack(notification(0, ("a", "resolved"))) == ""
    assert Links(None, "key", 3600, FakeClock()).ack(notification(0, ("a", "firing"))) == ""
