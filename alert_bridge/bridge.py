"""The bridge put together: what lives as long as the process, and what each config makes, replaced at a reload."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from alert_bridge import audit, parts
from alert_bridge.access import Access, Caller, Denied
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.database import Backend, Database
from alert_bridge.delivery import Delivery
from alert_bridge.insight import Insights
from alert_bridge.links import signing_key
from alert_bridge.live import Live, opener
from alert_bridge.metrics import BridgeMetrics, StoredMetrics
from alert_bridge.outbox import Outbox
from alert_bridge.parts import Ground
from alert_bridge.replicas import SILENT_BEATS, Replicas
from alert_bridge.retention import Retention
from alert_bridge.schema import DEAD, PENDING
from alert_bridge.sqlite_file import SqliteFile
from alert_bridge.stream import Stream
from alert_bridge.upkeep import Recurring
from cloudpulse import logs
from cloudpulse.audit import Failures
from cloudpulse.build import BuildInfo
from cloudpulse.clock import Clock
from cloudpulse.config import secret_text
from cloudpulse.denials import Denials
from cloudpulse.errors import ConfigError, StoreError
from cloudpulse.itself import Itself
from cloudpulse.promql import MetricSource
from cloudpulse.reloading import Reload, Rereads
from cloudpulse.serving import Environ, Face, Health, Link
from cloudpulse.streaming import Streams
from cloudpulse.websocket import Refused, WebSocket

TITLE = "CloudPulse alert bridge"
PRUNE_SECONDS = 15
REVIEW_SECONDS = 30
ENDS_SECONDS = 15
DELIVERY_STOP_SECONDS = 1.0
"""With the server's own stop still within 10 s. What is cut off is delivered after the next start."""

FIXED = (
    "data_dir",
    "database",
    "database_file",
    "replica_timeout",
    "retention",
    "max_stored_alerts",
    "stream",
    "insight",
)
"""Settings that a reload can't change."""

log = logs.get(__name__)


class Bridge:
    """One bridge on one data_dir. Raises StoreError and ConfigError when it can't be put together.

    `face` is its WSGI app, with `registries` on /metrics beside its own; `start` begins to deliver; `close` lets the
    data_dir go and leaves what waits for later.
    `reload` takes up what `reread` gives, and `web`; with `lifecycle`, by `POST /-/reload`, too. Nothing in flight is
    cut off: deliveries under way end as they began, while those of the new config already run beside them.
    """

    def __init__(
        self,
        settings: AlertBridgeSettings,
        insights: Insights,
        clock: Clock = time.time,
        *,
        source: MetricSource | None = None,
        registries: Sequence[CollectorRegistry] = (),
        reread: Callable[[], AlertBridgeSettings] | None = None,
        lifecycle: bool = False,
        web: Rereads | None = None,
    ) -> None:
        self._reread = reread or (lambda: settings)
        registry = CollectorRegistry()
        self._metrics = BridgeMetrics(registry, ())
        self._denials = Denials(time.monotonic)
        self._ending = threading.Event()
        self._retiring: list[Delivery] = []
        self._database = Database(_backend(settings))
        try:
            self.outbox = Outbox(self._database, clock, parts.terms(settings))
            self._retention = Retention(
                self._database, clock, seconds=settings.retention, max_alerts=settings.max_stored_alerts
            )
            self._ground = Ground(
                clock=clock,
                database=self._database,
                outbox=self.outbox,
                retention=self._retention,
                metrics=self._metrics,
                insights=insights,
                source=source,
                link_key=signing_key(self._database),
                ending=self._ending,
                wake=self._wake,
                take_up=self._take_up,
                on_denied=self._on_denied,
            )
            self._parts = parts.build(settings, self._ground)
            self._replicas = Replicas(self._database, self.outbox, self._parts.receivers, self._parts.heir)
            self._beat()
        except BaseException:
            self._database.close()
            raise
        self._upkeep = [Recurring("deletion of old alerts", PRUNE_SECONDS, self._retention.prune, self._ending)]
        self._upkeep.append(Recurring("review of acks", REVIEW_SECONDS, self._review, self._ending))
        if self._database.shared:
            beat = settings.replica_timeout / SILENT_BEATS
            self._upkeep.append(Recurring("replica's beat", beat, self._beat, self._ending))
        self._upkeep.append(Recurring("look for ends of taken alerts", ENDS_SECONDS, self._look_for_ends, self._ending))
        self._streams = Streams(settings.stream.most)
        self._stream = Stream(self._database, clock, lambda: self._streams.count, self._streams.wake)
        self._database.on_commit(self._stream.stored)
        self._metrics.streams.set_function(lambda: self._streams.count)
        socket = WebSocket(self._streams, opener(self._stream), self._listening, settings.stream.origins)
        self.reload = Reload(self._apply, clock, web)
        self.face = Face(
            TITLE,
            (
                registry,
                self,
                StoredMetrics(self._retention),
                *registries,
                BuildInfo(),
                Itself(),
                self.reload,
                Failures(),
            ),
            self._health,
            links=(
                Link("/api/v1/alerts?current=true", "What fires now"),
                Link("/api/v1/alerts", "Alerts, newest first"),
                Link("/api/v1/notifications", "Notifications, newest first"),
                Link("/api/v1/notifications?state=dead", "Given up"),
                Link("/stream", "Live"),
                Link("/api/v1/openapi.json", "The API (OpenAPI)"),
            ),
            app=Live(socket, lambda environ, start_response: self._parts.app(environ, start_response)),
            reload=self.reload if lifecycle else None,
        )

    def identify(self, environ: Environ) -> Caller:
        """Who sends this request, under the config in force; raises Denied."""
        return self._parts.access.identify(environ)

    def collect(self) -> Iterable[Metric]:
        """What waits, by the receivers of the config in force."""
        return self._parts.backlog.collect()

    def most_body(self) -> int:
        """Bytes of a request's body under the config in force; the app tells what is more."""
        return self._parts.settings.max_body_bytes

    def start(self) -> None:
        """Begin to deliver, what waits from before first."""
        _warn_if_open(self._parts.access)
        self._parts.delivery.start()
        for recurring in self._upkeep:
            recurring.start()
        self._stream.start()
        self._streams.start()
        if self._parts.watch is not None:
            self._parts.watch.start()

    def stop_streams(self) -> None:
        """Say good-bye to who listens, while the server finishes its requests, which no disk may hold up any more."""
        self._database.hurry()
        self._streams.close()
        self._stream.close()

    def close(self) -> None:
        """Stop delivering and let the data_dir go."""
        self._ending.set()
        self.stop_streams()
        deliveries = [*self._retiring, self._parts.delivery]
        for delivery in deliveries:
            delivery.stop(DELIVERY_STOP_SECONDS / len(deliveries))
        if self._parts.watch is not None:
            self._parts.watch.close(DELIVERY_STOP_SECONDS)
        for recurring in self._upkeep:
            recurring.join(DELIVERY_STOP_SECONDS)
        try:
            self._replicas.leave()
        except StoreError as error:
            log.warning("the other replicas weren't told of the end", error=str(error))
        self._database.close()

    def _review(self) -> None:
        self._parts.acks.review()

    def _beat(self) -> None:
        change = self._replicas.beat()
        self._tell_moved(change.inherited)
        if change.ended:
            log.info("another process ended; what it left is taken over", count=change.ended)
        if change.ended or change.inherited:
            current = self._parts
            current.delivery.wake(current.receivers)

    def _look_for_ends(self) -> None:
        if (ends := self._parts.ends) is not None:
            ends.look()

    def _apply(self) -> None:
        settings = self._reread()
        for name in FIXED:
            if getattr(settings, name) != getattr(self._parts.settings, name):
                raise ConfigError(f"alert_bridge.{name}: needs a restart to change")
        old, new = self._parts, parts.build(settings, self._ground)
        self.outbox.configure(parts.terms(settings))
        # In this order: a request that stored something before it sees `new` is found by what `start` looks for.
        self._parts = new
        self._streams.review()
        new.delivery.start()
        if old.watch is not None:
            old.watch.close(0)
        if new.watch is not None:
            new.watch.start()
        _warn_if_open(new.access)
        self._retiring.append(old.delivery)
        threading.Thread(target=self._retire, args=(old.delivery,), name="retire", daemon=True).start()

    def _retire(self, delivery: Delivery) -> None:
        """Let what is under way end; what then waits for a receiver that is gone is for the fallback."""
        delivery.stop(threading.TIMEOUT_MAX)  # each send has its timeout
        self._retiring.remove(delivery)
        if not self._ending.is_set():
            self._take_up()

    def _take_up(self) -> None:
        """Have everything delivered that waits, whatever receiver it was stored for."""
        current = self._parts
        try:
            self._tell_moved(self._replicas.change(current.receivers, current.heir))
        except StoreError as error:
            log.error("notifications for receivers that are gone not moved", error=str(error))
        current.delivery.wake(current.receivers)

    def _wake(self, receivers: Iterable[str]) -> None:
        current = self._parts
        if not set(receivers) <= set(current.receivers):  # the request began under the config before
            return self._take_up()
        return current.delivery.wake(receivers)

    def _tell_moved(self, count: int) -> None:
        if count:
            text = "notifications waited for a receiver that the config no longer has"
            log.warning(text, count=count, now_for=self._parts.heir)

    def _listening(self, environ: Environ) -> None:
        try:
            self.identify(environ)
        except Denied as denied:
            asking = [("WWW-Authenticate", denied.challenge)] if denied.status == HTTPStatus.UNAUTHORIZED else []
            raise Refused(HTTPStatus(denied.status), str(denied), asking) from denied

    def _on_denied(self, refused: Denied, environ: Environ, action: str) -> None:
        self._metrics.denied.labels(refused.cause).inc()
        audit.denied(self._denials, refused, environ, action)

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
    from alert_bridge.postgresql import Postgres  # its driver is 20 MiB, which a bridge on SQLite does without

    return Postgres(secret_text(settings.database, settings.database_file))


def _warn_if_open(access: Access) -> None:
    if access.open:
        log.warning(
            "anyone who reaches this address may read and change everything",
            hint="set alert_bridge.api_keys and bearer_token, or let only trusted networks reach it",
        )
