"""The stream of replicas that share a PostgreSQL: each tells what the others store, and none leaves out anything."""

import json
import threading

import pytest
import requests
from websockets.sync.client import connect

from alert_bridge.testing import webhook_body

pytest.importorskip("alert_bridge.testing_postgresql")  # until the outbox is kept there, too

EACH = 150


def hear(url, ids, done):
    with connect(f"{url.replace('http', 'ws', 1)}/api/v1/stream?after=0&kinds=alerts") as client:
        while not done(ids):
            told = json.loads(client.recv(20))
            assert told["kind"] != "reset"
            if told["kind"] == "alerts":
                ids.append((told["id"], told["alerts"][0]["fingerprint"]))


def test_each_replica_tells_what_any_of_them_stores_in_the_same_order(start_bridge, postgresql):
    database = postgresql.new_database()
    bridges = [start_bridge(f"  database: '{database}'\n") for _ in range(2)]

    def post(place, bridge):
        for number in range(EACH):
            name = f"{place}-{number}"
            body = webhook_body((name, "firing"), key=name)
            requests.post(f"{bridge.url}/api/v1/alerts", data=body, timeout=20).raise_for_status()

    heard = [[], [], []]
    urls = [bridges[0].url, bridges[1].url, bridges[1].url]
    listeners = [
        threading.Thread(target=hear, args=(url, ids, lambda ids: len(ids) == 2 * EACH))
        for url, ids in zip(urls, heard, strict=True)
    ]
    writers = [threading.Thread(target=post, args=one) for one in enumerate(bridges)]
    for thread in [*listeners, *writers]:
        thread.start()
    for thread in [*writers, *listeners]:
        thread.join(60)
    assert heard[0] == heard[1] == heard[2]
    assert [number for number, _ in heard[0]] == sorted({number for number, _ in heard[0]})
    assert {name for _, name in heard[0]} == {f"{place}-{n}" for place in range(2) for n in range(EACH)}
