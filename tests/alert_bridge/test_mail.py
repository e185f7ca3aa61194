"""E-mails: what they look like, who gets them and how often, and how they get there, through a real SMTP server."""

import contextlib
import dataclasses
import re
import socket
import threading
import time

import pytest

from alert_bridge import notifiers, webhook
from alert_bridge.insight import NOTHING, Insight, Outlook
from alert_bridge.notifier import Ack, DeliveryFailed, Message, Notification, Summary, Surroundings
from alert_bridge.notifiers.mail import EmailReceiver
from alert_bridge.testing import webhook_body
from cloudpulse import trace
from cloudpulse.config import ClientTls, Secret, parse
from cloudpulse.durations import Duration
from cloudpulse.errors import ConfigError
from tests.alert_bridge.post_office import authority

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def notification(*alerts, key="key-1", progress=None, memory=None, **changes):
    return Notification(
        id=7,
        receiver="one",
        idempotency_key=key,
        attempt=1,
        stored_at=1_700_000_000.4,
        give_up_at=1,
        group=webhook.parse(webhook_body(*alerts, **changes)),
        progress=progress or {},
        memory=memory or {},
    )


def settings(office, **changes):
    to = changes.pop("to", ("ann@example.org", "bob@example.org"))
    sender = changes.pop("from_", "CloudPulse <bridge@example.org>")
    security = changes.pop("security", "none")
    return EmailReceiver(
        name="one", host="127.0.0.1", port=office.port, security=security, from_=sender, to=to, **changes
    )


def send(made, told, insight=NOTHING, **surroundings):
    return notifiers.build(made, Surroundings(**surroundings)).send(Message(told, insight))


def test_a_mail_has_text_html_and_the_picture_inside_it(post_office):
    office = post_office()
    told = notification(("a", "firing"), labels={"alertname": "<b>Übung</b>", "severity": "page"})
    send(settings(office), told, Insight(PICTURE, (Outlook("a", ahead="Expected to cross at 15:00."),)))
    ((recipients, mail),) = office.mails
    assert recipients == ["ann@example.org", "bob@example.org"]
    assert mail.get_content_type() == "multipart/alternative"
    text, related = mail.iter_parts()
    page, picture = related.iter_parts()
    assert (text.get_content_type(), page.get_content_type()) == ("text/plain", "text/html")
    assert "<b>Übung</b>" in mail["Subject"]
    assert "Expected to cross at 15:00." in text.get_content()
    shown = page.get_content()
    assert "&lt;b&gt;Übung&lt;/b&gt;" in shown
    assert "<b>Übung" not in shown
    assert picture.get_content() == PICTURE
    assert picture.get_content_disposition() == "inline"
    assert re.findall(r'src="([^"]*)"', shown) == ["cid:" + picture["Content-ID"].strip("<>")]
    assert "prefers-color-scheme: dark" in shown
    assert "width=device-width" in shown


def test_a_mail_without_a_picture_shows_none(post_office):
    office = post_office()
    send(settings(office), notification(("a", "firing")))
    _, page = office.mails[0][1].iter_parts()
    assert "<img" not in page.get_content()


def test_the_headers_say_what_the_mail_is(post_office):
    office = post_office()
    send(settings(office), notification(("a", "firing")))
    mail = office.mails[0][1]
    assert mail["From"] == "CloudPulse <bridge@example.org>"
    assert mail["To"] == "ann@example.org, bob@example.org"
    assert mail["Date"].datetime.timestamp() == 1_700_000_000
    assert mail["Message-ID"] == "<key-1@example.org>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["X-CloudPulse-Idempotency-Key"] == "key-1"
    assert mail["In-Reply-To"] is None
    assert mail["X-CloudPulse-Trace-Id"] is None


def test_a_mail_names_the_trace_that_it_belongs_to(post_office):
    office = post_office()
    with trace.within(trace.Trace("1" * 32, "2" * 16)):
        send(settings(office), notification(("a", "firing")))
    assert office.mails[0][1]["X-CloudPulse-Trace-Id"] == "1" * 32


def test_the_mails_of_an_incident_are_one_thread_until_it_is_over(post_office):
    office = post_office()
    made = settings(office)
    memory = send(made, notification(("a", "firing"), key="first"))
    memory = send(made, notification(("a", "firing"), ("b", "firing"), key="second", memory=memory))
    ack = dataclasses.replace(notification(("a", "firing"), key="ack", memory=memory), ack=Ack("ann", 1.8e9))
    memory = send(made, ack)
    assert send(made, notification(("a", "resolved"), key="last", memory=memory)) == {}
    first, *others = [mail for _, mail in office.mails]
    assert first["Message-ID"] == "<first@example.org>"
    assert [mail["In-Reply-To"] for mail in others] == ["<first@example.org>"] * 3
    assert [mail["References"] for mail in others] == ["<first@example.org>"] * 3


def test_a_mail_for_many_incidents_begins_no_thread(post_office):
    told = dataclasses.replace(notification(("a", "firing")), summary=Summary(3, 2))
    assert send(settings(post_office()), told) == {}


def test_a_repeated_delivery_is_the_same_mail(post_office):
    office = post_office()
    told = notification(("a", "firing"))
    send(settings(office), told, Insight(PICTURE))
    send(settings(office), dataclasses.replace(told, attempt=2), Insight(PICTURE))
    (_, one), (_, other) = office.mails
    assert one.as_bytes() == other.as_bytes()


def test_no_text_of_an_alert_makes_a_header(post_office):
    office = post_office()
    evil = "x\r\nBcc: eve@example.org\r\n\r\nbody\u2028Bcc: eve@example.org\x00\u202e"
    send(settings(office), notification(("a", "firing"), labels={"alertname": evil, "severity": evil}))
    ((recipients, mail),) = office.mails
    assert recipients == ["ann@example.org", "bob@example.org"]
    assert mail["Bcc"] is None
    assert all(part["Bcc"] is None for part in mail.walk())
    assert "\n" not in mail["Subject"]
    assert "\u202e" not in mail["Subject"]
    assert not [part for part in mail.walk() if "\x00" in str(part)]


def test_addresses_beyond_ascii_are_sent_as_each_server_can_take_them(post_office):
    """A domain becomes what DNS has; only a name before the @ needs SMTPUTF8."""
    plain = post_office(enable_SMTPUTF8=False)
    told = notification(("a", "firing"))
    send(settings(plain, to=("Jürgen <team@bücher.example>",)), told)
    ((recipients, mail),) = plain.mails
    assert recipients == ["team@xn--bcher-kva.example"]
    assert mail["To"].addresses[0].display_name == "Jürgen"
    with pytest.raises(DeliveryFailed, match="SMTPUTF8") as caught:
        send(settings(plain, to=("jürgen@example.org",)), told)
    assert caught.value.retryable
    able = post_office(enable_SMTPUTF8=True)
    send(settings(able, to=("jürgen@example.org", "ann@example.org")), told)
    assert able.mails[0][0] == ["jürgen@example.org", "ann@example.org"]


def test_who_is_refused_is_tried_again_alone_and_nobody_gets_it_twice(post_office):
    office = post_office()
    office.answers["bob@example.org"] = "452 4.2.2 mailbox full, said by the-server"
    made = settings(office, to=("ann@example.org", "bob@example.org", "cho@example.org"))
    told = notification(("a", "firing"))
    with pytest.raises(DeliveryFailed) as caught:
        send(made, told)
    assert caught.value.retryable
    assert "bob@example.org (452 4.2.2); 2 of 3 have it" in str(caught.value)
    assert "the-server" not in str(caught.value)
    del office.answers["bob@example.org"]
    memory = send(made, dataclasses.replace(told, attempt=2, progress=caught.value.progress))
    assert [recipients for recipients, _ in office.mails] == [
        ["ann@example.org", "cho@example.org"],
        ["bob@example.org"],
    ]
    assert memory == caught.value.memory


def test_a_mailbox_that_is_not_there_is_a_dead_letter_and_the_others_have_it(post_office):
    office = post_office()
    office.answers["bob@example.org"] = "550 5.1.1 no such user"
    with pytest.raises(DeliveryFailed, match="1 of 2 have it") as caught:
        send(settings(office), notification(("a", "firing"), key="first"))
    assert not caught.value.retryable
    assert caught.value.memory == {"thread": "<first@example.org>"}
    assert office.mails[0][0] == ["ann@example.org"]


def test_where_nobody_has_it_nothing_is_remembered(post_office):
    office = post_office()
    office.answers |= dict.fromkeys(("ann@example.org", "bob@example.org"), "450 4.2.0 greylisted")
    with pytest.raises(DeliveryFailed, match="0 of 2 have it") as caught:
        send(settings(office), notification(("a", "firing")))
    assert caught.value.memory is None
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("command", "answer", "retryable"),
    [
        ("ann@example.org", "550 5.1.1 unknown", False),
        ("ann@example.org", "550 unknown", False),
        ("ann@example.org", "553 5.1.3 bad address", False),
        ("ann@example.org", "550 5.7.1 relaying denied", True),
        ("ann@example.org", "552 5.2.2 mailbox full", True),
        ("ann@example.org", "450 4.2.1 later", True),
        ("ann@example.org", "421 4.3.2 going down", True),
        ("MAIL", "550 5.7.1 who are you", True),
        ("MAIL", "530 5.7.0 authentication required", True),
        ("MAIL", "552 5.3.4 too large", False),
        ("MAIL", "451 4.3.0 later", True),
        ("DATA", "554 5.6.0 looks like spam", False),
        ("DATA", "550 5.7.1 against our policy", False),
        ("DATA", "452 4.3.1 disk full", True),
    ],
)
def test_a_refusal_is_final_when_the_mail_or_the_mailbox_is_what_is_wrong(command, answer, retryable, post_office):
    office = post_office()
    office.answers[command] = answer
    with pytest.raises(DeliveryFailed, match=answer[:3]) as caught:
        send(settings(office, to=("ann@example.org",)), notification(("a", "firing")))
    assert caught.value.retryable is retryable
    assert office.mails == []


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")  # TLS is outside of aiosmtpd
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mails_and_passwords_travel_encrypted(security, post_office, tmp_path):
    office = post_office(security, ("Ünser".encode(), "pässword".encode()))
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "password").write_text("pässword\n", encoding="utf-8")
    made = settings(
        office,
        security=security,
        username="Ünser",
        password_file=tmp_path / "password",
        tls_config=ClientTls(ca_file=tmp_path / "ca.pem"),
    )
    send(made, notification(("a", "firing")))
    assert office.connections == [(True, "Ünser".encode())]


def test_the_older_way_to_log_in_is_known_too(post_office, tmp_path):
    office = post_office("starttls", (b"user", b"password"), auth_exclude_mechanism=["PLAIN"])
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ClientTls(ca_file=tmp_path / "ca.pem")
    made = settings(office, security="starttls", username="user", password=Secret("password"), tls_config=tls)
    send(made, notification(("a", "firing")))
    assert office.connections == [(True, b"user")]


def test_a_wrong_password_may_be_put_right_and_is_not_shown(post_office, tmp_path):
    office = post_office("starttls", (b"user", b"password"))
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ClientTls(ca_file=tmp_path / "ca.pem")
    made = settings(office, security="starttls", username="user", password=Secret("wrong-secret"), tls_config=tls)
    with pytest.raises(DeliveryFailed, match="answered 535") as caught:
        send(made, notification(("a", "firing")))
    assert caught.value.retryable
    assert "wrong-secret" not in f"{caught.value!r} {made!r}"


def test_nothing_is_sent_to_a_server_that_can_not_show_who_it_is(post_office):
    for security in ("starttls", "tls"):
        office = post_office(security)
        with pytest.raises(DeliveryFailed, match="not reached: SSLCertVerificationError") as caught:
            send(settings(office, security=security), notification(("a", "firing")))
        assert caught.value.retryable
        assert office.mails == []


def test_nothing_is_sent_in_the_clear_where_encryption_is_asked_for(post_office):
    office = post_office()
    with pytest.raises(DeliveryFailed, match="offers no STARTTLS") as caught:
        send(settings(office, security="starttls"), notification(("a", "firing")))
    assert caught.value.retryable
    assert office.mails == []


def test_a_link_local_server_is_refused_unless_allowed():
    made = EmailReceiver(name="one", host="169.254.169.254", from_="a@b.c", to=("d@e.f",), timeout=Duration(0.2))
    with pytest.raises(DeliveryFailed, match="metadata address: refused"):
        send(made, notification(("a", "firing")))


def test_a_server_that_only_drips_is_left_in_time():
    """Each byte is an answer's beginning; only the whole is bounded."""
    stop = threading.Event()

    def drip(listening):
        with contextlib.suppress(OSError), listening.accept()[0] as connection:
            while not stop.wait(0.05):
                connection.send(b"2")

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=drip, args=(listening,), daemon=True)
        thread.start()
        office = type("Office", (), {"port": listening.getsockname()[1]})
        began = time.monotonic()
        with pytest.raises(DeliveryFailed, match="timed out") as caught:
            send(settings(office, timeout=Duration(0.5)), notification(("a", "firing")))
        assert time.monotonic() - began < 20
        stop.set()
        thread.join(5)
    assert caught.value.retryable


def section(lines):
    from alert_bridge.config import AlertBridgeSettings

    text = "alert_bridge:\n  receivers:\n  - type: email\n    name: one\n    host: mail.example.org\n" + lines
    return parse(text, "cloudpulse.yaml", {}).section("alert_bridge", AlertBridgeSettings).receivers[0]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("    from: a@b.c\n", "missing key `to`"),
        ("    from: a@b.c\n    to: []\n", "to: expected 1 to 100 addresses"),
        ("    from: a@b.c\n    to: [team]\n", r"to\[0\]: expected an address"),
        ("    from: a@b.c\n    to: ['a@b.c, d@e.f']\n", r"to\[0\]: expected an address"),
        ("    from: a@b.c\n    to: [a@b.c, A <a@b.c>]\n", "given twice"),
        ('    from: "a@b.c\\nBcc: d@e.f"\n    to: [a@b.c]\n', "from: expected an address"),
        ("    from: a@b.c\n    to: [a@b.c]\n    username: u\n", "exactly one of password"),
        ("    from: a@b.c\n    to: [a@b.c]\n    password: p\n", "username: missing"),
        ("    from: a@b.c\n    to: [a@b.c]\n    security: none\n    username: u\n    password: p\n", "in the clear"),
        ("    from: a@b.c\n    to: [a@b.c]\n    port: 70000\n", "port: expected 1 to 65535"),
        ("    from: a@b.c\n    to: [a@b.c]\n    security: ssl\n", "security: expected one of"),
    ],
)
def test_what_can_not_work_is_refused_at_start(lines, message):
    with pytest.raises(ConfigError, match=message):
        section(lines)


def test_certificates_that_are_not_there_are_named_at_start(tmp_path):
    made = EmailReceiver(
        name="one", host="x.y", from_="a@b.c", to=("d@e.f",), tls_config=ClientTls(ca_file=tmp_path / "none.pem")
    )
    with pytest.raises(ConfigError, match=r"none\.pem"):
        notifiers.build(made)
