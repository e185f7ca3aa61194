"""The console over the running stack with the demo's data."""

from __future__ import annotations

import re
from typing import Any

import pytest
import requests
from playwright.sync_api import expect

from tests.e2e.conftest import Running, until
from tests.forecaster.browsing import CHROMIUM, chromium, watched

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(200),
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]


def demand(running: Running) -> list[dict[str, Any]]:
    rows = requests.get(running.url("forecaster", "/api/v1/overview"), timeout=10).json()["rows"]
    return [row for row in rows if row["forecast"] == "demand"]


def test_the_demo_is_seen_live_in_light_and_dark(running: Running) -> None:
    rows = until(lambda: demand(running), 90, "the demo's demand is forecast")
    apps = {row["labels"]["app"] for row in rows}
    url = running.url("forecaster")
    with chromium() as browser:
        for options in (
            {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
            {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "device_scale_factor": 2},
        ):
            with watched(browser, url, **options) as seen:
                page = seen.open("#filter=demand&sort=crossing")
                expect(page.locator("#live")).to_have_attribute("data-state", "live")
                expect(page.locator("#found")).to_have_text(re.compile(rf"^{len(apps)} (of \d+ )?series$"))
                page.locator(".row").filter(has_text="app09").click()
                expect(page.locator(".story h2")).to_contain_text("app09")
                expect(page.locator(".u-over")).to_be_visible()
                expect(page.locator(".summary")).to_contain_text("In 1 h:")
                newest = page.get_by_role("slider").get_attribute("aria-valuemax")
                # A minute's step at most: the next forecast moves the chart on by itself.
                expect(page.get_by_role("slider")).not_to_have_attribute("aria-valuemax", str(newest), timeout=90_000)
                assert seen.wrong == []
                assert seen.strangers == []
