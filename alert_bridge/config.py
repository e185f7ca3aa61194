"""The `alert_bridge` section of the config."""

from __future__ import annotations

from pathlib import Path

from alert_bridge.notifiers import Receiver
from alert_bridge.notifiers.log import LogReceiver
from alert_bridge.router import Route
from cloudpulse.config import Secret, Section
from cloudpulse.durations import Duration


class AlertBridgeSettings(Section, frozen=True):
    """Everything the bridge can be told.

    `fallback` receives what no route matches; without it, all receivers do: rather too loud than silent.
    `repeat_after` tells Alertmanager's repeats from its doubles: a post that tells exactly the same as one stored
    less than that ago (the other half of an HA pair, a retry after a lost answer) is accepted and not delivered
    again; a later one is a reminder and is. Keep it above group_interval and below repeat_interval.
    `bearer_token`, where given, is asked of every POST.
    `database` (or `database_file`) is the URL of a PostgreSQL database that several replicas may share, such as
    postgresql://user:password@host:5432/name; it counts as a secret. Without it, everything is in an SQLite file in
    `data_dir`. A replica that was silent for `replica_timeout` is given up, and the others send what it was sending.
    Delivered and given-up things are deleted after `retention`, the oldest delivered ones earlier where there are more
    alerts than `max_stored_alerts` (about 1 kB each on disk, more with long texts). What still waits, and the last word
    on what still fires, never is: when that alone is more, new alerts are refused, but for those that end something.
    """

    data_dir: Path = Path("./data/alert-bridge")
    receivers: tuple[Receiver, ...] = (LogReceiver(name="log"),)
    routes: tuple[Route, ...] = ()
    fallback: tuple[str, ...] | None = None
    repeat_after: Duration = Duration(600)
    retry_first: Duration = Duration(1)
    retry_max: Duration = Duration(300)
    give_up_after: Duration = Duration(86400)
    max_body_bytes: int = 16 * 1024 * 1024
    database: Secret | None = None
    database_file: Path | None = None
    replica_timeout: Duration = Duration(30)
    retention: Duration = Duration(30 * 86400)
    max_stored_alerts: int = 1_000_000
    bearer_token: Secret | None = None
    bearer_token_file: Path | None = None

    def __post_init__(self) -> None:
        names = [receiver.name for receiver in self.receivers]
        if not names:
            raise ValueError("receivers: expected at least one, or leave the key out for a log receiver")
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f'receivers: the name "{twice}" is given twice')
        for place, used in self._uses():
            if unknown := next((name for name in used if name not in names), None):
                raise ValueError(f'{place}: no receiver is named "{unknown}", expected one of {", ".join(names)}')
        if self.fallback == ():
            raise ValueError("fallback: expected at least one name, or leave the key out for all receivers")
        if not 0 < self.retry_first <= self.retry_max:
            raise ValueError(f"retry_first: expected more than 0s and at most retry_max, got {self.retry_first}")
        if self.give_up_after <= 0:
            raise ValueError(f"give_up_after: expected more than 0s, got {self.give_up_after}")
        if self.database is not None and self.database_file is not None:
            raise ValueError("database and database_file can't both be set: keep one")
        if self.replica_timeout < 1:
            raise ValueError(f"replica_timeout: expected 1s or more, got {self.replica_timeout}")
        if self.retention < self.repeat_after:
            raise ValueError(f"retention: expected at least repeat_after, got {self.retention}")
        if self.max_stored_alerts < 1:
            raise ValueError(f"max_stored_alerts: expected 1 or more, got {self.max_stored_alerts}")
        if self.max_body_bytes < 1024:
            raise ValueError(f"max_body_bytes: expected 1024 or more, got {self.max_body_bytes}")
        if self.bearer_token is not None and self.bearer_token_file is not None:
            raise ValueError("bearer_token and bearer_token_file can't both be set: keep one")

    @property
    def fallback_names(self) -> tuple[str, ...]:
        """The receivers of what no route matches."""
        return self.fallback or tuple(receiver.name for receiver in self.receivers)

    def _uses(self) -> list[tuple[str, tuple[str, ...]]]:
        routes = [(f"routes[{i}].receivers", route.receivers) for i, route in enumerate(self.routes)]
        return [*routes, ("fallback", self.fallback or ())]
