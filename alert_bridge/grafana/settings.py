"""`alert_bridge.grafana` in the config."""

from __future__ import annotations

import re
from pathlib import Path

from alert_bridge.notifier import ReceiverSettings
from alert_bridge.posting import check_timeout, usable
from cloudpulse.config import ClientTls, Secret, exactly_one
from cloudpulse.durations import Duration

_STREAM = re.compile(r"[A-Za-z0-9_-]{1,64}")


class GrafanaSettings(ReceiverSettings, frozen=True, kw_only=True):
    """A Grafana that every alert is drawn in, whatever the routes say: one more receiver, called `grafana`.

    `token` is a service account's, with the role Editor (annotations:read, create, write, delete; live:push).
    `predictions` draws the crossings that the forecaster predicts, too. `live` pushes alerts and forecasts to Grafana
    Live as `stream/<live_stream>/alerts` and `stream/<live_stream>/forecasts`.
    """

    name: str = "grafana"
    concurrency: int = 2
    insight: bool = False
    url: str
    token: Secret | None = None
    token_file: Path | None = None
    tls_config: ClientTls = ClientTls()
    timeout: Duration = Duration(10)
    predictions: bool = True
    live: bool = False
    live_stream: str = "cloudpulse"

    def __post_init__(self) -> None:
        super().__post_init__()
        exactly_one(token=self.token, token_file=self.token_file)
        if not usable(self.url) or "@" in self.url:
            raise ValueError("url: expected one such as http://grafana:3000, with no user and password in it")
        check_timeout(self.timeout)
        if not _STREAM.fullmatch(self.live_stream):
            raise ValueError(f'live_stream: expected letters, digits, _ and -, got "{self.live_stream}"')
