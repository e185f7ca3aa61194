"""What every notifier promises, over the whole table. What one of them says in particular is tested beside this."""

import contextlib
import dataclasses
import io
import json
import random
import socket
import threading
import time
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from alert_bridge import notifiers, webhook
from alert_bridge.insight import Companion, Insight, Outlook
from alert_bridge.notifier import REFUSED, Ack, DeliveryFailed, Message, Notification, Summary, Surroundings
from alert_bridge.testing import webhook_body
from cloudpulse import logs
from cloudpulse.durations import Duration
from tests.alert_bridge.services import CASES, SECRETS, Service


def picture_of_noise(width: int, height: int) -> bytes:
    """A PNG that can't be made much smaller."""
    file = io.BytesIO()
    Image.frombytes("RGB", (width, height), random.Random(1).randbytes(3 * width * height)).save(file, "PNG")
    return file.getvalue()


OVER_HTTP = [case for case in CASES if case.over_http]
FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.json"))
PNG = picture_of_noise(130, 130)
ACK_URL = "https://bridge.example/ack?fingerprint=a&key=b"
GENERATOR_URL = "http://prometheus.example/graph?g0.expr=up+%3D%3D+0&g0.tab=1"
MARKUP = (
    "<!channel> <!here> <@U012AB3CD> @everyone @here <script>alert(1)</script> [x](javascript:alert(1)) "
    "[y](https://evil.example) <https://evil.example|z> <a href='https://evil.example'>z</a> ![i](https://evil.exam) "
    "`code` **b** {{ 7*7 }} {% raw %} &lt;!channel&gt; \\[w](https://evil.example)\n# heading\n> quote\n- item"
)


def notification(group, **more):
    return Notification(
        id=7,
        receiver="one",
        idempotency_key="key-of-this",
        attempt=1,
        stored_at=1.8e9,
        give_up_at=2e9,
        group=group,
        **more,
    )


def group_of(*alerts, **changes):
    return webhook.parse(webhook_body(*alerts, **changes))


def hostile():
    """A group that has markup wherever Alertmanager would let it through."""
    body = json.loads(webhook_body(("a", "firing"), ("b", "resolved"), labels={"text": MARKUP, "alertname": MARKUP}))
    for alert in body["alerts"]:
        alert["annotations"] = {
            "summary": MARKUP,
            "description": MARKUP,
            "runbook_url": "javascript://evil.example/%0aalert(1)",
        }
        alert["generatorURL"] = "https://user:pw@evil.example/"
    body["groupLabels"] = body["commonLabels"] = {"text": MARKUP, "severity": MARKUP, "alertname": MARKUP}
    body["commonAnnotations"] = body["alerts"][0]["annotations"]
    body["externalURL"] = "javascript://evil.example/%0aalert(2)"
    return webhook.parse(json.dumps(body).encode())


def odd_times():
    body = json.loads(webhook_body(("a", "firing"), ("b", "resolved")))
    body["alerts"][0]["startsAt"] = "0001-01-01T00:00:00Z"
    body["alerts"][1] |= {"startsAt": "1969-12-31T23:59:59Z", "endsAt": "9999-12-31T23:59:59Z"}
    return webhook.parse(json.dumps(body).encode())


def fixture_messages():
    for path in FIXTURES:
        yield path.stem, Message(notification(webhook.parse(json.dumps(json.loads(path.read_text())["body"]).encode())))


FIRING = group_of(("a", "firing"))
KNOWN = Insight(
    picture=PNG,
    outlooks=(Outlook("a", "Expected now: 0.2 to 0.4.", "Expected to recover in 30m.", "MASE 0.7."),),
    company=(Companion("web_rps", {"app": "a_b"}, 2.0, 0.9),),
    values={"a": 0.12, "b": float("inf")},
)
MESSAGES = {
    **dict(fixture_messages()),
    "known": Message(notification(FIRING), KNOWN, ACK_URL),
    "some resolved": Message(notification(group_of(("a", "firing"), ("b", "resolved")))),
    "resolved": Message(notification(group_of(("a", "resolved"))), KNOWN),
    "ack": Message(notification(FIRING, ack=Ack("anna", 1.8e9 + 3600, "on it", "https://bridge.example/undo"))),
    "ack of a part": Message(notification(FIRING, ack=Ack("anna", 1.8e9 + 3600, whole=False))),
    "ack with markup": Message(notification(FIRING, ack=Ack(MARKUP, 1.8e9, MARKUP, "javascript:alert(1)"))),
    "summary": Message(notification(group_of(("a", "firing"), ("b", "firing")), summary=Summary(37, 12))),
    "truncated": Message(notification(group_of(("a", "resolved"), truncatedAlerts=3))),
    "huge": Message(notification(group_of(*((f"pod-{i}", "firing") for i in range(5000)), labels={"x": "y" * 200}))),
    "long texts": Message(notification(group_of(labels={"alertname": "N" * 50_000, "text": "<&*_" * 50_000}))),
    "scripts": Message(notification(group_of(labels={"text": "数据库 ق🔥 \u202eabc\u2066 e\u0301 \ud7ff"}))),
    "controls": Message(notification(group_of(labels={"text": "\x1b[2J\u0000\r\n\u2028\u0085 x"}))),
    "nameless": Message(notification(group_of(labels={"alertname": ""}))),
    "odd times": Message(notification(odd_times(), ack=Ack("anna", 1e300))),
    "hostile": Message(notification(hostile())),
}


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return request.param


@pytest.fixture
def service(case, front):
    made = case.service()
    with made.serving(front) as made.url:
        yield made


@pytest.fixture
def notifier(case, service, tmp_path):
    return notifiers.build(case.settings(service.url, tmp_path))


over_http = pytest.mark.parametrize("case", OVER_HTTP, indirect=True, ids=str)


@pytest.mark.parametrize("name", MESSAGES)
def test_each_delivers_every_kind_of_message_as_its_service_documents(name, notifier, service: Service):
    notifier.send(MESSAGES[name])
    assert service.wrong == []


def test_each_remembers_an_incident_until_it_is_over(case, notifier, service):
    memory = notifier.send(Message(notification(FIRING)))
    assert bool(memory) == case.remembers
    assert msgspec.json.decode(msgspec.json.encode(memory), type=dict[str, str]) == memory
    told = [
        Message(notification(group_of(("a", "firing"), ("b", "firing")), memory=memory)),
        Message(notification(FIRING, memory=memory, ack=Ack("anna", 1.8e9))),
    ]
    assert [bool(notifier.send(message)) for message in told] == [case.remembers] * 2
    assert notifier.send(Message(notification(group_of(("a", "resolved")), memory=memory))) == {}
    assert service.wrong == []


def test_each_keeps_no_memory_of_a_summary(notifier, service):
    assert notifier.send(MESSAGES["summary"]) == {}


@over_http
@pytest.mark.parametrize(
    "status", [*sorted(REFUSED), 301, 302, 307, 308, 401, 403, 404, 408, 409, 425, 429, 500, 501, 503, 504]
)
def test_each_calls_the_same_statuses_retryable(status, notifier, service):
    service.fault = lambda request: (status, {"Location": f"{service.url}/elsewhere"})
    with pytest.raises(DeliveryFailed, match=str(status)) as caught:
        notifier.send(Message(notification(FIRING)))
    assert caught.value.retryable == (status not in REFUSED)
    assert len(service.requests) == 1, "a redirect was followed"


@over_http
def test_each_can_be_known_again_by_its_key(notifier, service):
    notifier.send(Message(notification(FIRING)))
    notifier.send(Message(dataclasses.replace(notification(FIRING), attempt=2)))
    one, other = service.requests
    assert service.key(one) == service.key(other)


@over_http
@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), ("Sun, 06 Nov 1994 08:49:37 GMT", 0), ("soon", None), ("-1", None), (None, None)],
)
def test_each_passes_on_when_the_receiver_wants_to_be_tried(header, seconds, notifier, service):
    service.fault = lambda request: (429, {} if header is None else {"Retry-After": header})
    with pytest.raises(DeliveryFailed) as caught:
        notifier.send(Message(notification(FIRING)))
    assert caught.value.retry_after_seconds == seconds


@over_http
def test_each_calls_an_unreachable_receiver_retryable(case, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings = case.settings(f"http://127.0.0.1:{free.getsockname()[1]}", tmp_path)
        with pytest.raises(DeliveryFailed, match="not reached: Connection refused") as caught:
            notifiers.build(settings).send(Message(notification(FIRING)))
    assert caught.value.retryable


@contextlib.contextmanager
def answering(answer):
    """A bare socket server: `answer(connection)` in a thread for each that connects."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def run():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, contextlib.suppress(OSError):
                        answer(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def silent(connection):
    connection.settimeout(5)
    while connection.recv(65536):
        pass


def dripping(connection):
    """A byte now and then keeps a read timeout from ever passing."""
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def reset(connection):
    connection.recv(10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def closed(connection):
    connection.recv(10)
    connection.sendall(b"HTTP/1.")


def cut_in_its_head(connection):
    """What a proxy that dies leaves of a 2xx: nobody knows whether the receiver has it."""
    connection.recv(10)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-")


def cut_behind_a_line_of_its_head(connection):
    connection.recv(10)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")


@over_http
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (silent, "timed out"),
        (dripping, "timed out"),
        (reset, "not reached"),
        (closed, "not reached"),
        (cut_in_its_head, "not reached"),
        (cut_behind_a_line_of_its_head, "not reached"),
    ],
)
def test_each_gives_a_broken_receiver_its_timeout_and_no_more(case, answer, reason, tmp_path):
    seconds = 0.2 if reason == "timed out" else 30  # a busy machine decides no test
    with answering(answer) as url:
        slow = msgspec.structs.replace(case.settings(url, tmp_path), timeout=Duration(seconds))
        with pytest.raises(DeliveryFailed, match=reason) as caught:
            notifiers.build(slow).send(Message(notification(FIRING)))
    assert caught.value.retryable


@over_http
@pytest.mark.parametrize("address", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "0.0.0.0"])
def test_each_refuses_link_local_addresses_before_it_connects(case, address, tmp_path, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("connected"))
    with pytest.raises(DeliveryFailed, match="refused unless alert_bridge"):
        notifiers.build(case.settings(f"http://{address}", tmp_path)).send(Message(notification(FIRING)))


@over_http
def test_each_connects_to_link_local_addresses_where_that_is_allowed(case, tmp_path, monkeypatch):
    def connect(self, address):
        raise ConnectionRefusedError(111, f"Connection refused by {address[0]}")

    monkeypatch.setattr(socket.socket, "connect", connect)
    allowed = notifiers.build(case.settings("http://169.254.169.254", tmp_path), Surroundings(allow_link_local=True))
    with pytest.raises(DeliveryFailed, match="Connection refused by 169"):
        allowed.send(Message(notification(FIRING)))


@pytest.mark.parametrize("fault", [None, 400, 500, "closed"])
def test_no_secret_is_in_any_error_or_log(case, fault, service, tmp_path, log_text):
    """The services of these tests write back what they were sent when they fail; that must not be shown either."""
    service.fault = lambda request: None if fault is None else (fault, {})
    with socket.socket() as held:  # bound and not listening: nobody else can take the port meanwhile
        held.bind(("127.0.0.1", 0))
        refusing = f"http://127.0.0.1:{held.getsockname()[1]}"
        settings = case.settings(refusing if fault == "closed" else service.url, tmp_path)
        notifier = notifiers.build(settings)
        shown = ""
        for message in (MESSAGES["known"], MESSAGES["hostile"]):
            try:
                notifier.send(message)
            except DeliveryFailed as error:
                logs.get("test").exception("failed")
                shown += f"{error} {error!r} {error.__cause__!r}"
    shown += log_text() + repr(settings) + repr(notifier)
    assert not [secret for secret in SECRETS if secret in shown]
    assert "you sent" not in shown


def test_the_text_of_alerts_is_never_markup_or_a_template(case, notifier, service):
    for name in ("hostile", "ack with markup"):
        notifier.send(MESSAGES[name])
    assert {found for text in service.shown() for found in service.active(text)} <= {"http://alertmanager.example:9093"}
    assert not any("49" in text for text in service.shown())
    assert all("7*7" in text.replace("\\", "").replace("∗", "*") for text in service.shown() if "{{" in text)
    assert case.name == "log" or any("{{" in text for text in service.shown())


@over_http
def test_each_links_to_where_it_can_be_taken(notifier, service):
    notifier.send(MESSAGES["known"])
    assert any(ACK_URL in text.replace("&amp;", "&") for text in service.shown())


def test_alert_texts_can_not_break_a_log_line(notifier, log_text):
    notifier.send(MESSAGES["controls"])
    text = log_text()
    assert "\x1b[2J" not in text
    assert all("notification" in line for line in text.splitlines() if "alertname" in line)
