"""Two real Alertmanagers that both post: people hear once, whether or not they know of each other."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
import requests

from alert_bridge.testing import eventually, free_port
from alert_bridge.testing_alertmanager import PROGRAM, Alertmanager

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Alertmanager: sh .ci/programs")


def bridge_lines(to, more=""):
    return f"  receivers: [{{name: one, type: webhook, url: '{to}/hook'}}]\n{more}"


@pytest.fixture(params=["one bridge", "two replicas"])
def bridges(request, start_bridge, receiver):
    """One for each Alertmanager, or the same for both."""
    _, to = receiver
    if request.param == "one bridge":
        return [start_bridge(bridge_lines(to))] * 2
    url = request.getfixturevalue("postgresql").new_database()
    return [start_bridge(bridge_lines(to, f"  database: '{url}'\n")) for _ in range(2)]


@pytest.fixture(params=["cluster", "strangers"])
def alertmanagers(request, bridges, tmp_path):
    ports = [free_port(), free_port()]
    with contextlib.ExitStack() as stack:
        pair = []
        for number, bridge in enumerate(bridges):
            place = tmp_path / f"alertmanager{number}"
            cluster = {"gossip": ports[number], "peers": [ports[1 - number]]} if request.param == "cluster" else {}
            pair.append(stack.enter_context(Alertmanager(place, bridge.url, **cluster)))
        if request.param == "cluster":
            eventually(lambda: all(len(one.cluster()["peers"]) == 2 for one in pair), 30)
        yield pair


def duplicates(bridge):
    metrics = requests.get(f"{bridge.url}/metrics", timeout=10).text.splitlines()
    (line,) = (line for line in metrics if line.startswith("cloudpulse_alert_bridge_duplicates_total "))
    return float(line.rpartition(" ")[2])


def test_people_hear_once_of_firing_update_and_resolve(alertmanagers, bridges, receiver, request):
    app, _ = receiver
    began = datetime.now(UTC) - timedelta(minutes=1)

    def tell(*names, **times):
        alerts = [
            {"labels": {"alertname": "Disk", "disk": name}, "startsAt": began.isoformat(), **times} for name in names
        ]
        for one in alertmanagers:
            one.tell(*alerts)

    def heard():
        return [sorted((a["labels"]["disk"], a["status"]) for a in post["body"]["alerts"]) for post in app.taken]

    expected = [
        [("a", "firing")],
        [("a", "firing"), ("b", "firing")],
        [("a", "resolved"), ("b", "resolved")],
    ]
    strangers = "strangers" in request.node.name
    for number, step in enumerate(
        (lambda: tell("a"), lambda: tell("b"), lambda: tell("a", "b", endsAt=datetime.now(UTC).isoformat()))
    ):
        step()
        eventually(lambda number=number: len(heard()) > number, 30)
        if strangers:  # wait for the other's post, too, before something new happens
            eventually(lambda number=number: sum(duplicates(b) for b in dict.fromkeys(bridges)) > number, 30)
    assert heard() == expected
    assert len({post["headers"]["IDEMPOTENCY-KEY"] for post in app.taken}) == 3
