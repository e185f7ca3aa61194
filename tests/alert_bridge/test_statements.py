"""What the outbox asks of the database: how much, and by which index, however long the history is."""

from __future__ import annotations

import contextlib

import pytest
from sqlalchemy import event

from alert_bridge import webhook
from alert_bridge.notifier import RateLimit
from alert_bridge.notifiers.log import LogReceiver
from alert_bridge.outbox import Outbox
from alert_bridge.queueing import Terms
from alert_bridge.testing import webhook_body

LIMITED = LogReceiver(name="one", rate_limit=RateLimit(1, 60))


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request):
    return request.getfixturevalue(f"{request.param}_database")


def group(name):
    alerts = [(f"{name}{number}", "firing") for number in range(10)]
    return webhook.parse(webhook_body(*alerts, key=name))


@contextlib.contextmanager
def heard(database):
    """The statements that are executed meanwhile, with their parameters."""
    statements = []

    def hear(connection, cursor, statement, parameters, context, many):
        if statement != "BEGIN" and "pg_advisory_xact_lock" not in statement:
            statements.append((statement, parameters))

    event.listen(database._backend.engine, "before_cursor_execute", hear)
    yield statements
    event.remove(database._backend.engine, "before_cursor_execute", hear)


def test_a_group_costs_twelve_statements_from_its_arrival_to_its_delivery(database, clock):
    """A storm is as many round trips to the database, one after the other."""
    outbox = Outbox(database, clock, Terms(repeat_after=600, give_up_after=3600))
    with heard(database) as statements:
        outbox.store(group("a"), {"one": list(range(10))})
        outbox.delivered(outbox.claim("one"), {})
    assert len(statements) == 12


def test_no_statement_is_built_anew_for_each_group(database, clock):
    """SQLAlchemy takes twenty times as long for that as to execute it."""
    outbox = Outbox(database, clock, Terms(repeat_after=600, give_up_after=3600))
    built = []
    for name in ("a", "b", "c"):
        with prepared(database) as elements:
            outbox.store(group(name), {"one": list(range(10))})
            outbox.delivered(outbox.claim("one"), {})
            outbox.next_due("one", clock())
        built.append([id(element) for element in elements])
    assert built[1] == built[2]


@contextlib.contextmanager
def prepared(database):
    """SQLAlchemy's statements that are executed meanwhile."""
    elements = []

    def hear(connection, element, many, parameters, options):
        elements.append(element)

    event.listen(database._backend.engine, "before_execute", hear)
    yield elements
    event.remove(database._backend.engine, "before_execute", hear)


@pytest.mark.parametrize("receiver", [LogReceiver(name="one"), LIMITED], ids=["unlimited", "limited"])
def test_nothing_that_happens_to_an_alert_reads_a_whole_table_of_sqlite(sqlite_database, clock, receiver):
    for statement, plan in plans(sqlite_database, clock, receiver, "EXPLAIN QUERY PLAN "):
        scans = [step[-1] for step in plan if step[-1].startswith("SCAN")]
        assert scans in ([], ["SCAN CONSTANT ROW"]), statement


@pytest.mark.parametrize("receiver", [LogReceiver(name="one"), LIMITED], ids=["unlimited", "limited"])
def test_nothing_that_happens_to_an_alert_reads_a_whole_table_of_postgresql(postgresql_database, clock, receiver):
    """Where reading a whole table costs more than anything else could, so that small ones are no exception."""
    for statement, plan in plans(postgresql_database, clock, receiver, "EXPLAIN "):
        assert not [step[0] for step in plan if "Seq Scan" in step[0]], statement


def plans(database, clock, receiver, explain):
    """How the database answers all that is asked between a group's arrival and its delivery, and while others wait."""
    outbox = Outbox(database, clock, Terms(repeat_after=600, give_up_after=3600, receivers={"one": receiver}))
    with heard(database) as statements:
        for name in ("a", "b", "c"):
            outbox.store(group(name), {"one": list(range(10))})
        outbox.postponed(outbox.claim("one"), clock() + 1, "refused")
        clock.advance(2)
        while (notification := outbox.claim("one")) is not None:
            outbox.delivered(notification, {"message": "1"})
        outbox.next_due("one", clock())
        outbox.backlog()
        outbox.store(webhook.parse(webhook_body(("a0", "resolved"), key="a")), {"one": [0]})
    found = []
    with database.read() as connection:
        if explain == "EXPLAIN ":
            connection.exec_driver_sql("SET enable_seqscan = off")
        for statement, parameters in statements:
            if statement.startswith(("SELECT", "UPDATE")):
                told = parameters[0] if isinstance(parameters, list) else parameters
                found.append((statement, connection.exec_driver_sql(explain + statement, told).all()))
    return found
