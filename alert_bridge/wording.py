"""What people read: the title and the text of a message, for one channel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import overload

import jinja2

from alert_bridge.channels import BREAK, CHANNELS, INDENT, Moment, Name, clean, web_url
from alert_bridge.insight import Companion, Outlook
from alert_bridge.notifier import Ack, Message
from alert_bridge.templating import Templates, own, render, sandbox
from alert_bridge.variables import AckView, AlertView, HeldBack, Links, Variables
from alert_bridge.webhook import Alert, AlertGroup
from cloudpulse import logs

LADDER = ((20, 600), (10, 300), (5, 200), (2, 120), (1, 80), (0, 40))
"""How many alerts are listed and how long each text of theirs may be; the first that fits is sent."""

WHERE_CHARACTERS = 120
"""Of the labels in a title, which a phone shows three lines of."""

LAST_SECOND = 253402300799
"""Of the year 9999."""

NAMELESS = "alert without a name"
_IN_TITLES = frozenset({"alertname", "severity"})

log = logs.get(__name__)


class Wording:
    """Titles and texts for one channel, at most `title_limit` and `text_limit` characters as they are sent.

    Never raises for a message: where a template of the user's fails or makes too much, the default is used, it is
    logged, and `failed` is called with the receiver's name. Without `with_links` the text has none.
    """

    def __init__(
        self,
        channel: Name,
        overrides: Templates = Templates(),  # noqa: B008  frozen
        *,
        title_limit: int = 200,
        text_limit: int = 4000,
        with_links: bool = True,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._channel = channel
        self._failed = failed
        self._with_links = with_links
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
            text = self._laid_out(key, render(template, self._variables(message, count, width)))
            if len(text) <= self._limits[key]:
                return text
        return _cut(CHANNELS[self._channel].escape(_name(message, 40)), self._limits[key])

    def _overridden(self, key: str, message: Message) -> str:
        problem = f"longer than {self._limits[key]} characters"
        try:
            for count, width in LADDER:
                text = render(self._overrides[key], self._variables(message, count, width)).strip()
                if not text:
                    problem = "an empty text"
                    break
                if len(text) <= self._limits[key]:
                    return text
        except Exception as error:  # noqa: BLE001  whatever an expression raises; its text may hold an alert's
            problem = type(error).__name__
            if isinstance(error, jinja2.UndefinedError):
                problem = f"{problem}: {error.message}"
        receiver = message.notification.receiver
        log.error("template not usable, the default is sent", receiver=receiver, template=key, problem=problem)
        return ""

    def _variables(self, message: Message, count: int, width: int) -> dict[str, object]:
        return _variables(message, count, width, with_links=self._with_links).by_name()

    def _laid_out(self, key: str, text: str) -> str:
        lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        if key == "title":
            return " ".join(line.strip() for line in lines)
        if self._channel == "html":  # where spaces at the beginning don't show
            lines = [INDENT + line.lstrip() if line.startswith(" ") else line for line in lines]
        # In Markdown a single line break is none.
        return {"html": BREAK, "markdown": "\n\n"}.get(self._channel, "\n").join(lines)


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


def links(message: Message) -> Links:
    """Where to click; for notifiers that have buttons for them."""
    group = message.notification.group
    told = [alert for alert in group.alerts if alert.firing] or group.alerts
    ack = message.notification.ack
    return Links(
        undo=web_url(ack.undo_url) if ack else "",
        runbook=_only(alert.annotations.get("runbook_url", "") for alert in told),
        ack=web_url(message.ack_url),
        prometheus=_only(alert.generator_url for alert in told),
        alertmanager=web_url(group.external_url),
    )


def _only(urls: Iterable[str]) -> str:
    """The one that there is: of several none is the right one for all alerts."""
    first, *others = set(filter(None, urls)) or {""}
    return "" if others else web_url(first)


def _variables(message: Message, count: int, width: int, *, with_links: bool) -> Variables:
    """As templates see it, with `count` alerts listed and no text of theirs longer than `width`."""
    notification = message.notification
    group = notification.group
    seen = datetime.fromtimestamp(notification.stored_at, UTC)
    firing = [alert for alert in group.alerts if alert.firing]
    resolved = [alert for alert in group.alerts if not alert.firing]
    view = _Views(message, seen, width)
    ends = [alert.ended_at for alert in resolved if alert.ended_at is not None]
    annotations = group.common_annotations
    held_back = notification.summary
    return Variables(
        kind=kind(message),
        name=_name(message, width),
        severity=_clip(severity(message), 20),
        where=_clip(_where(group), min(width, WHERE_CHARACTERS)),
        firing=_Lazily(firing, view),
        resolved=_Lazily(resolved, view),
        listed=[view(alert) for alert in itertools.islice(itertools.chain(firing, resolved), count)],
        more=max(0, len(group.alerts) - count),
        left_out=group.truncated_alerts,
        labels=group.common_labels,
        annotations=annotations,
        summary=_clip(annotations.get("summary", ""), width),
        description=_clip(annotations.get("description", annotations.get("message", "")), width),
        since=_moment(min(alert.starts_at for alert in firing or resolved), seen),
        ended=_moment(max(ends), seen) if ends and not firing else None,
        company=[_companion(one) for one in message.insight.company[:3]],
        ack=_ack(notification.ack, seen, width),
        held_back=HeldBack(held_back.notifications, held_back.incidents) if held_back else None,
        links=links(message) if with_links else Links(),
        receiver=notification.receiver,
        instead_of=_clip(notification.instead_of, 200),
    )


def sentences(outlook: Outlook) -> list[str]:
    """What is known of one alert's series, a sentence each."""
    return [sentence for sentence in (outlook.expected, outlook.ahead, outlook.trust) if sentence]


class _Views:
    """Makes the views of a message's alerts."""

    def __init__(self, message: Message, seen: datetime, width: int) -> None:
        self._seen = seen
        self._width = width
        self._values, self._texts = message.insight.values, message.insight.texts
        self._outlooks = {outlook.fingerprint: outlook for outlook in message.insight.outlooks}
        common = message.notification.group.common_labels
        self._common = {*common, "alertname"}
        self._named = "alertname" in common
        summary = message.notification.summary
        self._acks = summary.acks if summary is not None else {}

    def __call__(self, alert: Alert) -> AlertView:
        name = _clip(alert.labels.get("alertname", NAMELESS), self._width)
        ended = None if alert.firing else alert.ended_at
        outlook = self._outlooks.get(alert.fingerprint, Outlook(alert.fingerprint))
        value = self._texts.get(alert.fingerprint) or _number(self._values.get(alert.fingerprint, math.nan))
        return AlertView(
            name=name,
            title=_clip(self._title(alert), self._width) or name,
            labels=alert.labels,
            annotations=alert.annotations,
            summary=_clip(alert.annotations.get("summary", ""), self._width),
            description=_clip(alert.annotations.get("description", ""), self._width),
            firing=alert.firing,
            since=_moment(alert.starts_at, self._seen),
            ended=_moment(ended, self._seen) if ended else None,
            value=value,
            outlook=[_clip(sentence, 300) for sentence in sentences(outlook)],
            ack=_ack(self._acks.get(alert.fingerprint), self._seen, self._width),
        )

    def _title(self, alert: Alert) -> str:
        """What tells it from the others, or from all other alerts of its name."""
        told = _labels(alert.labels, self._common) or _labels(alert.labels, _IN_TITLES)
        name = "" if self._named else alert.labels.get("alertname", NAMELESS)
        return ": ".join(filter(None, (name, told)))


class _Lazily(Sequence[AlertView]):
    """Views of alerts that are made when looked at: there may be thousands, and few are shown."""

    def __init__(self, alerts: Sequence[Alert], view: _Views) -> None:
        self._alerts = alerts
        self._view = view

    def __len__(self) -> int:
        return len(self._alerts)

    @overload
    def __getitem__(self, index: int) -> AlertView: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[AlertView]: ...

    def __getitem__(self, index: int | slice) -> AlertView | Sequence[AlertView]:
        if isinstance(index, slice):
            return _Lazily(self._alerts[index], self._view)
        return self._view(self._alerts[index])


def _name(message: Message, width: int) -> str:
    alerts = message.notification.group.alerts
    names = list(dict.fromkeys(alert.labels.get("alertname", NAMELESS) for alert in alerts))
    if len(names) == 1:
        return _clip(names[0], width)
    shown = ", ".join(_clip(name, 60) for name in names[:3])
    return f"{len(alerts)} alerts: {shown}" + (" and others" if len(names) > 3 else "")


def _labels(labels: Mapping[str, str], hidden: Collection[str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name not in hidden)


def _where(group: AlertGroup) -> str:
    """What all alerts have in common, what they were grouped by first."""
    rest = _labels(group.common_labels, {*group.group_labels, *_IN_TITLES})
    return ", ".join(filter(None, (_labels(group.group_labels, _IN_TITLES), rest)))


def _companion(one: Companion) -> str:
    labels = _labels(one.labels, set())
    return _clip(f"{one.forecast} ({labels})" if labels else one.forecast, 100)


def _ack(ack: Ack | None, seen: datetime, width: int) -> AckView | None:
    if ack is None:
        return None
    until = _moment(datetime.fromtimestamp(min(max(0.0, ack.until), LAST_SECOND), UTC), seen)
    return AckView(_clip(ack.by, 60), until, _clip(ack.comment, width), ack.whole)


def _number(value: float) -> str:
    """As people read it: 0.1235, 12.35, 1,234,567, +Inf; nothing for NaN."""
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"


def _moment(moment: datetime, seen: datetime) -> Moment:
    try:
        there = moment.astimezone(UTC)
    except OverflowError:  # within hours of year 1 or 9999
        there = moment.replace(tzinfo=UTC)
    text = there.strftime("%H:%M UTC" if there.date() == seen.date() else "%Y-%m-%d %H:%M UTC")
    return Moment(int(there.timestamp()), text)


def _clip(text: str, width: int) -> str:
    return _cut(clean(text).strip(), width)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)].rstrip() + "…"
