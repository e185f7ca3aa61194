"""PostgreSQL under the outbox: several replicas share it; found by a URL, which libpq itself reads.

Source: https://www.postgresql.org/docs/current/libpq-connect.html (URL, parameters), explicit-locking.html (advisory
locks), transaction-iso.html.
"""

from __future__ import annotations

import math
import re
import time
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

from cloudpulse.errors import ConfigError

_TURN = 0x636C6F7564  # "cloud": our advisory lock; such locks are per database, and so is the outbox

_PARAMETERS = {  # unless the URL says otherwise: a server that is gone is noticed before the webhook's caller goes
    "connect_timeout": "4",
    "tcp_user_timeout": "8000",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "application_name": "cloudpulse alert-bridge",
}
UNUSED_SECONDS = 1.0
"""After that a connection is asked whether it still is one, before it is used again."""

_OPTIONS = "-c statement_timeout=8s -c idle_in_transaction_session_timeout=10s"
"""A replica that stands still in the middle of its turn holds up the others no longer than that."""

_TAKE_TURN = (
    # Also "durable when it returns", where the server's default is to answer before its log is on disk.
    "SELECT CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', true) END"
    f", pg_advisory_xact_lock({_TURN})"
)
_HOST = re.compile(r"[A-Za-z0-9_.:%-]*|/[^@]*")
_EXPECTED = (
    "database: expected a URL such as postgresql://user:password@host:5432/name "
    "(percent-encode what isn't a letter or digit in the password: @ as %40, / as %2F)"
)


class Postgres:
    """A Backend. Raises ConfigError for a wrong URL, without showing any of it."""

    shared = True

    def __init__(self, url: str) -> None:
        parts = parse(url)
        self._secrets = [parts[key] for key in ("password", "sslpassword") if parts.get(key)]
        options = f"{_OPTIONS} {parts.get('options', '')}"
        self._conninfo = make_conninfo("", **{**_PARAMETERS, **parts, "options": options})
        host = parts.get("host") or parts.get("hostaddr") or "the local server"
        self.name = f"PostgreSQL database {parts.get('dbname', '(default)')} at {host}"
        self.engine = create_engine(
            "postgresql+psycopg://",
            creator=self._connect,
            pool_size=5,
            max_overflow=15,
            pool_timeout=5,
            hide_parameters=True,
        )
        self.reader: Engine = self.engine.execution_options(isolation_level="REPEATABLE READ")

        @event.listens_for(self.engine, "checkin")
        def used(_: object, record: ConnectionPoolEntry) -> None:
            record.info["used"] = time.monotonic()

        @event.listens_for(self.engine, "checkout")
        def ping(connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
            # As pool_pre_ping does, but not in a storm, where a round trip more for each transaction counts.
            if time.monotonic() - record.info.get("used", math.inf) > UNUSED_SECONDS:
                try:
                    self.engine.dialect.do_ping(connection)
                except psycopg.Error as error:
                    raise InvalidatePoolError from error

        @event.listens_for(self.engine, "handle_error")
        def failed(context: ExceptionContext) -> None:
            # After a failover the old primary refuses to write; another connection may find the new one.
            if isinstance(context.original_exception, psycopg.errors.ReadOnlySqlTransaction):
                context.is_disconnect = True

    def check(self) -> None:
        """The server itself says when it can't write."""

    def take_turn(self, connection: Connection) -> None:
        """By an advisory lock that ends with the transaction, after its rows are visible to all others.

        Ids come from sequences, in the order of asking; whoever has the turn asks and commits before the next one
        asks, so no id becomes visible after a higher one. Each statement sees what was committed before it began
        (READ COMMITTED), thus all that was written in earlier turns.
        """
        connection.exec_driver_sql(_TAKE_TURN)

    def version(self, connection: Connection) -> int:
        """Of a table with one row, which is made here."""
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)")
        return connection.exec_driver_sql("SELECT version FROM schema_version").scalar() or 0

    def set_version(self, connection: Connection, version: int) -> None:
        """Within the transaction, like the tables themselves."""
        connection.exec_driver_sql("DELETE FROM schema_version")
        connection.exec_driver_sql("INSERT INTO schema_version VALUES (%s)", (version,))

    def tell_spread(self, connection: Connection) -> None:
        """PostgreSQL looks by itself, when it vacuums."""

    def reason(self, error: DBAPIError) -> str:
        """The first line: PostgreSQL puts rows' values into those after it."""
        text = next(iter(str(error.orig).splitlines()), type(error.orig).__name__)
        for secret in self._secrets:
            text = text.replace(secret, "<secret>")
        return text

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._conninfo)


def parse(url: str) -> dict[str, str]:
    """libpq's parameters in a URL. Raises ConfigError that shows nothing of it.

    A password with a bare @ or / would put the rest of it into the host's or the database's name, which errors show.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigError(_EXPECTED)
    try:
        parts: dict[str, str] = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    except psycopg.Error:
        raise ConfigError(_EXPECTED) from None
    hosts, ports = parts.get("host", "").split(","), parts.get("port", "").split(",")
    plausible = (
        all(_HOST.fullmatch(host) for host in hosts)
        and all(port == "" or port.isdecimal() for port in ports)
        and not re.search("[@/:]", parts.get("dbname", ""))
    )
    if not plausible:
        raise ConfigError(_EXPECTED)
    return parts
