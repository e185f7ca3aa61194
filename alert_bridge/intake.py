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
from cloudpulse.errors import StoreError

log = logs.get(__name__)


class Intake:
    """Accepts groups, from any thread; `wake` hears which receivers have something new."""

    def __init__(
        self,
        router: Router,
        outbox: Outbox,
        retention: Retention,
        wake: Callable[[Iterable[str]], None],
        metrics: BridgeMetrics,
        clock: Clock,
    ) -> None:
        self._router = router
        self._outbox = outbox
        self._retention = retention
        self._wake = wake
        self._metrics = metrics
        self._clock = clock

    def accept(self, body: bytes) -> Stored:
        """The group is on disk when this returns.

        Raises InvalidBody for what can never be valid, StoreError when it could not be stored.
        """
        try:
            group = webhook.parse(body)
            if not group.over:  # an end makes room: what it ends may then be deleted
                self._retention.admit()
            plan = self._router.plan(group, self._clock())
            stored = self._outbox.store(group, plan.now, plan.muted)
        except InvalidBody as error:
            self._metrics.rejected.labels("invalid").inc()
            log.warning("webhook refused", error=str(error))
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
        log.debug("webhook stored", group=stored.group_id, duplicate=stored.duplicate, alerts=len(group.alerts))
        return stored
