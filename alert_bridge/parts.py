"""What one config makes of the bridge: its deliveries, its web app and who may use it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flask import Flask

from alert_bridge import notifiers
from alert_bridge.access import Access, Denied
from alert_bridge.acks import Acks
from alert_bridge.acting import acting
from alert_bridge.alertmanager import Alertmanager
from alert_bridge.app import create_app
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.database import Database
from alert_bridge.delivery import Backoff, Delivery, Pause, Worker
from alert_bridge.dismissals import Dismissals
from alert_bridge.duty import Duty
from alert_bridge.ends import Ends
from alert_bridge.grafana.client import Grafana
from alert_bridge.grafana.crossings import Crossings
from alert_bridge.grafana.watch import HELD_SECONDS, Watch
from alert_bridge.history import History
from alert_bridge.insight import Insights, NoInsights
from alert_bridge.intake import Intake
from alert_bridge.intervals import Calendar
from alert_bridge.linkpages import link_pages
from alert_bridge.links import Links
from alert_bridge.metrics import BacklogMetrics, BridgeMetrics
from alert_bridge.notifier import Surroundings
from alert_bridge.outbox import Outbox
from alert_bridge.queueing import Terms
from alert_bridge.reading import reading
from alert_bridge.retention import Retention
from alert_bridge.router import Router
from alert_bridge.story import Stories
from cloudpulse.clock import Clock
from cloudpulse.promql import MetricSource
from cloudpulse.serving import Environ


@dataclass(frozen=True)
class Ground:
    """What outlives each config, and what the bridge does when asked: for any thread.

    `wake` hears which receivers have something new, `take_up` looks for all that is due; `ending` is set when the
    process ends; `on_denied` counts and tells of who was refused for what.
    """

    clock: Clock
    database: Database
    outbox: Outbox
    retention: Retention
    metrics: BridgeMetrics
    insights: Insights
    source: MetricSource | None
    link_key: str
    ending: threading.Event
    wake: Callable[[Iterable[str]], None]
    take_up: Callable[[], None]
    on_denied: Callable[[Denied, Environ, str], None]


@dataclass(frozen=True)
class Parts:
    """What one config makes; not yet started."""

    settings: AlertBridgeSettings
    delivery: Delivery
    access: Access
    acks: Acks
    backlog: BacklogMetrics
    app: Flask
    watch: Watch | None
    ends: Ends | None

    @property
    def receivers(self) -> tuple[str, ...]:
        """Names of all receivers."""
        return tuple(receiver.name for receiver in self.settings.all_receivers)

    @property
    def heir(self) -> str:
        """Who gets what waits for a receiver that is gone."""
        return self.settings.fallback_names[0]


def build(settings: AlertBridgeSettings, ground: Ground) -> Parts:
    """Everything that a reload replaces. Raises ConfigError, and touches nothing of what runs."""
    surroundings = Surroundings(
        ground.clock,
        settings.allow_link_local,
        lambda receiver: ground.metrics.template_failures.labels(receiver).inc(),
    )
    names = tuple(receiver.name for receiver in settings.all_receivers)
    access = Access(settings, ground.on_denied)
    links = Links(settings.external_url, ground.link_key, settings.links_expire_after, ground.clock)
    always = [] if settings.grafana is None else [settings.grafana.name]
    router = Router(settings.routes, settings.fallback_names, Calendar(settings.time_intervals), always)
    acks = Acks(
        ground.database,
        ground.outbox,
        settings.alertmanager,
        settings.allow_link_local,
        links,
        ground.wake,
        ground.clock,
    )
    workers = _workers(settings, surroundings, links, ground)
    ground.metrics.expect(names)
    return Parts(
        settings,
        Delivery(workers, ground.outbox, ground.clock, threading.Event(), router.muted),
        access,
        acks,
        BacklogMetrics(ground.outbox, names, ground.clock),
        _app(settings, access, acks, links, router, ground),
        _watch(settings, surroundings, ground),
        _ends(settings, ground),
    )


def terms(settings: AlertBridgeSettings) -> Terms:
    """What the outbox takes of a config."""
    receivers = {receiver.name: receiver for receiver in settings.all_receivers}
    return Terms(settings.repeat_after, settings.give_up_after, receivers)


def _workers(settings: AlertBridgeSettings, surroundings: Surroundings, links: Links, ground: Ground) -> list[Worker]:
    backoff = Backoff(settings.retry_first, settings.retry_max)
    nothing = NoInsights()
    pauses = {receiver.name: Pause() for receiver in settings.all_receivers}
    return [
        Worker(
            receiver.name,
            notifiers.build(receiver, surroundings),
            ground.outbox,
            ground.insights if receiver.insight else nothing,
            ground.clock,
            backoff,
            ground.metrics,
            ground.ending,  # and not when a new config stops the delivery: a result is recorded all the same
            pauses[receiver.name],
            links.ack,
            ground.wake,
        )
        for receiver in settings.all_receivers
        for _ in range(receiver.concurrency)
    ]


def _app(
    settings: AlertBridgeSettings, access: Access, acks: Acks, links: Links, router: Router, ground: Ground
) -> Flask:
    database, outbox, clock = ground.database, ground.outbox, ground.clock
    history, stories = History(database), Stories(database, clock)
    intake = Intake(
        router, outbox, ground.retention, ground.wake, ground.metrics, clock, max_alerts=settings.max_alerts
    )
    return create_app(
        intake,
        access,
        ground.metrics,
        (
            reading(history, stories),
            acting(outbox, acks, Dismissals(database, clock), ground.take_up),
            link_pages(links, acks, history, stories, ground.on_denied),
        ),
        max_body_bytes=settings.max_body_bytes,
    )


def _watch(settings: AlertBridgeSettings, surroundings: Surroundings, ground: Ground) -> Watch | None:
    """What draws predictions, where it is asked for and there is a Prometheus to ask."""
    grafana = settings.grafana
    if grafana is None or ground.source is None or not (grafana.predictions or grafana.live):
        return None
    client = Grafana(grafana, surroundings)
    crossings = Crossings(client, ground.source, ground.clock, draw=grafana.predictions, push=grafana.live)
    return Watch(crossings, Duty(ground.database, "predictions to grafana", HELD_SECONDS))


def _ends(settings: AlertBridgeSettings, ground: Ground) -> Ends | None:
    """What asks for the ends of taken alerts, where there is an Alertmanager to ask."""
    if settings.alertmanager is None:
        return None
    alertmanager = Alertmanager(settings.alertmanager, settings.allow_link_local)
    return Ends(ground.database, ground.outbox, alertmanager, ground.wake, ground.clock)
