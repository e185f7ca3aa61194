"""The outbox' tables between the examples of a property, for which one database is opened."""

from __future__ import annotations

from alert_bridge import schema
from alert_bridge.database import Database


def empty(database: Database) -> None:
    """Leave no row."""
    database.write(lambda connection: [connection.execute(table.delete()) for table in _TABLES] and None)


_TABLES = (schema.memories, schema.notifications, schema.alerts, schema.groups, schema.events, schema.replicas)
