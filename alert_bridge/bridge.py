"""The bridge put together: from settings to a WSGI app and the threads that deliver."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, ProcessCollector

from alert_bridge import notifiers
from alert_bridge.app import create_app
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.database import Database
from alert_bridge.delivery import Backoff, Delivery, Worker
from alert_bridge.history import History
from alert_bridge.insight import Insights, NoInsights
from alert_bridge.intake import Intake
from alert_bridge.metrics import BacklogMetrics, BridgeMetrics
from alert_bridge.outbox import Outbox
from alert_bridge.router import Router
from alert_bridge.schema import DEAD, PENDING
from cloudpulse import logs
from cloudpulse.build import BuildInfo
from cloudpulse.clock import Clock
from cloudpulse.config import secret_text
from cloudpulse.errors import StoreError
from cloudpulse.serving import Face, Health, Link

TITLE = "CloudPulse alert bridge"
DELIVERY_STOP_SECONDS = 1.0
"""With the server's own stop still within 10 s. What is cut off is delivered after the next start."""

log = logs.get(__name__)


class Bridge:
    """One bridge on one data_dir. Raises StoreError and ConfigError when it can't be put together.

    `registries` are shown on /metrics beside its own.
    `face` is its WSGI app; `start` begins to deliver; `close` lets the data_dir go and leaves what waits for later.
    """

    def __init__(
        self,
        settings: AlertBridgeSettings,
        insights: Insights,
        clock: Clock = time.time,
        registries: Sequence[CollectorRegistry] = (),
    ) -> None:
        names = [receiver.name for receiver in settings.receivers]
        router = Router(settings.routes, settings.fallback_names)
        token = None
        if settings.bearer_token is not None or settings.bearer_token_file is not None:
            token = secret_text(settings.bearer_token, settings.bearer_token_file)
        built = [(r, notifiers.build(r)) for r in settings.receivers for _ in range(r.concurrency)]
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        metrics = BridgeMetrics(registry, names)

        self._database = Database(settings.data_dir)
        self.outbox = Outbox(
            self._database, clock, repeat_after=settings.repeat_after, give_up_after=settings.give_up_after
        )
        stopping = threading.Event()
        backoff = Backoff(settings.retry_first, settings.retry_max)
        nothing = NoInsights()
        workers = [
            Worker(
                receiver.name,
                notifier,
                self.outbox,
                insights if receiver.insight else nothing,
                clock,
                backoff,
                metrics,
                stopping,
            )
            for receiver, notifier in built
        ]
        self._delivery = Delivery(workers, self.outbox, clock, stopping)
        if moved := self.outbox.resume(names, heir=settings.fallback_names[0]):
            log.warning(
                "notifications waited for a receiver that the config no longer has",
                count=moved,
                now_for=settings.fallback_names[0],
            )
        app = create_app(
            Intake(router, self.outbox, self._delivery.wake, metrics),
            self.outbox,
            History(self._database),
            self._delivery.wake,
            metrics,
            receivers=names,
            max_body_bytes=settings.max_body_bytes,
            token=token,
        )
        self.face = Face(
            TITLE,
            (registry, BacklogMetrics(self.outbox, names, clock), *registries, BuildInfo()),
            self._health,
            links=(
                Link("/api/v1/alerts", "Alerts, newest first"),
                Link("/api/v1/notifications", "Notifications, newest first"),
                Link("/api/v1/notifications?state=dead", "Given up"),
            ),
            app=app,
        )

    def start(self) -> None:
        """Begin to deliver, what waits from before first."""
        self._delivery.start()

    def close(self) -> None:
        """Stop delivering and let the data_dir go."""
        self._delivery.stop(DELIVERY_STOP_SECONDS)
        self._database.close()

    def _health(self) -> Health:
        """Ready means: an alert that comes now would be stored; found out by storing something."""
        try:
            self.outbox.probe()
            backlog = self.outbox.backlog()
        except StoreError as error:
            return Health(False, {"outbox": str(error)})
        counts = {state: sum(entry.count for entry in backlog if entry.state == state) for state in (PENDING, DEAD)}
        return Health(True, {"outbox": "writable", "pending": counts[PENDING], "dead_letters": counts[DEAD]})
