"""What `cloudpulse up` prints of the forecasts."""

from __future__ import annotations

import io
import json

from rich.console import Console

from cloudpulse.local.outlook import Outlook
from cloudpulse.serving import Environ, StartResponse
from cloudpulse.testing import serving

SERIES = {"labels": {"app": "[red]a[/b]\x1b[2J"}, "observed": 1.0, "values": {"0.5": [2.0, 3.0]}}
LISTED = {"forecasts": [{"name": "load", "model_version": 1}]}
FULL = {"name": "load", "horizons": ["2m"], "step_seconds": 60, "series": [SERIES]}


def test_a_label_is_text_and_no_markup() -> None:
    def forecaster(environ: Environ, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(FULL if environ["PATH_INFO"].endswith("/load") else LISTED).encode()]

    page = io.StringIO()
    with serving(forecaster) as url:
        Outlook(url, Console(file=page, force_terminal=True, width=100)).show_news()
    assert r"[red]a[/b]\x1b[2J" in page.getvalue()
    assert "\x1b[2J" not in page.getvalue()
