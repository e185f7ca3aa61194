"""What people read, and what templates of the user's can and can't do."""

import dataclasses
import html
import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from alert_bridge import webhook
from alert_bridge.channels import CHANNELS, clean, web_url
from alert_bridge.insight import NOTHING, Companion, Insight, Outlook
from alert_bridge.notifier import Ack, Message, Notification, Summary
from alert_bridge.templating import Templates
from alert_bridge.testing import webhook_body
from alert_bridge.variables import NAMES
from alert_bridge.wording import Wording, kind

SEEN_AT = 1795447200  # 2026-11-23 15:20 UTC


def message(*alerts, insight=NOTHING, ack_url="", changes=None, **more):
    group = webhook.parse(webhook_body(*alerts, **(changes or {})))
    told = Notification(
        id=1, receiver="one", idempotency_key="k", attempt=1, stored_at=SEEN_AT, give_up_at=2e9, group=group, **more
    )
    return Message(told, insight, ack_url)


def fixture(name, **more):
    body = json.loads((Path(__file__).parent / "fixtures" / f"{name}.json").read_text())["body"]
    made = message(**more)
    told = made.notification
    group = webhook.parse(json.dumps(body).encode())
    return Message(Notification(**{**vars(told), "group": group}), made.insight, made.ack_url)


def test_a_firing_alert_says_what_how_bad_since_when_what_next_and_where_to_click():
    known = Insight(
        outlooks=(Outlook("8cb6c58970036cf7", "Expected now: 0.2 to 0.4.", "Recovers in 30m.", "MASE 0.7."),),
        values={"8cb6c58970036cf7": 0.9312},
        company=(Companion("web_rps", {"app": "shop"}, 2.0, 0.9),),
    )
    told = fixture("partially-resolved", insight=known, ack_url="https://bridge.example/ack?k=1")
    wording = Wording("plain")
    assert wording.title(told) == "[FIRING warning, 1 resolved] CloudPulseHighCPUPredicted · namespace=shop, case=quick"
    assert wording.text(told).splitlines() == [
        "CloudPulseHighCPUPredicted predicted",
        "CPU forecast p90 above 85% in 2h",
        "Firing since 14:32 UTC",
        "• instance=10.0.0.1:9100, pod=web-1, now 0.9312",
        "  Expected now: 0.2 to 0.4.",
        "  Recovers in 30m.",
        "  MASE 0.7.",
        "✓ instance=10.0.0.0:9100, pod=web-0, resolved 14:35 UTC",
        "Unusual in the same minutes: web_rps (app=shop)",
        "Take it: https://bridge.example/ack?k=1",
        "Runbook: https://runbooks.example/cpu",
        f"Prometheus: {told.notification.group.alerts[1].generator_url}",
        "Alertmanager: http://alertmanager.example:9093",
    ]


def test_a_resolved_alert_shows_todays_value_and_calls_the_annotation_the_last_one():
    told = fixture("resolved", insight=Insight(values={"8cb6c58970036cf7": 0.12}))
    lines = Wording("plain").text(told).splitlines()
    assert lines[0] == "Resolved, fired from 14:32 UTC to 14:35 UTC"
    assert any(line.endswith(", now 0.12") for line in lines)
    assert "  was: CloudPulseHighCPUPredicted predicted" in lines
    assert "CPU forecast p90 above 85% in 2h" not in lines


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.12345, "now 0.1235"),
        (-12.0, "now -12"),
        (999.94, "now 999.9"),
        (1234567.8, "now 1,234,568"),
        (3e-7, "now 3e-07"),
        (2.5e18, "now 2.5e+18"),
        (float("inf"), "now +Inf"),
        (float("nan"), ""),
    ],
)
def test_values_are_written_as_people_read_them(value, shown):
    (line,) = [
        line
        for line in Wording("plain").text(message(insight=Insight(values={"a": value}))).splitlines()
        if line.startswith("•")
    ]
    assert line == f"• pod=a{', ' if shown else ''}{shown}"


def test_a_value_has_its_unit_where_that_is_known():
    known = Insight(values={"a": 0.93}, texts={"a": "93 %"})
    assert "• pod=a, now 93 %" in Wording("plain").text(message(insight=known)).splitlines()


def test_slack_shows_times_in_the_readers_own_time_zone():
    lines = Wording("slack").text(message(("a", "firing"))).splitlines()
    assert lines[0] == "Firing since <!date^1795444325^{date_short_pretty} {time}|14:32 UTC>"
    assert lines[-1] == "<http://alertmanager.example:9093|Alertmanager>"


def test_links_stand_on_one_line_where_they_have_texts():
    shown = Wording("slack").text(message(ack_url="https://bridge.example/ack")).splitlines()[-1]
    assert shown == "<https://bridge.example/ack|Take it> · <http://alertmanager.example:9093|Alertmanager>"


def test_a_value_that_is_not_known_is_not_shown():
    assert "now" not in Wording("plain").text(message(("a", "resolved")))


def test_an_ack_says_who_until_when_and_what_is_left():
    ack = Ack("anna", SEEN_AT + 3600, "on it", "https://bridge.example/undo", whole=False)
    told = message(("a", "firing"), ack=ack)
    assert Wording("plain").title(told) == "[PARTLY TAKEN by anna] Test"
    text = Wording("plain").text(told)
    assert text.startswith("Taken by anna until 16:20 UTC: on it\nOther alerts of this incident still fire")
    assert "Undo: https://bridge.example/undo" in text


def test_a_summary_says_what_was_held_back():
    told = message(("a", "firing"), ("b", "resolved"), summary=Summary(37, 12))
    assert Wording("plain").title(told) == "[SUMMARY, 1 firing, 1 resolved] Test"
    text = Wording("plain").text(told)
    assert text.startswith("More than this receiver's rate limit allows: 37 notifications of 12 incidents in one.")


def test_a_summary_says_who_has_taken_what_meanwhile():
    told = message(("a", "firing"), ("b", "firing"), summary=Summary(3, 2, {"a": Ack("anna", SEEN_AT + 3600)}))
    lines = Wording("plain").text(told).splitlines()
    assert lines[1:3] == ["• pod=a, taken by anna until 16:20 UTC", "• pod=b"]


def test_alerts_of_several_names_are_told_apart_by_them():
    two = fixture("partially-resolved").notification.group
    alerts = tuple(
        msgspec.structs.replace(alert, labels={"alertname": f"Name{i}", "pod": f"web-{i}"})
        for i, alert in enumerate(two.alerts)
    )
    group = msgspec.structs.replace(two, alerts=alerts, common_labels={})
    told = message(summary=Summary(2, 2))
    text = Wording("plain").text(
        dataclasses.replace(told, notification=dataclasses.replace(told.notification, group=group))
    )
    assert next(line for line in text.splitlines() if line[0] in "•✓").startswith("• Name1: pod=web-1")


def test_a_single_alert_is_told_with_its_labels_which_it_has_in_common_with_itself():
    one = message(changes={"commonLabels": {"alertname": "Test", "pod": "a", "severity": "page"}})
    assert Wording("plain").title(one) == "[FIRING page] Test · pod=a"
    assert "• pod=a" in Wording("plain").text(one).splitlines()


def test_a_link_that_is_right_for_some_alerts_only_is_left_out():
    told = fixture("partially-resolved")
    group = told.notification.group
    pages = ["https://runbooks.example/a", "https://runbooks.example/b"]
    alerts = tuple(
        msgspec.structs.replace(alert, status="firing", annotations={"runbook_url": page}, generator_url=page)
        for alert, page in zip(group.alerts, pages, strict=True)
    )
    mixed = dataclasses.replace(told.notification, group=msgspec.structs.replace(group, alerts=alerts))
    assert "runbooks.example" not in Wording("plain").text(Message(mixed))


def test_a_fallback_is_told_whose_place_it_takes():
    text = Wording("plain").text(message(instead_of="oncall"))
    assert text.startswith("oncall could not be told, so you are\nFiring since")


def test_what_alertmanager_left_out_is_said():
    assert "3 more alerts that Alertmanager left out" in Wording("plain").text(message(changes={"truncatedAlerts": 3}))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (message(("a", "firing")), "firing"),
        (message(("a", "firing"), memory={"ts": "1"}), "update"),
        (message(("a", "firing"), ("b", "resolved")), "update"),
        (message(("a", "resolved")), "resolved"),
        (message(("a", "resolved"), changes={"truncatedAlerts": 1}), "update"),
        (message(("a", "firing"), ack=Ack("x", 1.0)), "ack"),
        (message(("a", "resolved"), summary=Summary(2, 2)), "summary"),
    ],
)
def test_kinds(told, expected):
    assert kind(told) == expected


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("limit", [3000, 500, 120, 30])
def test_thousands_of_alerts_fit_and_the_rest_is_counted(channel, limit):
    told = message(*((f"pod-{i}", "firing") for i in range(5000)), changes={"labels": {"text": "<&*_[" * 100}})
    text = Wording(channel, text_limit=limit).text(told)
    assert 0 < len(text) <= limit
    assert limit < 500 or "more alerts" in text


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_title_is_one_line_whatever_the_labels_hold(channel):
    told = message(("a", "firing"), changes={"labels": {"alertname": "two\nlines" * 200}})
    title = Wording(channel, title_limit=150).title(told)
    assert "\n" not in title
    assert len(title) <= 150


@pytest.mark.parametrize("channel", CHANNELS)
def test_templates_in_alerts_stay_text(channel):
    told = message(("a", "firing"), ("b", "firing"), changes={"labels": {"text": "{{ 7*7 }}{% for %}"}})
    text = Wording(channel, Templates(text="{{ firing[0].labels.text }}")).text(told)
    assert text.replace("\\", "") == "{{ 7*7 }}{% for %}"


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ("plain", "<b>*x*"),
        ("html", "&lt;b&gt;*x*"),
        ("slack", "&lt;b&gt;*x*"),
        ("markdown", r"\<b>\*x\*"),
    ],
)
@pytest.mark.parametrize(
    "template",
    [
        "{{ labels.x }}",
        "{{ labels['x'] }}",
        "{{ '' ~ labels.x }}",
        "{% macro show(text) %}{{ text }}{% endmacro %}{{ show(labels.x) }}",
        "{% set shown %}{{ labels.x }}{% endset %}{{ shown }}",
        "{{ [labels.x] | join(', ') }}",
        "{{ labels.x | trim }}",
    ],
)
def test_values_in_a_users_template_are_escaped_once(channel, expected, template):
    told = message(changes={"commonLabels": {"x": "<b>*x*"}})
    assert Wording(channel, Templates(text=template)).text(told) == expected


def test_a_users_template_writes_links_and_emphasis_for_its_channel():
    told = message(ack_url="https://bridge.example/a?b=1&c=2")
    template = Templates(text="{{ name | strong }}: {{ links.ack | link('Take <it>') }}{{ 'ftp://x' | link('no') }}")
    shown = {channel: Wording(channel, template).text(told) for channel in CHANNELS}
    assert shown == {
        "plain": "Test: Take <it>: https://bridge.example/a?b=1&c=2",
        "html": '<strong>Test</strong>: <a href="https://bridge.example/a?b=1&amp;c=2">Take &lt;it&gt;</a>',
        "slack": "*Test*: <https://bridge.example/a?b=1&amp;c=2|Take &lt;it&gt;>",
        "markdown": r"**Test**: [Take \<it>](https://bridge.example/a?b=1&c=2)",
    }


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% endfor %}",
        "{{ 'x' * 10**9 }}",
        "{{ 10**10**10 }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ '%999999999d' | format(1) }}",
        "{{ '{:>999999999}'.format(1) }}",
        "{{ 'x'.ljust(999999999) }}",
        "{% set ns = namespace(x='xx') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='xx') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x | replace('x', 'xx') %}{% endfor %}",
        "{% macro f(x) %}{{ f(x ~ x) }}{% endmacro %}{{ f('x') }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ labels.update({'a': 'b'}) }}",
        "{{ labels.team.lead }}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_template_that_fails_or_does_too_much_gives_way_to_the_default(template):
    failed = []
    wording = Wording("plain", Templates(text=f"{template}done"), failed=failed.append)
    told = message()
    assert wording.text(told) == Wording("plain").text(told)
    assert failed == ["one"]


def test_a_template_that_says_nothing_gives_way_to_the_default():
    assert Wording("plain", Templates(text="{{ ack.by }}")).text(message()).startswith("Firing since")


def test_a_text_longer_than_the_channel_takes_gives_way_to_the_default():
    wording = Wording("slack", Templates(text="{{ 'x' ~ 'y' }}" * 100), text_limit=150)
    assert wording.text(message()).startswith("Firing since")


def test_a_template_can_list_as_many_alerts_as_there_is_room_for():
    told = message(*((f"pod-{i}", "firing") for i in range(100)))
    template = Templates(text="{% for alert in listed %}{{ alert.title }}\n{% endfor %}and {{ more }} more")
    assert Wording("plain", template, text_limit=100).text(told).splitlines()[-1] == "and 95 more"


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{ name", r"title: not a Jinja2 template: .*\(line 1\)"),
        ("{% if %}", r"title: not a Jinja2 template"),
        ("{{ name | nosuch }}", r"title: not a Jinja2 template: No filter named 'nosuch'"),
        ("{{ name | safe }}", r"No filter named 'safe'"),
        ("{{ lables.x }}", 'title: no variable is named "lables", expected one of ack, annotations'),
        ("{% include 'x' %}", "title: line 1: there is no other template to take in"),
    ],
)
def test_a_template_that_can_not_work_is_refused(source, problem):
    with pytest.raises(ValueError, match=problem):
        Templates(title=source)


def test_every_variable_can_be_used():
    everything = "".join(f"{{{{ {name} }}}}" for name in sorted(NAMES))
    failed = []
    Wording("plain", Templates(text=everything), text_limit=10_000, failed=failed.append).text(message())
    assert failed == []


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://x.example/a?b=c&d=%20#e", "https://x.example/a?b=c&d=%20#e"),
        ("https://x.example/a b|c>d\"e'(f)", "https://x.example/a%20b%7Cc%3Ed%22e%27%28f%29"),
        ("https://x.example/ü", "https://x.example/%C3%BC"),
        ("https://x.example/a\nb", "https://x.example/a%0Ab"),
        ("javascript:alert(1)", ""),
        ("data:text/html,x", ""),
        ("//x.example", ""),
        ("https://user:password@x.example", ""),
        ("https://[", ""),
        ("", ""),
    ],
)
def test_only_links_that_no_channel_can_misread_are_written(url, safe):
    assert web_url(url) == safe


@given(st.text())
def test_every_channel_shows_any_text_as_it_is(text):
    text = clean(text)
    assert html.unescape(CHANNELS["html"].escape(text)) == text
    slack = CHANNELS["slack"].escape(text)
    assert "<" not in slack
    assert html.unescape(slack.replace("&amp;", "&amp;amp;")) == text.replace("&", "&amp;")
    assert CHANNELS["plain"].escape(text) == text


@given(st.text(alphabet="ab1 _*[]()<>!`~#&;:=+-.|\\/\n", max_size=40))
@example("&lt;b&gt; &#42;x&#42; &amp;")
@example("_a_ __b__ a_b a__b _a_b")
@example("# a\n1. b\n- c\n> d\n===\n***")
def test_markdown_of_any_text_is_that_text(text):
    """Held against a CommonMark parser: nothing but text and line breaks comes out, and the text is the same."""
    text = "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())
    blocks = MarkdownIt("commonmark").enable("strikethrough").parse(CHANNELS["markdown"].escape(text))
    assert [block.type for block in blocks] == (["paragraph_open", "inline", "paragraph_close"] if text else [])
    parts = [part for block in blocks for part in block.children or ()]
    assert {part.type for part in parts} <= {"text", "text_special", "softbreak"}
    assert "".join("\n" if part.type == "softbreak" else part.content for part in parts) == text


@given(st.text(), st.sampled_from(list(CHANNELS)))
def test_a_link_leads_where_its_url_says_or_is_not_written(rest, channel):
    made = web_url(f"https://host.example/{rest}")
    assert re.fullmatch(r"https://host\.example/[\w%/:?#@!$&+,;=.~-]*", made, re.ASCII)
    written = CHANNELS[channel].link(made, "here")
    assert html.unescape(written).count(made) == 1


def test_what_can_not_be_seen_is_removed_and_scripts_are_not():
    assert clean("a\x1b[2J\u202eb\u0000\r\nc\td\u2066") == "a[2Jb\nc d"
    assert clean("数据库 👩\u200d🔧 می\u200cخواهم e\u0301") == "数据库 👩\u200d🔧 می\u200cخواهم e\u0301"
