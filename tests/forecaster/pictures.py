"""The console's pictures in README and docs: `python -m tests.forecaster.pictures`, or `make screenshots`.

The demo's demand over two days, read, trained on, forecast and checked every five minutes as examples/cloudpulse.yaml
says, by the forecaster's own pipeline; only the clock is moved. What is seen is what it has come to by then.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, expect

from cloudpulse import config, names, share
from cloudpulse.durations import Duration
from cloudpulse.local.demo import load
from cloudpulse.promql import Series
from forecaster.config import ForecasterSettings, Target
from forecaster.exporting import columns
from tests.forecaster.browsing import chromium, watched
from tests.forecaster.stage import Stage, staged

IMAGES = Path(__file__).parents[2] / "docs" / "images"
APP = "app09"
ROUNDS = 52 * 12 + 1  # two days and more: 24 hours ahead is checked for a day, too
MOMENT = 14 * 1440 + 30
"""The minute of the trace that is now."""

PICTURES = {
    "console.png": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light", "device_scale_factor": 1.5},
    "console-dark.png": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "device_scale_factor": 1.5},
}


def example() -> Target:
    """What examples/cloudpulse.yaml says of the demo's demand."""
    settings = config.read(share.path("examples", "cloudpulse.yaml")).section("forecaster", ForecasterSettings)
    return next(target for target in settings.forecasts if target.name == "demand")


def demand(now: float) -> list[Series]:
    """The trace as Prometheus would have it, laid on the clock so that `now` is its MOMENT."""
    minutes = np.arange(MOMENT + 1)
    times = (now // 60 * 60 - 60.0 * minutes[::-1]).astype(np.float64)
    labels = {"__name__": "cloudpulse_demo_requests_per_minute", "instance": "localhost:9815", "job": "demo"}
    trace = load()
    return [
        Series({**labels, "app": app}, times, np.array([trace.at(app, i) for i in minutes.tolist()]))
        for app in trace.values
    ]


def live_through(stage: Stage, now: float) -> None:
    """Two days of rounds up to `now`; what Prometheus would have scraped of them is remembered, by series."""
    bench = stage.bench
    known = demand(now)
    bench.series[:] = [lambda one=one: _until(one, bench.clock.now) for one in known]
    stage.rounds.wanted, stage.rounds.shown = [bench.target], {bench.target.name: "ok"}
    scraped: defaultdict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = defaultdict(list)
    for back in range(ROUNDS - 1, -1, -1):
        bench.clock.now = now - 300.0 * back
        bench.pipeline.round()
        for labels, sample in _scraped(stage):
            scraped[tuple(labels.items())].append(sample)
    stage.earlier[:] = [Series(dict(labels), *np.array(samples).T) for labels, samples in scraped.items()]


def _scraped(stage: Stage) -> Iterator[tuple[dict[str, str], tuple[float, float]]]:
    """Of APP: labels, and the sample as `offset` its horizon shows it."""
    row = next(i for i, labels in enumerate(stage.issue.forecast.labels) if labels["app"] == APP)
    now = stage.bench.clock.now
    wanted = (names.FORECAST_VALUE, names.FORECAST_ANOMALY_SCORE)
    for definition, own, values in columns(stage.issue, now, wanted.__contains__):
        later = float(Duration.parse(own.get("horizon", "0s")))
        if own.get("horizon") != "0s" and np.isfinite(values[row]):
            yield {"__name__": definition.name, **own}, (now + later, float(values[row]))


def _until(series: Series, now: float) -> Series:
    """What was known of it then."""
    known = series.times <= now
    return Series(series.labels, series.times[known], series.values[known])


def picture(browser: Browser, stage: Stage, name: str) -> None:
    """One of PICTURES: the series with what was forecast of it an hour before."""
    with watched(browser, stage.url, **PICTURES[name]) as seen:
        page = seen.open("#earlier=1h")
        page.locator(".row").filter(has_text=APP).click()
        expect(page.locator(".story h2")).to_contain_text(APP)
        expect(page.locator(".legend")).to_contain_text("as forecast before")
        expect(page.locator("#live")).to_have_attribute("data-state", "live")
        page.mouse.move(0, 0)
        # 256 colours are enough for both, and a third of the size.
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        shot.quantize(256, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)
        assert seen.wrong == []


def main() -> None:
    """Write the pictures."""
    now = time.time()
    settings = {key: getattr(example(), key) for key in Target.__struct_fields__}
    with tempfile.TemporaryDirectory() as folder, staged(Path(folder), **settings) as stage:
        live_through(stage, now)
        with chromium() as browser:
            for name in PICTURES:
                picture(browser, stage, name)


if __name__ == "__main__":
    main()
