from __future__ import annotations

import numpy as np
import pytest

from forecaster import charts
from forecaster.charts import SIZE, Axis

X = Axis(0.0, 10.0, ())
Y = Axis(0.0, 100.0, ())


@pytest.mark.parametrize(
    ("values", "low", "high", "texts"),
    [
        ([3.0, 97.0], 0, 100, ["0", "50", "100"]),
        ([1000.0, 1900.0], 1000, 2000, ["1k", "1.5k", "2k"]),
        ([-0.02, 0.03], -0.02, 0.04, ["-0.02", "0", "0.02", "0.04"]),
        ([5.0, 5.0], 2, 8, ["2", "4", "6", "8"]),
        ([], 0, 1, ["0", "0.5", "1"]),
    ],
)
def test_an_axis_has_round_ends_that_hold_every_value(
    values: list[float], low: float, high: float, texts: list[str]
) -> None:
    axis = charts.number_axis(np.array([*values, np.nan]))
    assert axis.low == pytest.approx(low)
    assert axis.high == pytest.approx(high)
    assert [tick.text for tick in axis.ticks] == texts
    assert (axis.ticks[0].percent, axis.ticks[-1].percent) == (0, 100)


def test_time_is_marked_at_round_utc_times() -> None:
    start = 1_700_000_000.0  # 2023-11-14 22:13:20
    assert [tick.text for tick in charts.time_axis(start, start + 3 * 86400).ticks] == [
        "15 Nov 00:00",
        "15 Nov 12:00",
        "16 Nov 00:00",
        "16 Nov 12:00",
        "17 Nov 00:00",
        "17 Nov 12:00",
    ]
    assert [tick.text for tick in charts.time_axis(start, start + 7 * 86400).ticks][:2] == ["15 Nov", "16 Nov"]


@pytest.mark.parametrize(
    ("step", "steps", "first", "last"),
    [(300, 288, "6 h", "24 h"), (60, 60, "10 min", "60 min"), (3600, 240, "2 d", "10 d"), (60, 1, "1 min", "1 min")],
)
def test_leads_are_marked_in_the_unit_that_fits(step: float, steps: int, first: str, last: str) -> None:
    ticks = charts.lead_axis(step, steps).ticks
    assert (ticks[0].text, ticks[-1].text) == (first, last)


def test_a_line_breaks_at_gaps_and_up_is_up() -> None:
    path = charts.line("k", X, Y, np.arange(5.0), np.array([0, 100, np.nan, 50, 50])).path
    assert path == f"M0.0 {SIZE}.0L100.0 0.0M300.0 500.0L400.0 500.0"


def test_a_long_line_keeps_its_extremes() -> None:
    values = np.full(20_000, 50.0)
    values[12_345], values[777] = 100.0, 0.0
    path = charts.line("k", X, Y, np.linspace(0, 10, 20_000), values).path
    heights = {float(pair.split()[1]) for pair in path.replace("M", "L").split("L") if pair}
    assert heights == {0.0, 500.0, 1000.0}
    assert len(path) < 20_000


def test_an_area_goes_there_along_the_top_and_back_along_the_bottom() -> None:
    shape = charts.area("k", X, Y, np.array([0.0, 10.0]), np.array([0.0, 0.0]), np.array([100.0, 50.0]))
    assert shape.path == "M0.0 0.0L1000.0 500.0L1000.0 1000.0L0.0 1000.0Z"
    nothing = np.array([np.nan, np.nan])
    assert charts.area("k", X, Y, np.array([0.0, 10.0]), nothing, nothing).path == ""
