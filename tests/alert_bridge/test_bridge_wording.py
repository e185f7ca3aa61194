"""A bridge with templates of the user's, from its config to what a channel is sent."""

from pathlib import Path

import pytest
import requests

from alert_bridge.bridge import Bridge
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.insight import NoInsights
from alert_bridge.testing import eventually, webhook_body
from cloudpulse import config
from cloudpulse.testing import serving
from tests.alert_bridge.services import Slack

LINES = """
alert_bridge:
  data_dir: {folder}
  receivers:
    - name: team
      type: slack
      token: bearer-token
      channel: C0123456789
      api_url: {url}/api
      templates:
        title: "{{{{ name | upper }}}}"
        text: "{{{{ listed[0].labels.nosuch.key }}}}"
"""


@pytest.fixture
def slack(front):
    made = Slack()
    with made.serving(front):
        yield made


def test_a_template_that_fails_is_counted_and_the_default_is_sent(slack, tmp_path):
    text = LINES.format(folder=tmp_path / "data", url=slack.url)
    settings = config.parse(text, Path("c.yaml"), {}).section("alert_bridge", AlertBridgeSettings)
    bridge = Bridge(settings, NoInsights())
    try:
        with serving(bridge.face) as url:
            bridge.start()
            counter = 'cloudpulse_alert_bridge_template_failures_total{receiver="team"}'
            assert f"{counter} 0" in requests.get(f"{url}/metrics", timeout=10).text
            assert requests.post(f"{url}/api/v1/alerts", data=webhook_body(), timeout=10).ok
            eventually(lambda: bool(slack.messages))
            eventually(lambda: f"{counter} 1" in requests.get(f"{url}/metrics", timeout=10).text)
    finally:
        bridge.close()
    title, told = slack.shown()
    assert title == "TEST"
    assert told.startswith("Firing since")
