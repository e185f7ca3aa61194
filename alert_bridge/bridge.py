"""The bridge put together: from settings to a WSGI app and the threads that deliver."""

from __future__ import annotations

import threading
import time

from prometheus_client import CollectorRegistry, ProcessCollector

from alert_bridge import notifiers
from alert_bridge.app import create_app
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.database import Database
from alert_bridge.delivery import Backoff, Delivery, Worker
from alert_bridge.duty import Duty
from alert_bridge.grafana.client import Grafana
from alert_bridge.grafana.crossings import Crossings
from alert_bridge.grafana.watch import HELD_SECONDS, Watch
from alert_bridge.history import History
from alert_bridge.insight import Insights, NoInsights
from alert_bridge.intake import Intake
from alert_bridge.live import Live, opener
from alert_bridge.metrics import BacklogMetrics, BridgeMetrics
from alert_bridge.notifier import Surroundings
from alert_bridge.outbox import Outbox
from alert_bridge.router import Router
from alert_bridge.schema import DEAD, PENDING
from alert_bridge.stream import Stream
from cloudpulse import logs
from cloudpulse.build import BuildInfo
from cloudpulse.clock import Clock
from cloudpulse.config import secret_text
from cloudpulse.errors import StoreError
from cloudpulse.promql import MetricSource
from cloudpulse.serving import Environ, Face, Health, Link
from cloudpulse.streaming import Streams
from cloudpulse.websocket import WebSocket

TITLE = "CloudPulse alert bridge"
DELIVERY_STOP_SECONDS = 1.0
"""With the server's own stop still within 10 s. What is cut off is delivered after the next start."""

log = logs.get(__name__)


class Bridge:
    """One bridge on one data_dir. Raises StoreError and ConfigError when it can't be put together.

    `face` is its WSGI app; `start` begins to deliver; `close` lets the data_dir go and leaves what waits for later.
    """

    def __init__(
        self,
        settings: AlertBridgeSettings,
        insights: Insights,
        clock: Clock = time.time,
        source: MetricSource | None = None,
    ) -> None:
        names = [receiver.name for receiver in settings.all_receivers]
        router = Router(
            settings.routes, settings.fallback_names, [] if settings.grafana is None else [settings.grafana.name]
        )
        token = None
        if settings.bearer_token is not None or settings.bearer_token_file is not None:
            token = secret_text(settings.bearer_token, settings.bearer_token_file)
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        metrics = BridgeMetrics(registry, names)
        surroundings = Surroundings(
            clock, settings.allow_link_local, lambda receiver: metrics.template_failures.labels(receiver).inc()
        )
        built = [(r, notifiers.build(r, surroundings)) for r in settings.all_receivers for _ in range(r.concurrency)]

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
        self._watch = _watch(settings, source, self._database, surroundings)
        self._streams = Streams(settings.stream.most)
        self._stream = Stream(self._database, clock, lambda: self._streams.count, self._streams.wake)
        self._database.on_commit(self._stream.stored)
        metrics.streams.set_function(lambda: self._streams.count)
        socket = WebSocket(self._streams, opener(self._stream), _anyone, settings.stream.origins)
        self.face = Face(
            TITLE,
            (registry, BacklogMetrics(self.outbox, names, clock), BuildInfo()),
            self._health,
            links=(
                Link("/api/v1/alerts", "Alerts, newest first"),
                Link("/api/v1/notifications", "Notifications, newest first"),
                Link("/api/v1/notifications?state=dead", "Given up"),
                Link("/stream", "Live"),
            ),
            app=Live(socket, app),
        )

    def start(self) -> None:
        """Begin to deliver, what waits from before first."""
        self._delivery.start()
        self._stream.start()
        self._streams.start()
        if self._watch is not None:
            self._watch.start()

    def stop_streams(self) -> None:
        """Say good-bye to who listens, while the server finishes its requests."""
        self._streams.close()
        self._stream.close()

    def close(self) -> None:
        """Stop delivering and let the data_dir go."""
        self.stop_streams()
        if self._watch is not None:
            self._watch.close(DELIVERY_STOP_SECONDS)
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


def _watch(
    settings: AlertBridgeSettings, source: MetricSource | None, database: Database, surroundings: Surroundings
) -> Watch | None:
    """What draws predictions, where it is asked for and there is a Prometheus to ask."""
    grafana = settings.grafana
    if grafana is None or source is None or not (grafana.predictions or grafana.live):
        return None
    client = Grafana(grafana, surroundings)
    crossings = Crossings(client, source, surroundings.clock, draw=grafana.predictions, push=grafana.live)
    return Watch(crossings, Duty(database, "predictions to grafana", HELD_SECONDS))


def _anyone(_: Environ) -> None:
    """Reading is open, as everywhere on the bridge."""
