"""The bridge put together: from settings to a WSGI app and the threads that deliver."""

from __future__ import annotations

import threading
import time

from prometheus_client import CollectorRegistry, ProcessCollector

from alert_bridge import notifiers
from alert_bridge.app import create_app
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.database import Backend, Database
from alert_bridge.delivery import Backoff, Delivery, Worker
from alert_bridge.history import History
from alert_bridge.insight import Insights, NoInsights
from alert_bridge.intake import Intake
from alert_bridge.metrics import BacklogMetrics, BridgeMetrics, StoredMetrics
from alert_bridge.outbox import Outbox
from alert_bridge.postgresql import Postgres
from alert_bridge.replicas import SILENT_BEATS, Replicas
from alert_bridge.retention import Retention
from alert_bridge.router import Router
from alert_bridge.schema import DEAD, PENDING
from alert_bridge.sqlite_file import SqliteFile
from alert_bridge.upkeep import Recurring
from cloudpulse import logs
from cloudpulse.build import BuildInfo
from cloudpulse.clock import Clock
from cloudpulse.config import secret_text
from cloudpulse.errors import StoreError
from cloudpulse.serving import Face, Health, Link

TITLE = "CloudPulse alert bridge"
PRUNE_SECONDS = 15
DELIVERY_STOP_SECONDS = 1.0
"""With the server's own stop still within 10 s. What is cut off is delivered after the next start."""

log = logs.get(__name__)


class Bridge:
    """One bridge on one data_dir. Raises StoreError and ConfigError when it can't be put together.

    `face` is its WSGI app; `start` begins to deliver; `close` lets the data_dir go and leaves what waits for later.
    """

    def __init__(self, settings: AlertBridgeSettings, insights: Insights, clock: Clock = time.time) -> None:
        names = [receiver.name for receiver in settings.receivers]
        router = Router(settings.routes, settings.fallback_names)
        token = None
        if settings.bearer_token is not None or settings.bearer_token_file is not None:
            token = secret_text(settings.bearer_token, settings.bearer_token_file)
        built = [(r, notifiers.build(r)) for r in settings.receivers for _ in range(r.concurrency)]
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        metrics = BridgeMetrics(registry, names)

        self._database = Database(_backend(settings))
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
        self._receivers = names
        self._replicas = Replicas(self._database, self.outbox, names, heir=settings.fallback_names[0])
        self._retention = Retention(
            self._database, clock, seconds=settings.retention, max_alerts=settings.max_stored_alerts
        )
        self._upkeep = [Recurring("deletion of old alerts", PRUNE_SECONDS, self._retention.prune, stopping)]
        if self._database.shared:
            beat = settings.replica_timeout / SILENT_BEATS
            self._upkeep.append(Recurring("replica's beat", beat, self._beat, stopping))
        self._beat()
        app = create_app(
            Intake(router, self.outbox, self._retention, self._delivery.wake, metrics),
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
            (registry, BacklogMetrics(self.outbox, names, clock), StoredMetrics(self._retention), BuildInfo()),
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
        for recurring in self._upkeep:
            recurring.start()

    def close(self) -> None:
        """Stop delivering and let the data_dir go."""
        self._delivery.stop(DELIVERY_STOP_SECONDS)
        for recurring in self._upkeep:
            recurring.join(DELIVERY_STOP_SECONDS)
        try:
            self._replicas.leave()
        except StoreError as error:
            log.warning("the other replicas weren't told of the end", error=str(error))
        self._database.close()

    def _beat(self) -> None:
        change = self._replicas.beat()
        if change.inherited:
            log.warning("notifications waited for a receiver that no config has any more", count=change.inherited)
        if change.ended:
            log.info("another process ended; what it left is taken over", count=change.ended)
        if change.ended or change.inherited:
            self._delivery.wake(self._receivers)

    def _health(self) -> Health:
        """Ready means: an alert that comes now would be stored; found out by storing something."""
        try:
            self.outbox.probe()
            self._retention.admit()
            backlog = self.outbox.backlog()
        except StoreError as error:
            return Health(False, {"outbox": str(error)})
        counts = {state: sum(entry.count for entry in backlog if entry.state == state) for state in (PENDING, DEAD)}
        return Health(True, {"outbox": "writable", "pending": counts[PENDING], "dead_letters": counts[DEAD]})


def _backend(settings: AlertBridgeSettings) -> Backend:
    if settings.database is None and settings.database_file is None:
        return SqliteFile(settings.data_dir)
    return Postgres(secret_text(settings.database, settings.database_file))
