"""The outbox' tables. Times are Unix seconds; ids rise in the order of storing and are never used again."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    TypeDecorator,
    and_,
    literal_column,
)
from sqlalchemy.sql.expression import ColumnElement, FromClause

VERSION = 3
"""Counts up with every change that an older program couldn't read."""

State = Literal["pending", "delivered", "dead", "muted"]
Finished = Literal["delivered", "dead"]

PENDING: State = "pending"
DELIVERED: Finished = "delivered"
DEAD: Finished = "dead"
MUTED: State = "muted"  # told nobody; `finished_at` once that is final, until then looked at again at `due_at`

FIRING = "firing"
RESOLVED = "resolved"

metadata = MetaData()


class WithoutNul(TypeDecorator[str]):
    """Any text: PostgreSQL's type knows no NUL, which JSON and so a label may hold; U+FFFD stands for it there."""

    impl = sqlalchemy.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """As it can be stored and searched for."""
        return None if value is None else value.replace("\0", "\ufffd")


Text = sqlalchemy.Text().with_variant(WithoutNul(), "postgresql")

_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts only INTEGER keys up by itself

groups = Table(
    "groups",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("key", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("stored_at", Double, nullable=False),
    Column("body", Text, nullable=False),  # JSON of the group without its alerts
    Index("groups_by_key", "key", "stored_at"),
    Index("groups_by_incident", "incident", "id"),
    sqlite_autoincrement=True,
)

alerts = Table(
    "alerts",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("group_id", _ID, ForeignKey("groups.id", ondelete="CASCADE"), nullable=False),
    Column("incident", Text, nullable=False),  # its group's
    Column("fingerprint", Text, nullable=False),
    Column("alertname", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("stored_at", Double, nullable=False),
    Column("body", Text, nullable=False),  # JSON of the alert
    Index("alerts_by_group", "group_id"),
    # With the status at the end: a second filter is answered from the index, without a look at each row.
    Index("alerts_by_incident", "incident", "id", "status"),
    Index("alerts_by_fingerprint", "fingerprint", "id", "status"),
    Index("alerts_by_name", "alertname", "id", "status"),
    Index("alerts_by_status", "status", "id"),
    sqlite_autoincrement=True,
)

firing = Table(  # which rows of `alerts` are the last word on an alert of an incident, and tell that it fires
    "firing",
    metadata,
    Column("incident", Text, primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("alertname", Text, nullable=False),
    Column("alert_id", _ID, ForeignKey("alerts.id", ondelete="CASCADE"), nullable=False),
    Index("firing_by_alert", "alert_id"),
    Index("firing_by_fingerprint", "fingerprint", "alert_id"),
    Index("firing_by_name", "alertname", "alert_id"),
)

notifications = Table(
    "notifications",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("group_id", _ID, ForeignKey("groups.id", ondelete="CASCADE"), nullable=False),
    Column("positions", Text, nullable=False),  # JSON list: which of the group's alerts this receiver gets
    Column("receiver", Text, nullable=False),
    Column("incident", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("stored_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("claimed_by", Text),  # the id of the replica that is sending it
    Column("give_up_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("last_error", Text),
    Column("progress", Text),  # JSON: texts by name that its notifier kept when an attempt failed
    Column("ack", Text),  # JSON of the Ack that this notification tells of; else it tells of the alerts themselves
    Column("summary", Text),  # the summary that it is part of: its idempotency key; all of one go together
    Column("urgent", Boolean, nullable=False, default=False),  # whether it passes the receiver's rate limit
    Column("instead_of", Text),  # the receiver that it was for and that could not be told
    Column("trace", Text),  # trace.Trace.stored of the request or round that it is there for
    Index("notifications_by_group", "group_id"),
    Index("notifications_by_receiver", "receiver", "id", "state"),
    Index("notifications_by_incident", "incident", "id", "state"),
    Index("notifications_by_state", "state", "id"),
    sqlite_autoincrement=True,
)

memories = Table(  # what a receiver's notifier keeps about an incident, such as the message to update
    "memories",
    metadata,
    Column("receiver", Text, primary_key=True),
    Column("incident", Text, primary_key=True),
    Column("body", Text, nullable=False),  # JSON: texts by name
)

events = Table(  # what happened, in order, for the stream
    "events",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),  # JSON; of "alerts" only the group's id
    sqlite_autoincrement=True,
)

acks = Table(  # who took which alert, until when
    "acks",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("silence", Text, nullable=False, unique=True),  # its id at Alertmanager
    Column("fingerprint", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("until", Double, nullable=False),
    Column("undone_at", Double),
    Index("acks_by_fingerprint", "fingerprint", "until"),
    sqlite_autoincrement=True,
)

dismissals = Table(  # alerts that people called useless or useful: labels for later tuning
    "dismissals",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("alert_id", _ID),
    Column("verdict", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("at", Double, nullable=False),
    Index("dismissals_by_fingerprint", "fingerprint"),
    sqlite_autoincrement=True,
)

replicas = Table(  # the bridge processes that share the database
    "replicas",
    metadata,
    Column("id", Text, primary_key=True),
    Column("beats", BigInteger, nullable=False),  # counts up while it lives
    Column("receivers", Text, nullable=False),  # JSON list: those of its config
)

duties = Table(  # what one replica does for all
    "duties",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("beats", BigInteger, nullable=False),  # goes up while its holder lives
)

keys = Table(  # random texts of the bridge's own, such as the one that signs links; the same for all replicas
    "keys",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

probes = Table("probes", metadata, Column("at", Double, nullable=False))  # one row, written to see whether it can be


def _word(state: State) -> ColumnElement[str]:
    # Written out in each statement: SQLite uses a partial index only for a condition that it sees when it plans.
    return literal_column(f"'{state}'", Text)


def pending(table: FromClause) -> ColumnElement[bool]:
    """The rows of `notifications`, or an alias of it, that wait to be delivered."""
    return table.c.state == _word(PENDING)


def unfinished(table: FromClause) -> ColumnElement[bool]:
    """The rows of `notifications` that wait, or were given up and wait for a person."""
    return table.c.state.in_([_word(PENDING), _word(DEAD)])


for _name, _columns in (("notifications_due", ("due_at", "id")), ("notifications_in_order", ("incident", "id"))):
    Index(
        _name,
        notifications.c.receiver,
        *(notifications.c[column] for column in _columns),
        sqlite_where=pending(notifications),
        postgresql_where=pending(notifications),
    )
Index(
    "notifications_unfinished",
    notifications.c.state,
    notifications.c.receiver,
    notifications.c.id,
    notifications.c.stored_at,
    sqlite_where=unfinished(notifications),
    postgresql_where=unfinished(notifications),
)


def delivered(table: FromClause) -> ColumnElement[bool]:
    """The rows that a receiver has taken."""
    return table.c.state == _word(DELIVERED)


def muted(table: FromClause) -> ColumnElement[bool]:
    """The rows that a mute route keeps, or kept."""
    return table.c.state == _word(MUTED)


def hasty(table: FromClause) -> ColumnElement[bool]:
    """The rows that wait and are urgent."""
    return and_(pending(table), table.c.urgent)


def bound(table: FromClause) -> ColumnElement[bool]:
    """The rows that wait and are part of a summary."""
    return and_(pending(table), table.c.summary.is_not(None))


def claimed(table: FromClause) -> ColumnElement[bool]:
    """The rows that are under way: all of them wait, too. Those of replicas that ended are freed."""
    return table.c.claimed_by.is_not(None)


for _name, _column, _condition in (
    ("notifications_told", "finished_at", delivered(notifications)),
    ("notifications_muted", "due_at", muted(notifications)),
    ("notifications_hasty", "incident", hasty(notifications)),
    ("notifications_claimed", "claimed_by", claimed(notifications)),
):
    Index(
        _name,
        notifications.c.receiver,
        notifications.c[_column],
        sqlite_where=_condition,
        postgresql_where=_condition,
    )

Index(
    "notifications_bound",
    notifications.c.summary,
    sqlite_where=bound(notifications),
    postgresql_where=bound(notifications),
)
