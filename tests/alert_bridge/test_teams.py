"""Cards for Microsoft Teams."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from alert_bridge import notifiers, webhook
from alert_bridge.insight import Insight
from alert_bridge.notifier import DeliveryFailed, Message, Notification
from alert_bridge.notifiers.teams import MOST_BYTES, TeamsReceiver
from alert_bridge.testing import webhook_body
from cloudpulse.config import Secret
from tests.alert_bridge.services import Teams


def picture(rows, columns):
    """A PNG with so many spots of random colours, 64 of them."""
    spots = np.random.default_rng(1).integers(0, 64, (rows, columns), np.uint8)
    image = Image.fromarray(spots.repeat(6, 0).repeat(6, 1), "P")
    image.putpalette([part for n in range(64) for part in (n * 4, 255 - n * 4, 128)])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


SMALL, LARGE, ENORMOUS = picture(60, 100), picture(110, 140), picture(300, 400)


def message(*alerts, picture=None, ack_url="", **changes):
    group = webhook.parse(webhook_body(*alerts, **changes))
    told = Notification(
        id=1, receiver="one", idempotency_key="k", attempt=1, stored_at=1.8e9, give_up_at=2e9, group=group
    )
    return Message(told, Insight(picture=picture), ack_url)


@pytest.fixture
def teams(front):
    made = Teams()
    with made.serving(front):
        yield made


@pytest.fixture
def notifier(teams):
    return notifiers.build(TeamsReceiver(name="one", url=Secret(f"{teams.url}/workflows/1?sig=x")))


def images(teams):
    return [[one for one in teams.card(request)["body"] if one["type"] == "Image"] for request in teams.requests]


def test_a_card_has_a_colored_title_and_buttons(teams, notifier):
    notifier.send(message(ack_url="https://bridge.example/ack", commonLabels={"severity": "warning"}))
    notifier.send(message(("a", "resolved")))
    firing, resolved = (teams.card(request) for request in teams.requests)
    assert firing["body"][0]["text"] == "[FIRING warning] Test"
    assert [one["title"] for one in firing["actions"]] == ["Take it", "Alertmanager"]
    assert (firing["body"][0]["color"], resolved["body"][0]["color"]) == ("Warning", "Good")


def test_a_picture_is_in_the_card_only_if_all_of_it_stays_small(teams, notifier):
    for one in (SMALL, LARGE, ENORMOUS):
        notifier.send(message(picture=one))
    whole, halved, without = images(teams)
    sizes = [Image.open(io.BytesIO(base64.b64decode(one["url"].partition(",")[2]))).size for one in whole + halved]
    assert sizes == [(600, 360), (420, 330)]
    assert without == []
    assert all(len(request.body) <= MOST_BYTES for request in teams.requests)


def test_a_card_that_is_refused_with_its_picture_is_sent_without(teams, notifier):
    """The limit is said to be about 28 KB; a text must not be lost for a picture."""
    teams.fault = lambda request: (413, {}) if len(request.body) > 10_000 else None
    notifier.send(message(picture=SMALL))
    assert [len(found) for found in images(teams)] == [1, 0]


def test_a_card_that_may_be_taken_later_keeps_its_picture(teams, notifier):
    teams.fault = lambda request: (429, {"Retry-After": "3"})
    with pytest.raises(DeliveryFailed, match="429"):
        notifier.send(message(picture=SMALL))
    assert len(teams.requests) == 1


def test_thousands_of_alerts_in_a_wide_script_stay_under_the_limit(teams, notifier):
    notifier.send(message(*((f"pod-{i}", "firing") for i in range(5000)), labels={"text": "数据库" * 500}))
    assert teams.wrong == []
