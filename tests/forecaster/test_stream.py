"""What each client of the forecaster's stream is told: the newest of forecasts, every anomaly and alert."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloudpulse import __version__
from cloudpulse.streaming import StreamEnded
from cloudpulse.testing import FakeClock
from forecaster import stream
from forecaster.stream import Event, EventFeed, Stream, Wish
from forecaster.table import series_id
from tests.forecaster.test_anomaly import BAND, issue


@pytest.fixture
def running() -> Stream:
    return Stream(FakeClock(7.0), lambda: None)


def said(feed: EventFeed) -> list[Any]:
    """All that there is."""
    texts = []
    while (text := feed.pull()) is not None:
        texts.append(json.loads(text))
    return texts


def kinds(feed: EventFeed) -> list[str]:
    return [told["kind"] for told in said(feed)]


def test_a_client_is_greeted_and_hears_what_happens_from_then_on(running: Stream) -> None:
    running.changed("web", issue([BAND], [100]), True)
    feed = running.feed(Wish())
    assert said(feed) == [{"kind": "hello", "now": 7.0, "version": __version__}]
    running.changed("web", issue([BAND], [100], step=3), False)
    assert said(feed) == [{"kind": "forecast", "forecast": "web", "issued_at": 180.0, "series_count": 1}]
    assert said(feed) == []


def test_a_slow_client_misses_older_forecasts_and_no_anomaly(running: Stream) -> None:
    feed = running.feed(Wish())
    for step in range(5):
        running.changed("web", issue([BAND], [200 if step == 1 else 100], step=step), True)
    _, begins, ends, newest = said(feed)
    assert (begins["state"], begins["at"], ends["state"], ends["at"]) == ("begins", 0.0, "ends", 60.0)
    assert newest["issued_at"] == 240.0
    assert begins["id"] == series_id("web", {"app": "0"})
    assert begins["expected"] == {"0.1": 90, "0.5": 100, "0.9": 110}
    assert begins["observed"] == 200


def test_filters_choose_by_kind_and_forecast_but_an_alert_is_of_none(running: Stream) -> None:
    anomalies = running.feed(Wish(frozenset({"anomaly"})))
    other = running.feed(Wish(forecasts=frozenset({"other"})))
    running.changed("web", issue([BAND], [200]), True)
    running.alert(b'{"id":3,"kind":"acked"}')
    assert kinds(anomalies) == ["hello", "anomaly"]
    assert said(other)[1:] == [{"kind": "alert", "at": 7.0, "alert": {"id": 3, "kind": "acked"}}]


def test_the_newest_alerts_are_told_to_who_comes_later(running: Stream) -> None:
    for number in range(stream.LAST_ALERTS + 5):
        running.alert(b'{"id":%d}' % number)
    heard = said(running.feed(Wish()))[1:]
    assert [told["alert"]["id"] for told in heard] == list(range(5, stream.LAST_ALERTS + 5))
    assert kinds(running.feed(Wish(frozenset({"forecast"})))) == ["hello"]
    running.forget_alerts()
    assert kinds(running.feed(Wish())) == ["hello"]


def test_who_misses_anomalies_is_sent_to_the_overview_and_who_wants_none_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "KEPT", 3)
    running = Stream(FakeClock(7.0), lambda: None)
    slow, careless = running.feed(Wish()), running.feed(Wish(frozenset({"forecast"})))
    for step in range(6):
        running.changed("web", issue([BAND], [200 if step % 2 else 100], step=step), True)
    assert slow.pull() is not None
    with pytest.raises(StreamEnded, match="/api/v1/overview") as ended:
        slow.pull()
    assert ended.value.code == 1013
    assert kinds(careless) == ["hello", "forecast"]


def test_what_a_dropped_forecast_said_is_not_told_any_more(running: Stream) -> None:
    feed = running.feed(Wish())
    running.changed("web", issue([BAND], [200]), True)
    running.changed("web", None, False)
    begins, ends = said(feed)[1:]
    assert (begins["state"], ends["state"]) == ("begins", "ends")
    assert (ends["score"], ends["observed"], ends["at"]) == (None, None, 7.0)


def test_what_a_client_did_not_wish_for_is_looked_at_once(running: Stream) -> None:
    """With 200 clients of quiet forecasts every look at what others said would be made 200 times."""
    feed = running.feed(Wish(frozenset({"anomaly"}), frozenset({"quiet"})))
    assert kinds(feed) == ["hello"]
    running.changed("web", issue([BAND], [200]), True)
    assert kinds(feed) == []
    looked: list[Event] = []

    class Watching(Wish):
        def takes(self, event: Event) -> bool:
            looked.append(event)
            return super().takes(event)

    feed._wish = Watching(frozenset({"anomaly"}), frozenset({"quiet"}))
    assert kinds(feed) == []
    assert looked == []


def test_enormous_alerts_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "KEPT_BYTES", 1000)
    running = Stream(FakeClock(7.0), lambda: None)
    slow = running.feed(Wish())
    for _ in range(2):
        running.alert(b'{"id":1,"text":"%b"}' % (b"x" * 900))
    assert slow.pull() is not None
    with pytest.raises(StreamEnded, match="too slow"):
        slow.pull()
