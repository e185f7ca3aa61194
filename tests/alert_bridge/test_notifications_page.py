"""docs/notifications.md says what is so."""

import dataclasses
import re
import time
from pathlib import Path

import pytest

from alert_bridge import notifiers
from alert_bridge.config import AlertBridgeSettings
from alert_bridge.notifiers import webhook
from alert_bridge.variables import NAMES, AckView, AlertView, HeldBack, Links
from cloudpulse import config

PAGE = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_every_example_is_a_config(example):
    read = config.parse(example, Path("c.yaml"), {}).section("alert_bridge", AlertBridgeSettings)
    assert all(type(receiver) in notifiers.NOTIFIERS for receiver in read.receivers)


def test_every_variable_is_told_and_no_other():
    cells = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert {name for cell in cells for name in re.findall("`(\\w+)`", cell)} == NAMES


def test_every_part_of_a_variable_is_told():
    after = PAGE.partition("| variable |")[2]
    parts = {field.name for kind in (AckView, AlertView, HeldBack, Links) for field in dataclasses.fields(kind)}
    assert [part for part in sorted(parts) if f"`{part}`" not in after] == []


@pytest.mark.parametrize(
    "source",
    [
        re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1],
        "\n".join(line[4:] for line in webhook.__doc__.splitlines() if line.startswith("    ")),
    ],
    ids=["page", "docstring"],
)
def test_the_signature_can_be_checked_as_it_is_told(source):
    told = {}
    exec(source, told)
    genuine, now = told["genuine"], int(time.time())
    header = webhook.signature(b"shared", b"{}", now)
    assert genuine(b"{}", header, "shared")
    assert not genuine(b"{} ", header, "shared")
    assert not genuine(b"{}", header, "other")
    assert not genuine(b"{}", header.replace(f"t={now}", f"t={now + 1}"), "shared")
    assert not genuine(b"{}", webhook.signature(b"shared", b"{}", now - 400), "shared")
