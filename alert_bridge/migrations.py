"""From one version of the schema to the next, in the transaction that opens the database: all steps or none.

A step is the SQL that made version n out of n - 1 and never changes again; the newest is in `alert_bridge/schema.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect

from alert_bridge import schema
from cloudpulse.errors import StoreError

if TYPE_CHECKING:
    from alert_bridge.database import Backend

STEPS: Mapping[int, Sequence[str]] = {
    2: (  # in SQLite's words: PostgreSQL came with version 2
        "ALTER TABLE notifications ADD COLUMN claimed_by TEXT",
        "ALTER TABLE notifications ADD COLUMN progress TEXT",
        "ALTER TABLE notifications ADD COLUMN urgent BOOLEAN NOT NULL DEFAULT 0",
        "ALTER TABLE notifications ADD COLUMN instead_of TEXT",
        "ALTER TABLE notifications ADD COLUMN ack TEXT",
        "ALTER TABLE notifications ADD COLUMN summary TEXT",
        "ALTER TABLE notifications DROP COLUMN claimed_until",
        "ALTER TABLE alerts ADD COLUMN incident TEXT NOT NULL DEFAULT ''",
        "UPDATE alerts SET incident = (SELECT incident FROM groups WHERE groups.id = group_id)",
        """CREATE TABLE firing (
            incident TEXT NOT NULL, fingerprint TEXT NOT NULL, alertname TEXT NOT NULL, alert_id INTEGER NOT NULL,
            PRIMARY KEY (incident, fingerprint), FOREIGN KEY(alert_id) REFERENCES alerts (id) ON DELETE CASCADE)""",
        """INSERT INTO firing SELECT incident, fingerprint, alertname, id FROM alerts WHERE status = 'firing'
            AND id IN (SELECT max(id) FROM alerts GROUP BY incident, fingerprint)""",
        "CREATE INDEX firing_by_alert ON firing (alert_id)",
        "CREATE INDEX firing_by_fingerprint ON firing (fingerprint, alert_id)",
        "CREATE INDEX firing_by_name ON firing (alertname, alert_id)",
        """CREATE TABLE memories (
            receiver TEXT NOT NULL, incident TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (receiver, incident))""",
        """CREATE TABLE events (
            id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, at DOUBLE NOT NULL, kind TEXT NOT NULL,
            body TEXT NOT NULL)""",
        """CREATE TABLE acks (
            id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, silence TEXT NOT NULL, fingerprint TEXT NOT NULL,
            "by" TEXT NOT NULL, comment TEXT NOT NULL, at DOUBLE NOT NULL, until DOUBLE NOT NULL, undone_at DOUBLE,
            UNIQUE (silence))""",
        """CREATE TABLE dismissals (
            id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, fingerprint TEXT NOT NULL, alert_id INTEGER,
            verdict TEXT NOT NULL, "by" TEXT NOT NULL, comment TEXT NOT NULL, at DOUBLE NOT NULL)""",
        """CREATE TABLE replicas (
            id TEXT NOT NULL, beats BIGINT NOT NULL, receivers TEXT NOT NULL, PRIMARY KEY (id))""",
        """CREATE TABLE duties (
            name TEXT NOT NULL, holder TEXT NOT NULL, beats BIGINT NOT NULL, PRIMARY KEY (name))""",
        "CREATE TABLE keys (name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (name))",
        "CREATE INDEX acks_by_fingerprint ON acks (fingerprint, until)",
        "CREATE INDEX dismissals_by_fingerprint ON dismissals (fingerprint)",
        "DROP INDEX groups_by_incident",
        "CREATE INDEX groups_by_incident ON groups (incident, id)",
        "DROP INDEX alerts_by_fingerprint",
        "DROP INDEX alerts_by_name",
        "CREATE INDEX alerts_by_incident ON alerts (incident, id, status)",
        "CREATE INDEX alerts_by_fingerprint ON alerts (fingerprint, id, status)",
        "CREATE INDEX alerts_by_name ON alerts (alertname, id, status)",
        "DROP INDEX notifications_by_receiver",
        "DROP INDEX notifications_by_incident",
        "CREATE INDEX notifications_by_receiver ON notifications (receiver, id, state)",
        "CREATE INDEX notifications_by_incident ON notifications (incident, id, state)",
        """CREATE INDEX notifications_unfinished ON notifications (state, receiver, id, stored_at)
            WHERE state IN ('pending', 'dead')""",
        "CREATE INDEX notifications_told ON notifications (receiver, finished_at) WHERE state = 'delivered'",
        "CREATE INDEX notifications_muted ON notifications (receiver, due_at) WHERE state = 'muted'",
        """CREATE INDEX notifications_hasty ON notifications (receiver, incident)
            WHERE state = 'pending' AND urgent = 1""",
        """CREATE INDEX notifications_bound ON notifications (summary)
            WHERE state = 'pending' AND summary IS NOT NULL""",
        "CREATE INDEX notifications_claimed ON notifications (receiver, claimed_by) WHERE claimed_by IS NOT NULL",
    ),
    3: ("ALTER TABLE notifications ADD COLUMN trace TEXT",),
}


def prepare(connection: Connection, backend: Backend) -> None:
    """Make the tables, or bring older ones up to date. Raises StoreError for those of a newer program or of others."""
    found = backend.version(connection)
    if found > schema.VERSION:
        raise StoreError(
            f"{backend.name}: written by a newer CloudPulse (schema {found}, here {schema.VERSION}): "
            "run that version again, or restore a backup made before it"
        )
    if found == schema.VERSION:
        return
    if found == 0:
        if taken := set(inspect(connection).get_table_names()) & set(schema.metadata.tables):
            raise StoreError(
                f"{backend.name}: holds tables of something else ({', '.join(sorted(taken))}): "
                "give the alert bridge a database of its own"
            )
        schema.metadata.create_all(connection)
    else:
        for version in range(found + 1, schema.VERSION + 1):
            for statement in STEPS[version]:
                connection.exec_driver_sql(statement)
    backend.set_version(connection, schema.VERSION)
