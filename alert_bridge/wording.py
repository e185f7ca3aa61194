"""What people read: the title and the text of a message, for one channel.

A template, ours or the user's (`templates` of a receiver), sees texts, escaped where they are put out, and lists:

    kind          firing, update (told before, or some have resolved), resolved, ack or summary
    name          the alert's name, or "3 alerts: A, B"
    severity      of all, empty when they differ
    where         the group's labels beside the name: "namespace=shop, pod=web-0"
    firing        alerts that fire: each has title, name, labels, annotations, summary, description, firing, since,
                  ended, value (now's, asked again; empty where not known) and outlook (sentences)
    resolved      alerts that have ended, the same; their annotations are those of the last time that they fired
    listed, more  as many of both as the channel has room for, and how many others there are
    labels, annotations   what all have in common
    receiver      the receiver's name in the config
    summary, description  annotations that all have in common, empty unless
    since, ended  the first start and the last end: "14:32 UTC", with the date when it is another day's
    left_out      how many more alerts there are that Alertmanager left out
    ack           nothing, or by, until, comment, undo_url, whole (nothing else of the incident fires)
    held_back     nothing, or notifications and incidents that a rate limit has put into this one message
    company       other forecasts that are unusual in the same minutes
    links         runbook, ack, prometheus, alertmanager: each empty unless it is http or https
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import jinja2

from alert_bridge.channels import CHANNELS, Name, clean, web_url
from alert_bridge.insight import Companion, Outlook
from alert_bridge.notifier import Message
from alert_bridge.templating import Templates, own, render, sandbox
from alert_bridge.webhook import Alert
from cloudpulse import logs

LADDER = ((20, 600), (10, 300), (5, 200), (2, 120), (1, 80), (0, 40))
"""How many alerts are listed and how long each text of theirs may be; the first that fits is sent."""

log = logs.get(__name__)


@dataclass(frozen=True)
class AlertView:
    """One alert as templates see it."""

    name: str
    title: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    summary: str
    description: str
    firing: bool
    since: str
    ended: str
    value: str
    outlook: tuple[str, ...]


@dataclass(frozen=True)
class AckView:
    """Who has taken it, as templates see it."""

    by: str
    until: str
    comment: str
    undo_url: str
    whole: bool


class Wording:
    """Titles and texts for one channel, at most `title_limit` and `text_limit` characters as they are sent.

    Never raises for a message: where a template of the user's fails or makes too much, the default is used, it is
    logged, and `failed` is called with the receiver's name.
    """

    def __init__(
        self,
        channel: Name,
        overrides: Templates = Templates(),  # noqa: B008  frozen
        *,
        title_limit: int = 200,
        text_limit: int = 4000,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._channel = channel
        self._failed = failed
        self._limits = {"title": title_limit, "text": text_limit}
        self._overrides = {
            key: sandbox(channel).from_string(source)
            for key, source in (("title", overrides.title), ("text", overrides.text))
            if source is not None
        }

    def title(self, message: Message) -> str:
        """One line: what, how bad, where."""
        return " ".join(self._worded("title", message).split())

    def text(self, message: Message) -> str:
        """The lines below the title: since when, which alerts, what is expected, where to click."""
        return self._worded("text", message)

    def _worded(self, key: str, message: Message) -> str:
        if key in self._overrides:
            if text := self._overridden(key, message):
                return text
            self._failed(message.notification.receiver)
        template = own(self._channel, f"{key}.j2")
        for count, width in LADDER:
            text = self._laid_out(key, render(template, _variables(message, count, width)))
            if len(text) <= self._limits[key]:
                return text
        return _cut(CHANNELS[self._channel].escape(_name(message, 40)), self._limits[key])

    def _overridden(self, key: str, message: Message) -> str:
        problem = f"longer than {self._limits[key]} characters"
        try:
            for count, width in LADDER:
                text = render(self._overrides[key], _variables(message, count, width)).strip()
                if len(text) <= self._limits[key]:
                    return text
        except Exception as error:  # noqa: BLE001  whatever an expression raises; its text may hold an alert's
            problem = type(error).__name__
            if isinstance(error, jinja2.UndefinedError):
                problem = f"{problem}: {error.message}"
        receiver = message.notification.receiver
        log.error("template not usable, the default is sent", receiver=receiver, template=key, problem=problem)
        return ""

    def _laid_out(self, key: str, text: str) -> str:
        lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        if key == "title":
            return " ".join(line.strip() for line in lines)
        # In Markdown a single line break is none.
        return {"html": "<br>\n", "markdown": "\n\n"}.get(self._channel, "\n").join(lines)


def kind(message: Message) -> str:
    """What it tells of: firing, update, resolved, ack or summary."""
    notification = message.notification
    if notification.summary is not None:
        return "summary"
    if notification.ack is not None:
        return "ack"
    if notification.group.over:
        return "resolved"
    some_ended = not all(alert.firing for alert in notification.group.alerts)
    return "update" if some_ended or notification.memory else "firing"


def severity(message: Message) -> str:
    """The label that all alerts have in common; empty when they differ."""
    return clean(message.notification.group.common_labels.get("severity", ""))


def _variables(message: Message, count: int, width: int) -> dict[str, object]:
    notification = message.notification
    group = notification.group
    seen = datetime.fromtimestamp(notification.stored_at, UTC)
    outlooks = {outlook.fingerprint: outlook for outlook in message.insight.outlooks}
    hidden = set(group.common_labels) | {"alertname"}

    def view(alert: Alert) -> AlertView:
        ended = None if alert.firing else alert.ended_at
        value = message.insight.values.get(alert.fingerprint)
        return AlertView(
            name=_clip(alert.labels.get("alertname", "alert without a name"), width),
            title=_clip(_labels(alert.labels, hidden) or alert.labels.get("alertname", "alert without a name"), width),
            labels=alert.labels,
            annotations=alert.annotations,
            summary=_clip(alert.annotations.get("summary", ""), width),
            description=_clip(alert.annotations.get("description", ""), width),
            firing=alert.firing,
            since=_moment(alert.starts_at, seen),
            ended=_moment(ended, seen) if ended else "",
            value="" if value is None else f"{value:.4g}",
            outlook=tuple(_clip(sentence, 300) for sentence in _sentences(outlooks.get(alert.fingerprint))),
        )

    firing = [alert for alert in group.alerts if alert.firing]
    resolved = [alert for alert in group.alerts if not alert.firing]
    told = firing or resolved
    ends = [alert.ended_at for alert in resolved if alert.ended_at is not None]
    annotations = group.common_annotations
    ack, held_back = notification.ack, notification.summary
    return {
        "kind": kind(message),
        "name": _name(message, width),
        "severity": _clip(severity(message), 20),
        "where": _clip(_labels(group.group_labels, {"alertname", "severity"}), width),
        "firing": _Lazily(firing, view),
        "resolved": _Lazily(resolved, view),
        "listed": [view(alert) for alert in itertools.islice(itertools.chain(firing, resolved), count)],
        "more": max(0, len(group.alerts) - count),
        "labels": group.common_labels,
        "annotations": annotations,
        "receiver": notification.receiver,
        "summary": _clip(annotations.get("summary", ""), width),
        "description": _clip(annotations.get("description", annotations.get("message", "")), width),
        "since": _moment(min(alert.starts_at for alert in told), seen),
        "ended": _moment(max(ends), seen) if ends and not firing else "",
        "left_out": group.truncated_alerts,
        "ack": ack
        and AckView(
            by=_clip(ack.by, 60),
            until=_moment(datetime.fromtimestamp(ack.until, UTC), seen),
            comment=_clip(ack.comment, width),
            undo_url=ack.undo_url,
            whole=ack.whole,
        ),
        "held_back": held_back,
        "company": [_companion(one) for one in message.insight.company[:3]],
        "links": {
            "runbook": _shared(alert.annotations.get("runbook_url", "") for alert in told),
            "ack": web_url(message.ack_url),
            "prometheus": web_url(told[0].generator_url),
            "alertmanager": web_url(group.external_url),
        },
    }


class _Lazily:
    """Views of alerts that are made when looked at: there may be thousands, and few are shown."""

    def __init__(self, alerts: list[Alert], view: Callable[[Alert], AlertView]) -> None:
        self._alerts = alerts
        self._view = view

    def __len__(self) -> int:
        return len(self._alerts)

    def __iter__(self) -> Iterator[AlertView]:
        return map(self._view, self._alerts)

    def __getitem__(self, index: int | slice) -> AlertView | list[AlertView]:
        if isinstance(index, slice):
            return [self._view(alert) for alert in self._alerts[index]]
        return self._view(self._alerts[index])


def _name(message: Message, width: int) -> str:
    alerts = message.notification.group.alerts
    names = list(dict.fromkeys(alert.labels.get("alertname", "alert without a name") for alert in alerts))
    if len(names) == 1:
        return _clip(names[0], width)
    shown = ", ".join(_clip(name, 60) for name in names[:3])
    return f"{len(alerts)} alerts: {shown}" + (" and others" if len(names) > 3 else "")


def _labels(labels: Mapping[str, str], hidden: set[str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name not in hidden)


def _sentences(outlook: Outlook | None) -> list[str]:
    return [s for s in (outlook.expected, outlook.ahead, outlook.trust) if s] if outlook else []


def _companion(one: Companion) -> str:
    labels = _labels(one.labels, set())
    return _clip(f"{one.forecast} ({labels})" if labels else one.forecast, 100)


def _shared(urls: Iterable[str]) -> str:
    """The first that may be linked."""
    return next((found for url in urls if url and (found := web_url(url))), "")


def _moment(moment: datetime, seen: datetime) -> str:
    there = moment.astimezone(UTC)
    return there.strftime("%H:%M UTC" if there.date() == seen.date() else "%Y-%m-%d %H:%M UTC")


def _clip(text: str, width: int) -> str:
    return _cut(clean(text).strip(), width)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)].rstrip() + "…"
