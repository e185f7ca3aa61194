"""The way in: a webhook's body is parsed, routed and stored, and its deliveries begin."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from alert_bridge import webhook
from alert_bridge.metrics import BridgeMetrics
from alert_bridge.outbox import Outbox, Stored
from alert_bridge.retention import Retention
from alert_bridge.router import Router
from alert_bridge.webhook import InvalidBody
from cloudpulse import logs
from cloudpulse.clock import Clock
from cloudpulse.errors import CloudPulseError, StoreError

log = logs.get(__name__)


class TooManyAlerts(CloudPulseError):
    """A group with more alerts than the config allows."""


class Intake:
    """Accepts groups of at most `max_alerts`, from any thread; `wake` hears which receivers have something new."""

    def __init__(
        self,
        router: Router,
        outbox: Outbox,
        retention: Retention,
        wake: Callable[[Iterable[str]], None],
        metrics: BridgeMetrics,
        clock: Clock,
        *,
        max_alerts: int,
    ) -> None:
        self._router = router
        self._outbox = outbox
        self._retention = retention
        self._wake = wake
        self._metrics = metrics
        self._clock = clock
        self._max_alerts = max_alerts

    def accept(self, body: bytes) -> Stored:
        """The group is on disk when this returns.

        Raises InvalidBody for what can never be valid, TooManyAlerts, StoreError when it could not be stored.
        """
        try:
            group = webhook.parse(body)
            if len(group.alerts) > self._max_alerts:
                raise TooManyAlerts(f"{len(group.alerts)} alerts in one group, more than max_alerts {self._max_alerts}")
            if not group.over:  # an end makes room: what it ends may then be deleted
                self._retention.admit()
            plan = self._router.plan(group, self._clock())
            stored = self._outbox.store(group, plan.now, plan.muted)
        except TooManyAlerts as error:
            self._metrics.rejected.labels("too_many_alerts").inc()
            hint = "raise alert_bridge.max_alerts, or set max_alerts in Alertmanager's webhook_config"
            log.error("webhook not stored; Alertmanager will send it again", error=str(error), hint=hint)
            raise
        except InvalidBody as error:
            self._metrics.rejected.labels("invalid").inc()
            log.error("webhook refused, and Alertmanager will not send it again", error=str(error))
            raise
        except StoreError as error:
            self._metrics.rejected.labels("storage").inc()
            log.error("webhook not stored; Alertmanager will send it again", error=str(error))
            raise
        if stored.duplicate:
            self._metrics.duplicates.inc()
        else:
            for alert in group.alerts:
                self._metrics.received.labels(alert.status).inc()
            self._wake(stored.receivers)
        log.info("webhook stored", group=stored.group_id, duplicate=stored.duplicate, alerts=len(group.alerts))
        return stored
