"""How long the bridge's lists, stories, health and metrics take over a long history, on SQLite and PostgreSQL.

    python -m benchmarks.history [--alerts 1000000] [--requests 20] [--only sqlite]

Fills a database by SQL with that many alerts (groups of 10) and as many notifications, 1 % of them dead letters and
0.1 % waiting, then asks a real bridge over HTTP. Prints the median and the slowest answer of each request, and the
CPU time of the bridge for one, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import psutil
import requests
from sqlalchemy import Connection

from alert_bridge.database import Backend, Database
from alert_bridge.history import moment
from alert_bridge.postgresql import Postgres
from alert_bridge.sqlite_file import SqliteFile
from alert_bridge.testing import BridgeProcess
from alert_bridge.testing_postgresql import PostgresServer, programs
from benchmarks.machine import cpu_seconds, facts, load

LIMIT_MS = 100
RECEIVERS = 10
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "
ALERT = """'{"status":"' || CASE WHEN i % 3 = 0 THEN 'resolved' ELSE 'firing' END || '","labels":{"alertname":"Alert'
|| (i % 50) || '","namespace":"shop","instance":"10.0.0.1:9100","severity":"warning","job":"node","pod":"shop-' || i ||
'"},"annotations":{"summary":"something is about to happen on shop-' || i || '","description":"' ||
'a text of the usual length that says what it means and what to do about it, with a link' || '"},"startsAt":"2026-11-23'
|| 'T14:32:05.680718Z","endsAt":"0001-01-01T00:00:00Z","generatorURL":"http://prometheus.example:9090/graph?g0.expr=up"'
|| ',"fingerprint":"print' || (i % 50000) || '"}'"""
GROUP = """'{"version":"4","groupKey":"key","receiver":"bridge","status":"firing","alerts":[]}'"""


def fill(connection: Connection, alerts: int) -> None:
    """Ids and times rise together; an incident is one of 20,000, and a firing one has a later resolve mostly."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    groups = alerts // 10
    now = time.time()
    numbers = NUMBERS.format
    for statement in (
        numbers(count=groups)
        + f"""INSERT INTO groups (id, key, incident, status, stored_at, body)
        SELECT i, 'key' || i, 'incident' || (i % 20000), CASE WHEN i % 3 = 0 THEN 'resolved' ELSE 'firing' END,
        {now - 86400} + i * {86400 / groups}, {GROUP} FROM n""",
        numbers(count=alerts)
        + f"""INSERT INTO alerts
        (id, group_id, incident, fingerprint, alertname, status, stored_at, body)
        SELECT i, (i + 9) / 10, 'incident' || (((i + 9) / 10) % 20000), 'print' || (i % 50000), 'Alert' || (i % 50),
        CASE WHEN i % 3 = 0 THEN 'resolved' ELSE 'firing' END, {now - 86400} + i * {86400 / alerts}, {ALERT} FROM n""",
        numbers(count=alerts)
        + f"""INSERT INTO notifications
        (id, group_id, positions, receiver, incident, idempotency_key, state, attempts, stored_at, due_at, give_up_at,
        finished_at, last_error, urgent) SELECT i, (i + 9) / 10,
        '[0,1,2,3,4,5,6,7,8,9]', 'receiver' || (i % {RECEIVERS}),
        'incident' || (((i + 9) / 10) % 20000), 'idempotency' || i,
        CASE WHEN i % 1000 = 7 THEN 'pending' WHEN i % 100 = 3 THEN 'dead' ELSE 'delivered' END, 1,
        {now - 86400} + i * {86400 / alerts}, {now} + 86400, {now} + 86400,
        CASE WHEN i % 1000 = 7 THEN NULL ELSE {now} END, CASE WHEN i % 100 = 3 THEN 'answered 500' END, FALSE FROM n""",
        numbers(count=alerts)
        + f"""INSERT INTO events (id, at, kind, body)
        SELECT i, {now - 86400} + i * {86400 / alerts}, 'delivered', '{{"notificationId":1}}' FROM n""",
    ):
        # Two per cent signs stand for one where the driver looks for placeholders.
        told = statement.replace("%", "%%") if connection.dialect.name == "postgresql" else statement
        connection.exec_driver_sql(told)  # fmt: skip


def asked(alerts: int) -> list[str]:
    """The requests: unfiltered, each filter, filters that have little in common, deep pages, the largest page."""
    deep = f"before={alerts // 20}"
    day = time.time() - 86400
    spans = [
        f"since={quote(moment(day + hours * 3600))}&until={quote(moment(day + (hours + 1) * 3600))}"
        for hours in (2, 22)
    ]
    return [
        "/api/v1/alerts",
        "/api/v1/alerts?limit=1000",
        f"/api/v1/alerts?{deep}",
        "/api/v1/alerts?status=resolved",
        f"/api/v1/alerts?status=firing&{deep}",
        "/api/v1/alerts?alertname=Alert7",
        f"/api/v1/alerts?alertname=Alert7&status=resolved&{deep}",
        "/api/v1/alerts?alertname=Alert7&fingerprint=print8",
        "/api/v1/alerts?fingerprint=print4711",
        "/api/v1/alerts?incident=incident4711",
        "/api/v1/alerts?incident=incident4711&alertname=Alert7",
        "/api/v1/alerts?alertname=NoSuch&status=firing",
        *(f"/api/v1/alerts?{span}" for span in spans),
        f"/api/v1/alerts?alertname=Alert7&{spans[0]}",
        "/api/v1/alerts/print4711",
        "/api/v1/notifications",
        "/api/v1/notifications?limit=1000",
        f"/api/v1/notifications?{deep}",
        "/api/v1/notifications?state=dead",
        f"/api/v1/notifications?state=delivered&{deep}",
        "/api/v1/notifications?state=pending",
        "/api/v1/notifications?receiver=receiver3&state=dead",
        "/api/v1/notifications?receiver=receiver4&state=dead",
        "/api/v1/notifications?receiver=receiver4&state=pending",
        "/api/v1/notifications?incident=incident4711&state=dead",
        f"/api/v1/notifications?receiver=receiver4&{deep}",
        *(f"/api/v1/notifications?{span}" for span in spans),
        f"/api/v1/notifications?state=dead&{spans[0]}",
        f"/api/v1/notifications/{alerts // 2}",
        "/health",
        "/-/ready",
        "/metrics",
    ]


def measure(bridge: BridgeProcess, requests_each: int, alerts: int) -> float:
    """Print each; returns the slowest."""
    process = psutil.Process(bridge.process.pid)
    session = requests.Session()
    worst = 0.0
    for path in asked(alerts):
        took = []
        before = cpu_seconds(process)
        for _ in range(requests_each):
            started = time.perf_counter()
            answer = session.get(f"{bridge.url}{path}", timeout=60)
            took.append(time.perf_counter() - started)
            if answer.status_code != 200:
                raise SystemExit(f"{path}: {answer.status_code} {answer.text[:200]}")
        cpu = (cpu_seconds(process) - before) / requests_each
        took.sort()
        worst = max(worst, took[-1])
        print(f"  {took[len(took) // 2] * 1000:7.1f} {took[-1] * 1000:7.1f} {cpu * 1000:7.1f} ms  {path}", flush=True)
    return worst


def run(name: str, backend: Backend, place: Path, lines: str, options: argparse.Namespace) -> None:
    """Fill, start a bridge on it, ask."""
    database = Database(backend)
    started = time.perf_counter()
    database.write(lambda connection: fill(connection, options.alerts), seconds=None)
    if isinstance(backend, Postgres):
        with backend.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("SET statement_timeout = 0")
            connection.exec_driver_sql("VACUUM ANALYZE")  # what autovacuum does within a minute
    database.close()
    print(
        f"{name}: filled in {time.perf_counter() - started:.0f} s; median and slowest of {options.requests}, mean CPU:"
    )
    bridge = BridgeProcess(place, lines)
    try:
        worst = measure(bridge, options.requests, options.alerts)
        verdict = "within" if worst * 1000 < LIMIT_MS else "over"
        print(f"{name}: slowest of all {worst * 1000:.1f} ms ({verdict} {LIMIT_MS}), {load()}")
        if isinstance(backend, SqliteFile):
            print(f"{name}: {backend.path.stat().st_size / options.alerts:.0f} bytes on disk per alert, all included")
    finally:
        bridge.kill()


def main() -> None:
    """Both kinds, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=20)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    options = parser.parse_args()
    receivers = ", ".join(f"{{name: receiver{n}, type: log}}" for n in range(RECEIVERS))
    lines = f"  receivers: [{receivers}]\n  max_stored_alerts: {2 * options.alerts}\n"
    print(f"{facts()}; {options.alerts} alerts and as many notifications")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if options.only != "postgresql":
            data_dir = place / "sqlite" / "data"
            run("SQLite", SqliteFile(data_dir), place / "sqlite", lines, options)
        if options.only != "sqlite" and (found := programs()) is not None:
            server = PostgresServer(found)
            try:
                url = server.new_database()
                run("PostgreSQL", Postgres(url), place / "postgresql", f"{lines}  database: '{url}'\n", options)
            finally:
                server.remove()


if __name__ == "__main__":
    main()
