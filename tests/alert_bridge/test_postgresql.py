import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import select

from alert_bridge import events, schema, webhook
from alert_bridge.database import Database
from alert_bridge.outbox import Outbox
from alert_bridge.postgresql import Postgres, parse
from alert_bridge.queueing import Terms
from alert_bridge.replicas import Replicas
from alert_bridge.testing import eventually, webhook_body
from cloudpulse.errors import ConfigError, StoreError

FIRST, ELSEWHERE = (webhook.parse(webhook_body(("a", "firing"), key=key)) for key in ("here", "elsewhere"))


@pytest.fixture
def database(postgresql_database):
    return postgresql_database


@pytest.fixture
def url(postgresql):
    return postgresql.new_database()


@pytest.mark.parametrize(
    "wrong",
    [
        "SECRET",
        "mysql://u:SECRET@host/db",
        "http://u:SECRET@host/db",
        "postgresql+psycopg://u:SECRET@host/db",
        "postgresql://u:pa/SECRET@host/db",
        "postgresql://u:12/SECRET@host/db",
        "postgresql://u:pa@SECRET@host/db",
        "postgresql://u:p@host/db?pass=SECRET",
        "postgresql://u:p@host:SECRET/db",
        "postgresql://u:%zzSECRET@host/db",
    ],
)
def test_a_wrong_url_is_refused_without_showing_any_of_it(wrong):
    with pytest.raises(ConfigError, match="database: expected a URL such as postgresql://") as caught:
        Postgres(wrong)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("postgres://u:p@host/db", "host"),
        ("postgresql://u:p%40%2F@one:5432,two:5433/db?target_session_attrs=read-write", "one,two"),
        ("postgresql://u@[::1]:5432/db?sslmode=verify-full", "::1"),
        ("postgresql:///db?host=/run/postgresql", "/run/postgresql"),
        ("postgresql://", None),
    ],
)
def test_what_libpq_takes_is_taken(url, host):
    assert parse(url).get("host") == host


def test_who_is_not_let_in_hears_why_but_not_the_password(postgresql):
    wrong = postgresql.url("postgres").replace("w0rd", "wr0ng")
    with pytest.raises(StoreError, match=r"at 127\.0\.0\.1: can't open .* authentication failed") as caught:
        Database(Postgres(wrong))
    assert "wr0ng" not in str(caught.value)
    with pytest.raises(StoreError, match='"no_such" does not exist'):
        Database(Postgres(postgresql.url("no_such")))


def test_values_of_rows_are_in_no_message(database):
    twice = schema.replicas.insert().values(id="PRIVATE", beats=0, receivers="[]")
    database.write(lambda connection: connection.execute(twice).rowcount)
    with pytest.raises(StoreError, match="duplicate key value") as caught:
        database.write(lambda connection: connection.execute(twice).rowcount)
    assert "PRIVATE" not in str(caught.value)


def test_tables_of_something_else_or_of_a_newer_version_are_left_alone(url):
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE alerts (name TEXT)")
    with pytest.raises(StoreError, match=r"tables of something else \(alerts\)"):
        Database(Postgres(url))
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE alerts")
    Database(Postgres(url)).close()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(StoreError, match="written by a newer CloudPulse"):
        Database(Postgres(url))


def test_replicas_may_start_at_the_same_moment(url):
    barrier = threading.Barrier(4)

    def start(_):
        barrier.wait()
        Database(Postgres(url)).close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(start, range(4)))
    Database(Postgres(url)).close()


def version_2(url, clock):
    """A database of that version, with a notification that waits; its shape is what version 3 added taken away."""
    database = Database(Postgres(url))
    Outbox(database, clock, Terms(repeat_after=600, give_up_after=3600)).store(FIRST, {"one": [0]})
    database.close()
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE notifications DROP COLUMN trace")
        connection.execute("UPDATE schema_version SET version = 2")


def test_of_replicas_that_start_together_one_brings_an_older_database_up_to_date(url, clock):
    version_2(url, clock)
    barrier = threading.Barrier(4)

    def start(_):
        barrier.wait()
        return Database(Postgres(url))

    with ThreadPoolExecutor(4) as pool:
        databases = list(pool.map(start, range(4)))
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchall() == [(schema.VERSION,)]
    outbox = Outbox(databases[0], clock, Terms(repeat_after=600, give_up_after=3600))
    Replicas(databases[0], outbox, ["one"], "one").beat()
    waiting = outbox.claim("one")
    assert (waiting.group.alerts[0].fingerprint, waiting.trace) == ("a", None)
    for database in databases:
        database.close()


def test_a_step_that_fails_leaves_the_database_as_it_was(url, clock):
    version_2(url, clock)
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE notifications ADD COLUMN trace INTEGER")
    with pytest.raises(StoreError, match='column "trace" of relation "notifications" already exists'):
        Database(Postgres(url))
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchall() == [(2,)]


def test_a_restart_of_the_server_is_an_error_and_then_forgotten(postgresql, database, outbox):
    outbox.store(FIRST, {"one": [0]})
    postgresql.stop()
    try:
        for call in (outbox.probe, outbox.backlog, lambda: outbox.store(ELSEWHERE, {"one": [0]})):
            with pytest.raises(StoreError, match=r"can't (read|write) the outbox: .*(refused|closed|lost|terminat)"):
                call()
    finally:
        postgresql.start()
    outbox.probe()
    assert not outbox.store(ELSEWHERE, {"one": [0]}).duplicate
    assert outbox.store(FIRST, {"one": [0]}).duplicate


def test_a_connection_that_broke_while_it_was_not_used_is_not_missed(url, clock, monkeypatch):
    monkeypatch.setattr("alert_bridge.postgresql.UNUSED_SECONDS", 0)
    database = Database(Postgres(url))
    outbox = Outbox(database, clock, Terms(repeat_after=600, give_up_after=3600))
    outbox.backlog()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    outbox.probe()
    outbox.backlog()
    database.close()


def test_one_that_no_longer_takes_writes_is_left_for_a_new_connection(url, clock, monkeypatch):
    """After a failover, connections to the old primary would refuse for ever."""
    monkeypatch.setattr("alert_bridge.postgresql.UNUSED_SECONDS", 0)
    database = Database(Postgres(url))
    outbox = Outbox(database, clock, Terms(repeat_after=600, give_up_after=3600))
    name = url.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        with pytest.raises(StoreError, match="read-only transaction"):
            outbox.probe()
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    outbox.probe()
    database.close()


def test_no_id_becomes_visible_after_a_higher_one(url):
    """The stream reads events by rising id; a later one that is committed first must not exist."""
    slow, quick = Database(Postgres(url)), Database(Postgres(url))
    has_turn, go_on = threading.Event(), threading.Event()

    def waiting(connection):
        events.record(connection, 0, "pending", writer="slow")
        has_turn.set()
        assert go_on.wait(10)

    def waiters():
        with slow.read() as connection:
            asked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            return connection.exec_driver_sql(asked).scalar_one()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(slow.write, waiting)
        assert has_turn.wait(10)
        second = pool.submit(quick.write, lambda c: events.record(c, 0, "pending", writer="quick"))
        eventually(lambda: waiters() == 1)
        go_on.set()
        first.result(10)
        second.result(10)
    with slow.read() as connection:
        found = connection.execute(select(schema.events.c.body).order_by(schema.events.c.id)).scalars().all()
    assert found == ['{"writer":"slow"}', '{"writer":"quick"}']
    slow.close()
    quick.close()


def test_a_claim_passes_over_what_another_takes_at_this_moment(url, clock):
    one, other = Database(Postgres(url)), Database(Postgres(url))
    outbox = Outbox(one, clock, Terms(repeat_after=600, give_up_after=3600))
    for told in (FIRST, ELSEWHERE):
        outbox.store(told, {"one": [0]})
    taking, done = threading.Event(), threading.Event()

    def take(connection):
        claimed = select(schema.notifications.c.id).order_by(schema.notifications.c.id).limit(1).with_for_update()
        connection.execute(claimed).scalar_one()
        taking.set()
        done.wait(10)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(other.write, take)
        assert taking.wait(10)
        assert outbox.claim("one").group == ELSEWHERE
        done.set()
        held.result(10)
    one.close()
    other.close()


def test_a_commit_is_on_disk_even_where_the_server_is_set_not_to_wait(url):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET synchronous_commit = off")
    database = Database(Postgres(url))
    shown = database.write(lambda connection: connection.exec_driver_sql("SHOW synchronous_commit").scalar_one())
    assert shown == "on"
    database.close()
