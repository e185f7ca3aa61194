"""Alerts as annotations: a line when one fires, a region once it has ended."""

from __future__ import annotations

import hashlib
import html
import re
from datetime import datetime

from alert_bridge.grafana.client import Annotation, Grafana, fitting
from alert_bridge.grafana.lines import line
from alert_bridge.grafana.settings import GrafanaSettings
from alert_bridge.notifier import DeliveryFailed, Memory, Message, Surroundings
from alert_bridge.webhook import Alert
from cloudpulse import logs

TAG = "cloudpulse"
KIND = "alert"
MOST = 50
"""New annotations of one notification: beyond that no graph can show them."""
LONGEST = 2000

_UID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_PANEL = re.compile(r"[0-9]{1,9}")

log = logs.get(__name__)


class GrafanaNotifier:
    """Draws each alert once, and remembers Grafana's id of it until it has ended.

    Each has a tag of its own, so that a repeated attempt finds what an earlier one drew before it failed.
    """

    def __init__(self, settings: GrafanaSettings, surroundings: Surroundings) -> None:
        self._grafana = Grafana(settings, surroundings)
        self._live = settings.live
        self._clock = surroundings.clock

    def send(self, message: Message) -> Memory:
        """Acks aren't drawn: the alert fires on."""
        notification = message.notification
        if notification.ack is not None:
            return notification.memory
        memory = dict(notification.memory)
        missing = MOST
        for alert in notification.group.alerts:
            key = _key(alert)
            known = memory.pop(key, None)
            if alert.firing:
                if known is None and missing > 0:
                    missing -= 1
                    known = str(self._drawn(alert, key, again=notification.attempt > 1))
                if known is not None:
                    memory[key] = known
            elif known is None or not self._grafana.change(int(known), timeEnd=_end(alert)):
                self._drawn(alert, key, again=notification.attempt > 1)
        if self._live:
            self._push(notification.group.alerts)
        return {} if notification.group.over else memory

    def _drawn(self, alert: Alert, key: str, *, again: bool) -> int:
        """The id of its annotation, a new one unless an earlier attempt left one."""
        found = self._grafana.find(TAG, key) if again else []
        if not found:
            return self._add(_annotation(alert, key))
        if not alert.firing:
            self._grafana.change(found[0].id, timeEnd=_end(alert))
        return found[0].id

    def _add(self, annotation: Annotation) -> int:
        try:
            return self._grafana.add(annotation)
        except DeliveryFailed as error:
            if not annotation.dashboard or error.status not in (400, 403, 404):
                raise
        # The alert's dashboard may be gone, or not this service account's: then it is drawn for all.
        bare = Annotation(annotation.time, annotation.text, annotation.tags, annotation.time_end)
        return self._grafana.add(bare)

    def _push(self, alerts: tuple[Alert, ...]) -> None:
        """Who looks at Grafana now sees it; that nobody could is no reason to try again later."""
        now = self._clock()
        lines = [
            line("alerts", alert.labels, {"firing": int(alert.firing), "summary": _summary(alert)}, now)
            for alert in alerts[:MOST]
        ]
        try:
            self._grafana.push(lines)
        except DeliveryFailed as error:
            log.warning("alerts not pushed to Grafana Live", error=str(error))


def _annotation(alert: Alert, key: str) -> Annotation:
    labels = sorted(alert.labels.items(), key=lambda one: (one[0] not in ("alertname", "severity"), one[0]))
    tags = fitting(TAG, KIND, key, *(f"{name}:{value}" for name, value in labels))
    # Grafana shows texts as (sanitised) HTML; what an alert says is no markup.
    text = html.escape(f"{alert.labels.get('alertname', '')}: {_summary(alert)}"[:LONGEST])
    dashboard, panel = _place(alert)
    return Annotation(_milliseconds(alert.starts_at), text, tags, 0 if alert.firing else _end(alert), dashboard, panel)


def _summary(alert: Alert) -> str:
    told = alert.annotations.get("summary") or alert.annotations.get("description")
    return told or " ".join(f"{name}={value}" for name, value in sorted(alert.labels.items()))


def _place(alert: Alert) -> tuple[str, int]:
    """The dashboard's UID and the panel that the alert names (Grafana's own annotations, or dashboard_uid); or none."""
    told = alert.annotations
    uid = told.get("__dashboardUid__") or told.get("dashboard_uid") or ""
    panel = told.get("__panelId__") or told.get("panel_id") or ""
    if not _UID.fullmatch(uid):
        return "", 0
    return uid, int(panel) if _PANEL.fullmatch(panel) else 0


def _key(alert: Alert) -> str:
    """A tag that no other episode of any alert has."""
    told = f"{alert.fingerprint} {alert.starts_at.timestamp()}"
    return f"{TAG}:{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def _end(alert: Alert) -> int:
    # An alert without an end that no longer fires doesn't exist (Alert.firing); a region needs a length.
    ended = alert.ended_at or alert.starts_at
    return max(_milliseconds(ended), _milliseconds(alert.starts_at) + 1)


def _milliseconds(moment: datetime) -> int:
    return max(1, round(moment.timestamp() * 1000))
