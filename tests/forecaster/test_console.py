"""The console in a real Chromium, over a forecaster's whole HTTP face."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np
import pytest
import requests
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from cloudpulse.promql import Series
from cloudpulse.testing import query_api, serving
from tests.forecaster.browsing import CHROMIUM, Watched, chromium, watched
from tests.forecaster.process import ForecasterProcess, Playing
from tests.forecaster.stage import HOSTILE, Stage, staged

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

APPS = [{"app": f"app{i:02}"} for i in range(12)]
LABELS = [*APPS, {"app": HOSTILE}, {"app": "checkout", "region": "eu-west-1", "constructor": "c"}]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("stage"), models=("seasonal_naive", "profile")) as one:
        one.forecast(LABELS, rounds=8)
        one.demote("profile")
        one.earlier[:] = _remembered(time.time())
        yield one


@pytest.fixture
def seen(browser: Browser, stage: Stage) -> Iterator[Watched]:
    """A wide page; nothing may have gone wrong in it when the test ends."""
    with watched(browser, stage.url) as one:
        yield one
        assert one.wrong == []
        assert one.strangers == []


def _remembered(now: float) -> list[Series]:
    """What Prometheus has of app00: forecasts an hour before, and scores of which three are odd."""
    times = np.arange((now - 90000) // 300 * 300, now, 300.0)
    value = {"__name__": "cloudpulse_forecast_value", "horizon": "1h"}
    levels = [Series({**value, "level": f"{level}"}, times, 90 + 20 * level + 0 * times) for level in (0.1, 0.5, 0.9)]
    odd = np.where((np.arange(len(times)) > len(times) - 20) & (np.arange(len(times)) < len(times) - 16), 1.5, 0.2)
    return [*levels, Series({"__name__": "cloudpulse_forecast_anomaly_score"}, times, odd)]


def choose(page: Page, name: str) -> None:
    page.get_by_role("option", name=re.compile(f"^{re.escape(name)}.* now .* rps ")).click()
    expect(page.locator(".u-over")).to_be_visible()


def titles(page: Page) -> list[str]:
    """The rows, from top to bottom."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('.row')].sort((a, b) => a.ariaPosInSet - b.ariaPosInSet)"
        ".map(row => row.querySelector('.name').firstChild.textContent)"
    )
    return found


def test_the_list_shows_every_series_with_value_state_and_trust(seen: Watched, stage: Stage) -> None:
    page = seen.open()
    expect(page.locator("#found")).to_have_text("14 series")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    row = page.get_by_role("option", name=re.compile("^app00 now "))
    expect(row).to_be_visible()
    # The server sends four digits, of which the page shows three.
    shown = "value => Number(Number(value.toPrecision(4)).toPrecision(3)).toString()"
    value = page.evaluate(shown, float(stage.issue.observed[0]))
    expect(row).to_have_accessible_name(re.compile(f"app00 now {value} rps .*trust (good|fair|poor|unknown)$"))
    assert row.locator("svg path.past").get_attribute("d")
    assert row.locator("svg path.ahead").get_attribute("d")


def test_a_hostile_label_is_text_wherever_it_is_shown(seen: Watched, stage: Stage) -> None:
    page = seen.open(
        f"#search={quote(HOSTILE)}&filter={quote(HOSTILE)}&sort=__proto__&models=__proto__&earlier=__proto__"
    )
    expect(page.get_by_role("searchbox")).to_have_value(HOSTILE)
    expect(page.locator("#found")).to_have_text("1 of 14 series")
    choose(page, "<img")
    expect(page.locator("h2").filter(has_text=HOSTILE)).to_be_visible()
    expect(page.get_by_role("slider")).to_have_accessible_name(re.compile(re.escape(HOSTILE)))
    expect(page.locator(".queries code").nth(1)).to_contain_text("<img src=x onerror=")
    stage.alert(HOSTILE, app=HOSTILE)
    expect(page.locator("#firing")).to_contain_text(HOSTILE)
    expect(page.locator("#say")).to_contain_text(HOSTILE)
    stage.alert(HOSTILE, status="resolved", app=HOSTILE)
    expect(page.locator("#alerts")).to_be_hidden()
    assert page.locator("img").count() == 0
    assert "owned" not in page.title()


def test_a_chosen_series_tells_its_story(seen: Watched) -> None:
    page = seen.open()
    choose(page, "app00")
    expect(page.locator(".summary")).to_contain_text(re.compile(r"^Now .*In 15 m: .*\(.* to .*\)\. In 1 h: "))
    expect(page.locator(".legend")).to_contain_text("outside of the band (3)")
    expect(page.locator(".demoted")).to_contain_text("profile has no say 1 h ahead")
    expect(page.locator(".demoted")).to_contain_text("2.7 times that of seasonal naive")
    expect(page.locator(".weights li")).to_have_count(2)
    # Other series of the forecast have more labels: a selector that didn't say they are empty would take those, too.
    alone = 'cloudpulse_forecast_value{forecast="rps", app="app00", constructor="", region=""}'
    expect(page.locator(".queries code").nth(1)).to_have_text(alone)
    page.get_by_text("The numbers as a table").click()
    expect(page.locator("table.numbers thead th")).to_contain_text(["Time", "Actual", "expected"])
    assert page.locator("table.numbers tbody tr").count() > 10


def test_switches_change_what_the_chart_shows_and_the_address_leads_back_there(seen: Watched, stage: Stage) -> None:
    page = seen.open()
    choose(page, "app00")
    before = page.locator("canvas").evaluate("canvas => canvas.toDataURL()")
    page.locator(".controls").get_by_text("1 h", exact=True).click()
    expect(page.locator(".legend")).to_contain_text("as forecast before")
    page.locator(".controls").get_by_text("profile", exact=True).click()
    expect(page.locator(".legend li").filter(has_text="profile")).to_be_visible()
    page.locator(".controls").get_by_text("6 h", exact=True).click()
    expect(page.get_by_role("radio", name="6 h")).to_be_checked()
    assert page.locator("canvas").evaluate("canvas => canvas.toDataURL()") != before
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator(".legend")).to_contain_text("as forecast before")
    expect(page.locator(".story h2")).to_have_text("app00")
    expect(page.get_by_role("radio", name="6 h")).to_be_checked()
    expect(page.get_by_role("checkbox", name="profile")).to_be_checked()


def test_on_a_wide_screen_the_first_series_is_shown_by_itself(seen: Watched) -> None:
    page = seen.open()
    expect(page.locator(".story h2")).to_have_text(titles(page)[0])
    expect(page.locator('[aria-selected="true"] .name')).to_have_text(titles(page)[0])
    assert page.evaluate("document.activeElement === document.body"), "the focus stays the reader's"


def test_a_click_that_a_new_forecast_comes_into_is_a_click(seen: Watched, stage: Stage) -> None:
    page = seen.open("#sort=name")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    row = page.get_by_role("option", name=re.compile("^app03"))
    before = row.locator(".value").inner_text()
    row.hover()
    page.mouse.down()
    stage.change(observed=stage.issue.observed * 3, forecast=_copied(stage))
    expect(row.locator(".value")).not_to_have_text(before)
    page.mouse.up()
    stage.change(observed=stage.issue.observed / 3, forecast=_copied(stage))
    expect(page.locator(".story h2")).to_have_text("app03")


def test_a_series_that_cannot_be_fetched_is_not_shown_as_another(seen: Watched, stage: Stage) -> None:
    page = seen.open()
    choose(page, "app00")
    page.route("**/series/**", lambda route: route.fulfill(status=200, body="<title>Sign in</title>"))
    page.get_by_role("option", name=re.compile("^app01")).click()
    expect(page.locator("#story")).to_contain_text("This series can't be shown: it wants you to sign in")
    expect(page.locator(".u-over")).to_have_count(0)
    page.unroute("**/series/**")
    choose(page, "app01")
    page.route("**/series/**", lambda route: route.abort())
    stage.change(forecast=_copied(stage))
    expect(page.locator(".stale")).to_contain_text("can't be renewed: it can't be reached.")
    expect(page.locator(".story h2")).to_have_text("app01")
    seen.wrong[:] = [text for text in seen.wrong if "ERR_FAILED" not in text]


def test_a_reason_is_one_line_that_opens_and_stays_open(seen: Watched, stage: Stage) -> None:
    stage.rounds.shown["disks"] = "the query answers no series: try it in Prometheus (query: max by (a)\n  (b))" * 3
    stage.rounds.wanted.append(msgspec.structs.replace(stage.bench.target, name="disks"))
    stage.change(forecast=_copied(stage))
    try:
        page = seen.open()
        line = page.locator("#states summary")
        expect(line).to_contain_text("disks the query answers no series")
        folded = line.evaluate("one => one.offsetHeight")
        line.click()
        assert line.evaluate("one => one.offsetHeight") > folded
        before = page.locator(".row .value").first.inner_text()
        stage.change(observed=stage.issue.observed * 3, forecast=_copied(stage))
        expect(page.locator(".row .value").first).not_to_have_text(before)
        expect(page.locator("#states details[open]")).to_have_count(1)
    finally:
        del stage.rounds.shown["disks"], stage.rounds.wanted[1:]
        stage.change(observed=stage.issue.observed / 3, forecast=_copied(stage))


def test_a_hidden_tab_pauses_and_comes_back(seen: Watched) -> None:
    seen.page.clock.install()
    page = seen.open()
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    hide = "hidden => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
    hide += " document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(hide, True)
    page.clock.fast_forward(6000)
    expect(page.locator("#live")).to_have_attribute("data-state", "paused")
    with page.expect_response("**/api/v1/overview"):
        page.evaluate(hide, False)
    expect(page.locator("#live")).to_have_attribute("data-state", "live")


def test_where_no_websocket_gets_through_the_page_asks(seen: Watched, stage: Stage) -> None:
    seen.page.route_web_socket(re.compile("/api/v1/stream"), lambda socket: socket.close())
    seen.page.clock.install()
    page = seen.open()
    before = page.locator(".row .value").first.inner_text()
    stage.change(observed=stage.issue.observed * 3, forecast=_copied(stage))
    page.clock.fast_forward(15_000)
    expect(page.locator(".row .value").first).not_to_have_text(before)
    stage.change(observed=stage.issue.observed / 3, forecast=_copied(stage))


def test_a_stream_that_ends_for_a_slow_reader_is_taken_up_and_all_is_fetched_anew(seen: Watched) -> None:
    sockets: list[WebSocketRoute] = []

    def relay(route: WebSocketRoute) -> None:
        route.connect_to_server()
        sockets.append(route)

    seen.page.route_web_socket(re.compile("/api/v1/stream"), relay)
    page = seen.open()
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    with page.expect_response("**/api/v1/overview"):
        sockets[0].close(code=1013, reason="too slow")
        expect(page.locator("#live")).to_have_attribute("data-state", "live")
    assert len(sockets) == 2


def test_below_a_proxys_prefix_everything_is_found(browser: Browser, stage: Stage) -> None:
    def proxy(environ: Any, start: Any) -> Any:
        assert environ["PATH_INFO"].startswith("/forecaster/"), environ["PATH_INFO"]
        path = f"{stage.url}{environ['PATH_INFO'].removeprefix('/forecaster')}?{environ['QUERY_STRING']}"
        answer = requests.get(path, timeout=10, allow_redirects=False)
        kept = {"Content-Type", "Content-Security-Policy", "Location"} & answer.headers.keys()
        start(f"{answer.status_code} -", [(name, answer.headers[name]) for name in kept])
        return [answer.content]

    with serving(proxy) as url, watched(browser, f"{url}/forecaster") as one:
        page = one.open("/")  # with a slash too many
        assert page.url.startswith(f"{url}/forecaster/console")
        choose(page, "app00")
        expect(page.locator(".summary")).to_contain_text("In 1 h:")
        assert one.strangers == []
        assert [text for text in one.wrong if "WebSocket" not in text] == []


def test_what_goes_on_for_hours_leaves_nothing_behind(seen: Watched, stage: Stage) -> None:
    page = seen.open("#sort=name")
    choose(page, "app00")
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable")

    def kept() -> tuple[float, float]:
        devtools.send("HeapProfiler.collectGarbage")
        found = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
        return found["Nodes"], found["JSEventListeners"]

    def renewed(times: int) -> None:
        page.evaluate(
            "async times => { const { byId } = await import('./console/dom.js');"
            " for (let i = 0; i < times; i += 1) { byId('theme').click();"
            " byId('search').value = i % 2 ? 'app0' : ''; byId('search').dispatchEvent(new Event('input'));"
            " await new Promise(requestAnimationFrame); } }",
            times,
        )

    renewed(6)
    nodes, listeners = kept()
    renewed(60)
    more_nodes, more_listeners = kept()
    # Each repaint makes a chart anew: one thing left behind by each would be 60 of them.
    assert more_nodes < nodes + 60
    assert more_listeners < listeners + 60


def test_search_filter_and_order_choose_rows(seen: Watched) -> None:
    page = seen.open()
    page.get_by_role("combobox", name="Sort").select_option("name")
    assert titles(page)[1] == "app00"
    page.get_by_role("searchbox").fill("region=eu")
    expect(page.locator("#found")).to_have_text("1 of 14 series")
    assert titles(page) == ["checkout · eu-west-1 · c"]
    page.get_by_role("searchbox").fill("no such thing")
    expect(page.locator("#empty")).to_contain_text("No series has these words")
    page.get_by_role("searchbox").press("Escape")
    expect(page.locator("#found")).to_have_text("14 series")


def test_everything_can_be_done_with_the_keyboard(seen: Watched) -> None:
    page = seen.open()
    page.get_by_role("combobox", name="Sort").select_option("name")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("app0")
    page.keyboard.press("Enter")
    expect(page.get_by_role("listbox")).to_be_focused()
    expect(page.locator(".story h2")).to_have_text("app00")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".story h2")).to_have_text("app01")
    expect(page.locator('[aria-selected="true"] .name')).to_contain_text("app01")
    page.keyboard.press("End")
    expect(page.locator(".story h2")).to_have_text("app09")
    page.keyboard.press("Enter")
    chart = page.get_by_role("slider")
    expect(chart).to_be_focused()
    page.keyboard.press("Home")
    oldest = int(chart.get_attribute("aria-valuenow") or 0)
    page.keyboard.press("ArrowRight")
    expect(chart).to_have_attribute("aria-valuenow", str(oldest + 300))
    assert re.search(r"\d\d:\d\d: actual \d", chart.get_attribute("aria-valuetext") or "")
    page.keyboard.press("End")
    assert re.search(r": expected \d.* \(.* to .*\)", chart.get_attribute("aria-valuetext") or "")
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_focused()


def test_what_has_the_focus_is_seen_to_have_it(seen: Watched) -> None:
    page = seen.open()
    choose(page, "app00")
    page.keyboard.press("Escape")
    stops = 0
    for _ in range(40):
        page.keyboard.press("Tab")
        where, width = page.evaluate(OUTLINE)
        if where.startswith("BODY"):
            break
        stops += 1
        assert width >= 2, where
    assert stops > 10


def test_a_screen_reader_meets_names_and_landmarks(seen: Watched) -> None:
    page = seen.open()
    choose(page, "app00")
    tree = page.locator("body").aria_snapshot()
    for line in (
        "- banner",
        '- navigation "Forecasts"',
        "- main",
        '- region "The chosen series"',
        "- contentinfo",
        '- searchbox "Search by name or label"',
        '- combobox "Forecast"',
        '- listbox "Series that are forecast"',
        '- heading "CloudPulse" [level=1]',
        '- heading "app00" [level=2]',
        '- group "Back and ahead"',
        '- radio "24 h" [checked]',
        'button "Copy: The series itself"',
        '- region "Accuracy"',
    ):
        assert line in tree, line
    assert not re.search(r"- (button|option|slider|checkbox|radio|combobox|searchbox|link)( \[.*\])?:?$", tree, re.M)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(browser: Browser, stage: Stage, scheme: Any) -> None:
    """WCAG AA, 1.4.3: 4.5 to 1."""
    with watched(browser, stage.url, color_scheme=scheme) as one:
        page = one.open()
        choose(page, "app00")
        stage.alert("Contrasting")
        page.locator("#firing li").wait_for()
        poor = page.evaluate(CONTRAST)
        assert poor == []
        assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == scheme
        stage.alert("Contrasting", status="resolved")


@pytest.mark.parametrize("width", [360, 768, 1280, 2560])
def test_no_width_makes_anything_overflow(browser: Browser, stage: Stage, width: int) -> None:
    with watched(browser, stage.url, viewport={"width": width, "height": 740}) as one:
        page = one.open()
        for step in ("list", "story"):
            if step == "story":
                choose(page, "<img")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            outside = page.evaluate(
                "[...document.querySelectorAll('.story, .tools, .top, .row, .foot, .card')]"
                ".filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.className)"
            )
            assert outside == []
        assert one.wrong == []


def test_on_a_phone_a_series_takes_the_place_of_the_list_and_back_leads_there(browser: Browser, stage: Stage) -> None:
    with watched(browser, stage.url, viewport={"width": 360, "height": 740}, has_touch=True) as one:
        page = one.open()
        page.get_by_role("option", name=re.compile("^app00")).tap()
        expect(page.locator(".u-over")).to_be_visible()
        expect(page.get_by_role("listbox")).to_be_hidden()
        page.go_back()
        expect(page.get_by_role("listbox")).to_be_visible()
        page.get_by_role("option", name=re.compile("^app01")).tap()
        page.get_by_role("button", name="← All forecasts").tap()
        expect(page.get_by_role("listbox")).to_be_visible()
        assert one.wrong == []


def test_the_theme_is_kept(seen: Watched) -> None:
    page = seen.open()
    for theme in ("light", "dark"):
        page.locator("#theme").click()
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Theme: dark").click()
    assert page.locator("html").get_attribute("data-theme") is None


@pytest.mark.parametrize("clipboard", ["allowed", "denied"])
def test_queries_are_copied_with_and_without_permission(browser: Browser, stage: Stage, clipboard: str) -> None:
    with watched(browser, stage.url) as one:
        if clipboard == "allowed":
            one.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        else:
            one.page.add_init_script("delete Navigator.prototype.clipboard")
        page = one.open()
        choose(page, "app00")
        page.get_by_role("button", name="Copy: The series itself").click()
        expect(page.locator(".queries button").first).to_have_text("Copied")
        expect(page.locator("#say")).to_have_text("copied")
        assert one.wrong == []


def test_a_new_forecast_is_shown_by_itself(seen: Watched, stage: Stage) -> None:
    page = seen.open()
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    choose(page, "app00")
    before = page.locator(".row .value").first.inner_text()
    page.evaluate("window.kept = true")
    stage.change(observed=stage.issue.observed * 3, forecast=_copied(stage))
    expect(page.locator(".row .value").first).not_to_have_text(before, timeout=2000)
    expect(page.locator(".summary")).to_contain_text(f"Now {_value(page, stage.issue.observed[0])}", timeout=2000)
    stage.change(observed=stage.issue.observed / 3, forecast=_copied(stage))
    assert page.evaluate("window.kept")


def _copied(stage: Stage) -> Any:
    """The same forecast as another object, as a new round makes it."""
    return replace(stage.issue.forecast)


def _value(page: Page, value: float) -> str:
    text: str = page.evaluate("value => Number(value.toPrecision(3)).toString()", float(value))
    return text


def test_alerts_of_the_bridge_are_listed_while_they_fire_and_told_once(seen: Watched, stage: Stage) -> None:
    page = seen.open()
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    choose(page, "app02")
    stage.alert("DemandHigh", app="app02", forecast="rps")
    expect(page.locator("#firing li")).to_have_count(1)
    expect(page.locator("#firing")).to_contain_text("summary of DemandHigh")
    expect(page.locator("#say")).to_have_text("Alert DemandHigh: summary of DemandHigh")
    expect(page.locator(".legend")).to_contain_text("alert began (1)")
    page.reload()
    expect(page.locator("#firing li")).to_have_count(1)
    stage.alert("DemandHigh", status="resolved", app="app02", forecast="rps")
    expect(page.locator("#alerts")).to_be_hidden()


def test_a_thousand_series_are_as_many_elements_as_are_seen(
    browser: Browser, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with staged(tmp_path) as one:
        one.forecast([{"app": f"app{i:04}", "zone": f"zone{i % 7}"} for i in range(1000)])
        with watched(browser, one.url) as watching:
            page = watching.open()
            expect(page.locator("#found")).to_have_text("1000 series")
            record_property(
                "first_view_ms", page.evaluate("performance.getEntriesByName('cloudpulse-rows')[0].startTime")
            )
            assert 10 < page.locator(".row").count() < 40
            page.get_by_role("combobox", name="Sort").select_option("name")
            page.get_by_role("listbox").press("End")
            expect(page.locator(".story h2")).to_have_text("app0999 · zone5")
            last = page.locator('[aria-selected="true"]')
            expect(last).to_be_in_viewport()
            expect(last).to_have_attribute("aria-posinset", "1000")
            assert page.locator(".row").count() < 40
            assert watching.wrong == []


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ({}, "Say what to forecast in cloudpulse.yaml"),
        ({"rps": "starting"}, "The first forecasts follow as soon as the history of each query is read"),
        ({"rps": "http://localhost:9090 can't be reached: refused"}, "can't be reached: refused"),
    ],
)
def test_an_empty_page_says_what_to_do(browser: Browser, tmp_path: Path, states: dict[str, str], said: str) -> None:
    with staged(tmp_path) as one, watched(browser, one.url) as watching:
        one.rounds.shown = states
        one.rounds.wanted = [one.bench.target] if states else []
        watching.page.goto(f"{one.url}/console")
        expect(watching.page.locator("#empty")).to_contain_text(said)
        one.forecast(APPS[:2])
        expect(watching.page.locator(".row")).to_have_count(2)
        assert watching.wrong == []


def test_a_restart_of_the_forecaster_is_survived(browser: Browser, tmp_path: Path) -> None:
    """The real process, killed and started again: the page says so, comes back by itself, and shows what is new."""
    with serving(query_api(Playing().source)) as prometheus:
        process = ForecasterProcess(tmp_path, prometheus)
        process.kill()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        # Named from the start, as people do.
        process.start(port)
        try:
            with watched(browser, process.url) as one:
                page = one.open()
                expect(page.locator("#live")).to_have_attribute("data-state", "live")
                choose(page, "a")
                process.kill()
                expect(page.locator("#live-word")).to_contain_text("reconnecting in")
                page.evaluate("window.kept = true")
                process.start(port)
                expect(page.locator("#live")).to_have_attribute("data-state", "live", timeout=60_000)
                expect(page.locator("#away")).to_be_hidden()
                when = page.get_by_role("slider").get_attribute("aria-valuemax")
                expect(page.get_by_role("slider")).not_to_have_attribute("aria-valuemax", str(when))
                assert page.evaluate("window.kept"), "the page was never loaded anew"
                assert one.strangers == []
        finally:
            process.kill()


OUTLINE = """
() => {
  const at = document.activeElement; // of a switch its word is outlined, which follows it
  const widths = [at, at.nextElementSibling].filter(Boolean).map((e) => getComputedStyle(e))
    .map((style) => (style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth)));
  return [`${at.tagName} ${at.className}`, Math.max(...widths)];
}
"""

CONTRAST = """
() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return { r, g, b, a };
  };
  const light = ({ r, g, b }) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = parse(getComputedStyle(e).backgroundColor);
      if (color.a === 1) return color;
    }
    return { r: 255, g: 255, b: 255 };
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const [text, element] = [walker.currentNode.textContent.trim(), walker.currentNode.parentElement];
    if (!text || !element.checkVisibility() || element.closest("noscript, svg, .unseen, option")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push([text.slice(0, 40), ratio.toFixed(2)]);
  }
  return found;
}
"""
