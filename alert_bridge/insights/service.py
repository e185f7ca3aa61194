"""`Insights` in front of Prometheus: a deadline, a few threads, silence rather than delay."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from alert_bridge.insight import NOTHING, Insight
from alert_bridge.insights.config import InsightSettings
from alert_bridge.insights.inquiry import MOST_ALERTS, Expired, Inquiry, Slow
from alert_bridge.insights.picture import Painter
from alert_bridge.webhook import AlertGroup
from cloudpulse import logs, names, trace
from cloudpulse.clock import Clock
from cloudpulse.errors import CloudPulseError, SourceUnavailable
from cloudpulse.promql import MetricSource

DEADLINE_SECONDS = 2.8
"""Of the 3 s that are promised; the rest is for a busy machine."""
WORKERS = 3
WAITING = 3
"""Inquiries that may wait for a worker. More are turned away at once: they would be late anyway."""
IDLE_SECONDS = 0.5
KEPT_SECONDS = 60.0
KEPT = 64
FAILURES = 3
"""After so many in a row nothing is asked until Prometheus answers a trial."""
TRIAL_SECONDS = 15.0
STOP_SECONDS = 2.5
"""Enough for a query's end. A thread that draws must have ended before the interpreter does: C++ would abort."""
BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5)
RESULTS = ("found", "kept", "nothing", "late", "shed", "paused", "failed")

log = logs.get(__name__)


class _Draft:
    """An inquiry under way: what is known so far, and until when anyone waits for more."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.insight = NOTHING
        self.done = threading.Event()

    def tell(self, insight: Insight) -> None:
        self.insight = insight

    def going(self) -> bool:
        return time.monotonic() < self.until


class PrometheusInsights:
    """Insights from a Prometheus. What several receivers ask at about the same time is found out once.

    At the deadline it answers with what is known by then. `registry` has its own metrics.
    """

    def __init__(self, source: MetricSource, settings: InsightSettings, clock: Clock = time.time) -> None:
        self._source = source
        self._settings = settings
        self._clock = clock
        self._painter = Painter(settings.zone)
        self._slow = Slow()
        self._jobs: queue.Queue[Callable[[], None]] = queue.Queue(WAITING)
        self._kept: OrderedDict[object, _Draft] = OrderedDict()
        self._lock = threading.Lock()
        self._failures = 0
        self._trial_at = 0.0
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._work, name="insight", daemon=True) for _ in range(WORKERS)]
        self.registry = CollectorRegistry()
        self._results = names.BRIDGE_INSIGHTS.counter(self.registry)
        self._duration = names.BRIDGE_INSIGHT_DURATION.histogram(self.registry, BUCKETS)
        for result in RESULTS:
            self._results.labels(result)

    def start(self, *, warm: bool = True) -> None:
        """Begin to answer; `warm` loads in the background what draws, some 30 MB, before it is needed."""
        if warm:
            self._threads.append(threading.Thread(target=self._warm, name="insight warms up", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ask no more; what is under way ends with its query, and holds up no exit."""
        self._stopped.set()
        until = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))

    def of(self, group: AlertGroup) -> Insight:
        """See Insights."""
        began = time.monotonic()
        try:
            result, insight = self._of(group, began + DEADLINE_SECONDS)
        except Exception:  # the message matters more than any bug here
            log.exception("insight broke")
            result, insight = "failed", NOTHING
        self._results.labels(result).inc()
        self._duration.observe(time.monotonic() - began)
        return insight

    def _of(self, group: AlertGroup, until: float) -> tuple[str, Insight]:
        key = _key(group)
        with self._lock:
            draft, result = self._fresh(key), "kept"
            if draft is None:
                if self._stopped.is_set():
                    return "paused", NOTHING
                if self._failures >= FAILURES:
                    self._try_again()
                    return "paused", NOTHING
                draft, result = _Draft(until), "found"
                try:
                    self._jobs.put_nowait(self._job(group, draft))
                except queue.Full:
                    return "shed", NOTHING
                self._kept[key] = draft
        if not draft.done.wait(max(0.0, until - time.monotonic())):
            draft.done.set()  # nobody else waits for it either
            self._counted(failed=True)
            return "late", draft.insight
        return (result if draft.insight != NOTHING else "nothing"), draft.insight

    def _fresh(self, key: object) -> _Draft | None:
        """What was found out for the same lately; with the lock held."""
        oldest = time.monotonic() - KEPT_SECONDS + DEADLINE_SECONDS
        while self._kept and (next(iter(self._kept.values())).until < oldest or len(self._kept) > KEPT):
            self._kept.popitem(last=False)
        return self._kept.get(key)

    def _job(self, group: AlertGroup, draft: _Draft) -> Callable[[], None]:
        def going() -> bool:
            return draft.going() and not self._stopped.is_set()

        place = trace.current()

        def run() -> None:
            with trace.within(place):
                inquire()

        def inquire() -> None:
            try:
                now = self._clock()
                Inquiry(group, self._source, self._settings, self._painter, now, self._slow, going, draft.tell).run()
                self._counted(failed=False)
            except Expired:
                pass  # counted by who waited
            except SourceUnavailable as error:
                self._counted(failed=True)
                log.info("no insight", error=str(error)[:300])
            except Exception:
                log.exception("insight broke")
            finally:
                draft.done.set()

        return run

    def _counted(self, *, failed: bool) -> None:
        with self._lock:
            self._failures = self._failures + 1 if failed else 0
            if self._failures == FAILURES:
                self._trial_at = time.monotonic() + TRIAL_SECONDS
                log.warning("insight is not found in time: messages go without until Prometheus answers a trial")

    def _try_again(self) -> None:
        """Ask something small in the background, so that no message waits for it; with the lock held."""
        if time.monotonic() < self._trial_at:
            return
        self._trial_at = time.monotonic() + TRIAL_SECONDS
        try:
            self._jobs.put_nowait(self._trial)
        except queue.Full:
            return

    def _trial(self) -> None:
        try:
            self._source.instant("vector(1)")
        except CloudPulseError:  # a secret's file that can't be read is a ConfigError
            return
        with self._lock:
            self._failures = 0
        log.info("Prometheus answers: messages have their insight again")

    def _work(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Empty):
                self._jobs.get(timeout=IDLE_SECONDS)()

    def _warm(self) -> None:
        try:
            self._painter.warm()
        except Exception:  # without it there are no pictures, and everything else
            log.exception("no pictures: matplotlib can't be used")


def _key(group: AlertGroup) -> object:
    """What an inquiry depends on: the alerts that it looks at."""
    return tuple(
        (one.fingerprint, one.status, one.starts_at, one.generator_url, tuple(sorted(one.labels.items())))
        for one in group.alerts[: 10 * MOST_ALERTS]
    )
