"""One Slack message per incident: posted, updated, answered in its thread; and what Slack says no to."""

from pathlib import Path

import pytest

from alert_bridge import notifiers, webhook
from alert_bridge.insight import Insight
from alert_bridge.notifier import Ack, DeliveryFailed, Ended, Message, Notification, Summary
from alert_bridge.notifiers.slack import SlackReceiver
from alert_bridge.testing import webhook_body
from cloudpulse import config
from cloudpulse.config import Secret
from cloudpulse.errors import ConfigError
from tests.alert_bridge.services import Slack

PNG = b"\x89PNG" + bytes(1000)


def message(*alerts, key="k1", picture=None, **more):
    group = webhook.parse(webhook_body(*alerts))
    told = Notification(
        id=1, receiver="one", idempotency_key=key, attempt=1, stored_at=1.8e9, give_up_at=2e9, group=group, **more
    )
    return Message(told, Insight(picture=picture))


@pytest.fixture
def slack(front):
    made = Slack()
    with made.serving(front):
        yield made


@pytest.fixture
def notifier(slack):
    token = Secret("bearer-token")
    return notifiers.build(SlackReceiver(name="one", token=token, channel="#alerts", api_url=f"{slack.url}/api"))


def calls(slack):
    return [request.path.removeprefix("/api/") for request in slack.requests]


def test_an_incident_is_one_message_with_the_rest_in_its_thread(slack, notifier):
    memory = notifier.send(message(("a", "firing"), key="k1"))
    memory = notifier.send(message(("a", "firing"), ("b", "firing"), key="k2", memory=memory))
    memory = notifier.send(message(("a", "firing"), key="k3", memory=memory, ack=Ack("anna", 1.8e9)))
    assert notifier.send(message(("a", "resolved"), ("b", "resolved"), key="k4", memory=memory)) == {}
    root, *thread = slack.messages.values()
    assert root["channel"] == "C0123456789"
    assert "thread_ts" not in root
    assert root["text"].startswith("[RESOLVED] Test")
    assert root["attachments"][0]["color"] == "#2eb67d"
    assert {one["thread_ts"] for one in thread} == {memory["ts"]}
    assert [one["text"].partition("]")[0] for one in thread] == ["[FIRING 2", "[TAKEN by anna", "[RESOLVED"]
    assert slack.wrong == []


def test_an_ack_of_a_part_leaves_the_message_as_it_is(slack, notifier):
    """What nobody has taken must still be seen."""
    memory = notifier.send(message(("a", "firing"), ("b", "firing")))
    ack = Ack("anna", 1.8e9, whole=False)
    assert notifier.send(message(("a", "firing"), key="k2", memory=memory, ack=ack)) == memory
    root, answer = slack.messages.values()
    assert root["text"].startswith("[FIRING 2]")
    assert answer["text"].startswith("[PARTLY TAKEN by anna]")


def test_the_picture_is_uploaded_into_the_thread(slack, notifier):
    memory = notifier.send(message(picture=PNG))
    (upload,) = slack.uploads.values()
    assert upload["content"] == PNG
    assert upload["thread"] is slack.messages[memory["ts"]]


@pytest.mark.parametrize("broken", ["files.getUploadURLExternal", "files.completeUploadExternal", "/upload/"])
def test_a_picture_that_can_not_be_uploaded_does_not_hold_up_the_text(broken, slack, notifier):
    slack.fault = lambda request: (500, {}) if broken in request.path else None
    memory = notifier.send(message(picture=PNG))
    assert memory["ts"] in slack.messages
    assert len(slack.messages) == 1


@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example/upload",
        "http://files.slack.com/upload",
        "https://slack.com.evil.example/upload",
        "https://evilslack.com/upload",
        "https://evil.example\\@files.slack.com/upload",
        "https://user@files.slack.com/upload",
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1:1/upload",
        "file:///etc/passwd",
        "",
    ],
)
def test_a_picture_goes_nowhere_but_to_slack(place, slack, notifier, monkeypatch, capsys):
    monkeypatch.setattr(slack, "_upload_url", lambda request: {"upload_url": place, "file_id": "F1"})
    monkeypatch.setattr("alert_bridge.connecting.Call._connect", only_to(slack.url))
    assert notifier.send(message(picture=PNG))["ts"] in slack.messages
    assert calls(slack) == ["chat.postMessage", "files.getUploadURLExternal"]


@pytest.mark.parametrize("place", ["https://files.slack.com/upload/v1/CwABAAAAa_-.~%3D?x=1", "https://slack.com/u"])
def test_a_picture_goes_to_slacks_hosts(place, slack, notifier, monkeypatch):
    tried = []
    monkeypatch.setattr(slack, "_upload_url", lambda request: {"upload_url": place, "file_id": "F1"})
    monkeypatch.setattr("alert_bridge.connecting.Call._connect", only_to(slack.url, tried))
    notifier.send(message(picture=PNG))
    assert tried == [place.split("/")[2]]


def only_to(url, tried=None):
    """Connect to this server only; keep who else was to be connected to."""
    from alert_bridge.connecting import Call

    connect = Call._connect

    def look(self, host, port, timeout):
        if port == int(url.rpartition(":")[2]):
            return connect(self, host, port, timeout)
        assert tried is not None, f"{host} was to be connected to"
        tried.append(host)
        raise ConnectionRefusedError(111, "Connection refused")

    return look


def test_a_message_whose_answer_was_lost_is_not_posted_twice_where_slack_looks(slack, notifier):
    notifier.send(message(("a", "firing")))
    memory = notifier.send(message(("a", "firing")))
    assert list(slack.messages) == [memory["ts"]]


@pytest.mark.parametrize("gone", ["message_not_found", "cant_update_message", "edit_window_closed"])
def test_a_message_that_someone_deleted_is_posted_anew(gone, slack, notifier):
    memory = notifier.send(message(("a", "firing")))
    slack.refuse = lambda method: gone if method == "chat.update" else None
    again = notifier.send(message(("a", "firing"), ("b", "firing"), key="k2", memory=memory))
    assert again["ts"] != memory["ts"]


def test_a_message_posted_before_and_deleted_since_is_posted_again(slack, notifier):
    answers = ["duplicate_message_not_found"]
    slack.refuse = lambda method: answers.pop() if answers else None
    monkey = slack._post
    slack._post = lambda request: monkey(request) if "client_msg_id" in request.json else {"channel": "C", "ts": "9"}
    assert notifier.send(message()) == {"to": "#alerts", "channel": "C", "ts": "9"}


def test_an_incident_goes_on_in_the_channel_that_the_config_names_now(slack, notifier):
    memory = notifier.send(message(("a", "firing")))
    again = notifier.send(message(("a", "firing"), key="k2", memory={**memory, "to": "#other"}))
    assert again["ts"] != memory["ts"]
    assert "chat.update" not in calls(slack)


def test_a_summary_is_a_message_of_its_own(slack, notifier):
    memory = notifier.send(message(("a", "firing")))
    told = message(("a", "firing"), ("b", "firing"), key="k2", memory=memory, summary=Summary(37, 12))
    assert notifier.send(told) == {}
    assert "thread_ts" not in list(slack.messages.values())[1]


def test_messages_of_incidents_that_end_in_a_summary_do_not_look_as_if_they_fired(slack, notifier):
    memory = notifier.send(message(("a", "firing")))
    over = Ended(message(("a", "resolved")).notification.group, memory)
    elsewhere = Ended(over.group, {**memory, "to": "#other"})
    told = message(("a", "resolved"), ("b", "firing"), key="k2", summary=Summary(3, 2, ended=(over, elsewhere)))
    assert notifier.send(told) == {}
    first, summary = slack.messages.values()
    assert first["text"].startswith("[RESOLVED] Test")
    assert first["attachments"][0]["color"] == "#2eb67d"
    assert summary["text"].startswith("[SUMMARY, 1 firing, 1 resolved] Test")
    assert slack.wrong == []


def test_a_message_that_can_not_be_brought_up_to_date_repeats_no_summary(slack, notifier):
    memory = notifier.send(message(("a", "firing")))
    slack.refuse = lambda method: "message_not_found" if method == "chat.update" else None
    over = Ended(message(("a", "resolved")).notification.group, memory)
    assert notifier.send(message(("a", "resolved"), key="k2", summary=Summary(3, 2, ended=(over, over)))) == {}
    assert calls(slack).count("chat.postMessage") == 2


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        ("ratelimited", True),
        ("internal_error", True),
        ("fatal_error", True),
        ("invalid_auth", True),
        ("not_in_channel", True),
        ("channel_not_found", True),
        ("is_archived", True),
        ("something_new", True),
        ("msg_too_long", False),
        ("invalid_blocks", False),
        ("no_text", False),
        ("invalid_arguments", False),
    ],
)
def test_errors_that_people_or_time_can_put_right_are_retryable(error, retryable, slack, notifier):
    slack.refuse = lambda method: error
    with pytest.raises(DeliveryFailed, match="refused chat") as caught:
        notifier.send(message())
    assert caught.value.retryable == retryable
    assert (error in str(caught.value)) == (error != "something_new")


def test_an_error_of_slacks_is_shown_only_if_it_is_one_of_its_words(slack, notifier):
    slack.refuse = lambda method: "you sent bearer-token"
    with pytest.raises(DeliveryFailed, match="an error that is not in our table") as caught:
        notifier.send(message())
    assert "bearer-token" not in str(caught.value)


def test_an_answer_that_is_not_slacks_is_retryable(slack, notifier):
    slack.fault = lambda request: (200, {})
    with pytest.raises(DeliveryFailed, match="with something that isn't Slack's") as caught:
        notifier.send(message())
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("type: slack", "expected exactly one of token, token_file, webhook_url and webhook_url_file"),
        ("type: slack, token: a", "channel: expected with a token"),
        ("type: slack, webhook_url: 'https://x.example/TOKEN', channel: C1", "channel: a webhook has one of its own"),
        ("type: slack, webhook_url: TOKEN", "webhook_url: expected a URL such as"),
        ("type: slack, token: a, channel: C1, api_url: x", "api_url: expected a URL such as"),
        ("type: slack, token: a, channel: C1, timeout: 0s", "timeout: expected more than 0s"),
        ("type: slack, token: a, channel: C1, timeout: 2m", "timeout: expected more than 0s, at most 1m, got 2m"),
        ("type: webhook, url: 'https://x.example', timeout: 6m", "timeout: expected more than 0s, at most 5m, got 6m"),
        (
            "type: slack, token: a, channel: C1, templates: {text: '{{'}",
            r"receivers\[0\].templates: text: not a Jinja2",
        ),
        ("type: teams", "expected exactly one of url and url_file"),
        ("type: teams, url: TOKEN", "url: expected a URL such as"),
        ("type: log, templates: {text: x}", "templates: the log is written as fields"),
        ("type: webhook, url: 'https://x', templates: {text: x}", "templates: a webhook is sent JSON"),
        ("type: webhook, url: 'https://x', hmac_secret: a, hmac_secret_file: b", "hmac_secret and hmac_secret_file"),
    ],
)
def test_settings_that_can_not_work_are_refused(lines, problem):
    from alert_bridge.config import AlertBridgeSettings

    text = f"alert_bridge:\n  receivers: [{{name: a, {lines}}}]"
    with pytest.raises(ConfigError, match=problem) as caught:
        config.parse(text, Path("c.yaml"), {}).section("alert_bridge", AlertBridgeSettings)
    assert "TOKEN" not in str(caught.value)
