"""What a picture shows, by its pixels."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from PIL import Image

from alert_bridge.insights import units
from alert_bridge.insights.path import Path
from alert_bridge.insights.picture import BAND, LIMIT, OTHERS, OWN, Painter, Scene

NOW = 1_764_000_000.0
TIMES = NOW + 60.0 * np.arange(-360, 1)
AHEAD = NOW + 60.0 * np.arange(0, 181)
LEVELS = (0.1, 0.5, 0.9)
WAY = Path(AHEAD, LEVELS, 0.6 + np.linspace(0, 1, 181)[:, None] * np.array([-0.2, 0.0, 0.2]))
PAST = Path(TIMES, LEVELS, np.tile([0.4, 0.5, 0.6], (361, 1)))
PLAIN = Scene("HighCPU", "web-1", TIMES, 0.5 + 0.1 * np.sin(TIMES / 3000), limit=0.9, beyond=1, unit=units.RATIO)
FULL = replace(PLAIN, ahead=WAY, expected=PAST, others=[np.full(361, 0.2)])


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter()


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def near(image: np.ndarray, colour: str, opacity: float = 1.0) -> np.ndarray:
    """Where the picture has this colour on white; quantizing moves it a little."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    wanted = opacity * rgb + (1 - opacity) * 255
    return np.asarray((np.abs(image - wanted) < 12).all(axis=2))


def now_column(image: np.ndarray) -> int:
    """Of the dot at the end of the measured line: 6 of 9 hours into the axis."""
    return int(image.shape[1] * (0.125 + 0.855 * 6 / 9.1))


def test_the_band_is_ahead_of_now(painter: Painter) -> None:
    image = pixels(painter.paint(replace(FULL, expected=None)))
    band = near(image, BAND, 0.34)
    now = now_column(image)
    assert band[:, now + 20 :].sum() > 10_000
    assert band[:, : now - 20].sum() < 300


def test_what_was_expected_is_a_paler_band_before_now(painter: Painter) -> None:
    image = pixels(painter.paint(replace(FULL, ahead=None)))
    assert near(image, BAND, 0.16).sum() > 10_000
    assert near(image, BAND, 0.34).sum() < 300


def test_the_threshold_is_a_line_across(painter: Painter) -> None:
    image = pixels(painter.paint(PLAIN))
    row = near(image, LIMIT).sum(axis=1)
    assert row.max() > 0.79 * image.shape[1]
    without = pixels(painter.paint(replace(PLAIN, limit=None)))
    assert near(without, LIMIT).sum(axis=1).max() < 50


def test_a_threshold_may_move(painter: Painter) -> None:
    image = pixels(painter.paint(replace(PLAIN, limit=np.linspace(0.5, 0.9, 361))))
    assert near(image, LIMIT).any(axis=0).sum() > 0.7 * image.shape[1]
    assert near(image, LIMIT).sum(axis=1).max() < 200


def test_the_own_line_stands_out_from_others(painter: Painter) -> None:
    image = pixels(painter.paint(FULL))
    assert near(image, OWN).sum() > near(image, OTHERS).sum() > 500


def test_a_gap_stays_a_gap(painter: Painter) -> None:
    values = PLAIN.values.copy()
    values[100:260] = np.nan
    drawn = near(pixels(painter.paint(replace(PLAIN, values=values))), OWN).any(axis=0)
    inside = drawn[int(drawn.size * 0.42) : int(drawn.size * 0.68)]
    assert not inside.any()


@pytest.mark.parametrize(
    "scene",
    [
        PLAIN,
        FULL,
        replace(PLAIN, values=np.full(361, np.nan)),
        replace(PLAIN, values=np.empty(0), ahead=WAY),
        replace(PLAIN, values=np.full(361, 3.2e15), limit=1e15, unit=units.BYTES),
        replace(PLAIN, values=np.full(361, 2e-9), limit=1e-9, unit=units.SECONDS),
        replace(PLAIN, values=np.full(361, -7.0), limit=None, unit=units.PLAIN),
        replace(PLAIN, values=np.zeros(361), limit=0.0, unit=units.PLAIN),
        replace(PLAIN, values=np.full(361, 1e300), limit=-1e300, unit=units.PLAIN),
        replace(PLAIN, limit=np.full(361, np.nan)),
        replace(PLAIN, limit=np.inf),
        replace(PLAIN, values=np.tile([1.7e308, -1.7e308, 1.0], 121)[:361], limit=1e308),
    ],
)
def test_whatever_the_numbers_it_is_a_small_picture_for_a_phone(painter: Painter, scene: Scene) -> None:
    png = painter.paint(scene)
    assert len(png) < 60_000
    width, height = Image.open(io.BytesIO(png)).size
    assert 1200 <= width <= 1800
    assert 1.4 < width / height < 2


@pytest.mark.parametrize(
    "title", ["$x^{", "$x^{$", "日本 ☃ 🔥", "a\nb\x00\x1b[1m", "x" * 5000, "", "‮gnp.exe", "é" * 60]
)
def test_a_title_is_text_whatever_it_holds(painter: Painter, title: str) -> None:
    """Warnings are errors here: neither mathtext nor a missing glyph makes one."""
    assert painter.paint(replace(PLAIN, title=title, subtitle=title))


def test_several_threads_may_draw(painter: Painter) -> None:
    done: list[bytes] = []
    threads = [threading.Thread(target=lambda: done.append(painter.paint(FULL))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 4
    assert set(done) == {painter.paint(FULL)}


def test_times_are_in_the_time_zone_asked_for(painter: Painter) -> None:
    assert painter.paint(PLAIN) != Painter(ZoneInfo("Asia/Kolkata")).paint(PLAIN)
