"""SIGKILL at random moments, under load, against a receiver that fails at random: nothing is lost or out of order.

A few rounds here; `make kill` runs 200 and prints what it counted (CLOUDPULSE_KILL_ROUNDS).
"""

import itertools
import json
import os
import random
import socket
import struct
import sys
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from alert_bridge.testing import eventually, webhook_body

ROUNDS = int(os.environ.get("CLOUDPULSE_KILL_ROUNDS", "3"))
INCIDENTS = 8
DRAIN_SECONDS = 120 + 2 * ROUNDS
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST
RECEIVER_TIMEOUT = 1.0


class BadReceiver(ThreadingHTTPServer):
    """Takes most posts; for the others it fails in every way that a service on the net has."""

    daemon_threads = True

    def __init__(self, seed):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.dice = random.Random(seed)
        self.bad = True
        self.taken = []  # (time, incident, number, idempotency key), as they came
        self.failures = defaultdict(int)
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """A bridge that is killed closes its connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        arrived = time.monotonic()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            way = server.dice.choice(["take"] * 18 + ["500", "429", "timeout", "reset"]) if server.bad else "take"
            pause = server.dice.uniform(0, 0.01)
            if way != "take":
                server.failures[way] += 1
        if way == "timeout":
            time.sleep(1.5 * RECEIVER_TIMEOUT)
        time.sleep(pause)
        if way == "take" and time.monotonic() - arrived > RECEIVER_TIMEOUT / 3:
            way = "reset"  # on a busy machine: taken, but answered too late, would be a duplicate without a kill
        if way in ("timeout", "reset"):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.connection.close()
            self.close_connection = True
            return
        if way == "take":
            number = int(body["alerts"][0]["fingerprint"])
            with server.lock:
                server.taken.append((arrived, body["groupKey"], number, self.headers["Idempotency-Key"]))
        self.send_response(200 if way == "take" else int(way))
        if way == "429":
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format, *args):  # noqa: A002  http.server's name
        """Nothing."""


@pytest.fixture
def bad_receiver():
    with BadReceiver(seed=7) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Clients:
    """One per incident, which posts the next alert when the one before was accepted, as Alertmanager does."""

    def __init__(self, bridges):
        self._bridges = bridges
        self.accepted = {str(incident): 0 for incident in range(INCIDENTS)}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._post, args=(incident,)) for incident in self.accepted]
        for thread in self._threads:
            thread.start()

    @property
    def count(self):
        return sum(self.accepted.values())

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _post(self, incident):
        dice = random.Random(int(incident))
        for number in itertools.count():
            body = webhook_body((str(number), dice.choice(["firing", "resolved"])), key=incident)
            while not self._try(dice.choice(self._bridges), body):
                if self._stop.wait(0.02):
                    return
            self.accepted[incident] = number + 1
            if self._stop.wait(dice.uniform(0.02, 0.2)):
                return

    @staticmethod
    def _try(bridge, body):
        try:
            return requests.post(f"{bridge.url}/api/v1/alerts", data=body, timeout=15).status_code == 200
        except requests.RequestException:
            return False


def kill_in_turn(bridges, clients, bad, dice):
    """Each round kills the next bridge soon after some more alerts were accepted and delivered; returns when."""
    kills = []
    for number in range(ROUNDS):
        accepted, taken = clients.count + dice.randint(1, 30), len(bad.taken) + dice.randint(0, 30)
        eventually(lambda a=accepted, t=taken: clients.count >= a and len(bad.taken) >= t, 120)
        time.sleep(dice.uniform(0, 0.05))
        bridge = bridges[number % len(bridges)]
        kills.append(time.monotonic())
        bridge.kill()
        bridge.start()
    return kills


def judge(bad, clients, kills, concurrency):
    """0 lost, order kept, and a duplicate only around a kill, with the same key; prints the figures.

    The bridge may be dead for a moment when the receiver's thread first sees what it had sent.
    """
    times, keys, order = defaultdict(list), defaultdict(set), defaultdict(list)
    for at, incident, number, key in bad.taken:
        times[incident, number].append(at)
        keys[incident, number].add(key)
        order[incident].append(number)
    lost = [(i, n) for i, count in clients.accepted.items() for n in range(count) if (i, n) not in times]
    doubled = [(first, second) for seen in times.values() for first, second in itertools.pairwise(seen)]
    figures = {
        "rounds": len(kills),
        "accepted": clients.count,
        "taken": len(bad.taken),
        "failures": dict(bad.failures),
        "lost": len(lost),
        "duplicates": len(doubled),
        "out of order": sum(numbers != sorted(numbers) for numbers in order.values()),
    }
    sys.stdout.write(f"\n{json.dumps(figures)}\n")
    assert lost == []
    assert figures["out of order"] == 0
    assert all(len(found) == 1 for found in keys.values()), "a duplicate with another key"
    assert len(set.union(*keys.values())) == len(keys), "one key for two"
    assert all(any(first - 1 <= kill <= second for kill in kills) for first, second in doubled), (
        "a duplicate without a kill"
    )
    assert len(doubled) <= concurrency * len(kills)


def drained(bridge):
    def nothing_waits():
        return requests.get(f"{bridge.url}/health", timeout=30).json().get("pending") == 0

    eventually(nothing_waits, DRAIN_SECONDS)


CONFIG = """
  receivers: [{{name: one, type: webhook, url: '{url}/hook', timeout: 1s, concurrency: 4}}]
  retry_first: 20ms
  retry_max: 200ms
"""


def test_a_bridge_killed_again_and_again_loses_nothing(start_bridge, bad_receiver):
    bridge = start_bridge(CONFIG.format(url=bad_receiver.url))
    clients = Clients([bridge])
    kills = kill_in_turn([bridge], clients, bad_receiver, random.Random(1))
    clients.stop()
    bad_receiver.bad = False
    drained(bridge)
    judge(bad_receiver, clients, kills, concurrency=4)


def test_two_replicas_killed_in_turn_lose_nothing(start_bridge, bad_receiver, postgresql):
    """Each takes over what the other was sending, while Alertmanager's posts go to either."""
    shared = f"  database: '{postgresql.new_database()}'\n  replica_timeout: 5s\n"
    bridges = [start_bridge(CONFIG.format(url=bad_receiver.url) + shared) for _ in range(2)]
    clients = Clients(bridges)
    kills = kill_in_turn(bridges, clients, bad_receiver, random.Random(2))
    clients.stop()
    bad_receiver.bad = False
    drained(bridges[0])
    judge(bad_receiver, clients, kills, concurrency=4)
