"""The newest forecasts, in the terminal: what `cloudpulse up` shows a newcomer first."""

from __future__ import annotations

from typing import Any

import requests
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cloudpulse.durations import Duration
from cloudpulse.logs import printable

_BARS = "▁▂▃▄▅▆▇█"
SPARKS = 16
"""Characters in a sparkline of the whole path."""


class Outlook:
    """Asks the forecaster what it has, and prints each forecast once when it appears and once when it is trained."""

    def __init__(self, url: str, console: Console) -> None:
        self._url = url
        self._console = console
        self._shown: dict[str, bool] = {}

    def show_news(self) -> None:
        """Print what is new since the last call; a forecaster that doesn't answer has no news."""
        try:
            listed = requests.get(f"{self._url}/api/v1/forecasts", timeout=5).json()["forecasts"]
            for summary in listed:
                name, trained = summary["name"], summary["model_version"] > 0
                if self._shown.get(name) == trained:
                    continue
                self._shown[name] = trained
                full = requests.get(f"{self._url}/api/v1/forecasts/{name}", timeout=10).json()
                self._console.print(_table(full, trained))
        except (requests.RequestException, ValueError, KeyError):
            return


def _table(forecast: dict[str, Any], trained: bool) -> Table:
    how = "by the trained ensemble" if trained else "by quick models, while the ensemble trains"
    table = Table(title=f"forecast {forecast['name']}, {how}", title_justify="left", box=None, pad_edge=False)
    horizons = forecast["horizons"]
    for heading in ("series", "now", *(f"in {horizon}" for horizon in horizons), f"the next {horizons[-1]}"):
        words = heading in ("series", f"the next {horizons[-1]}")
        table.add_column(heading, justify="left" if words else "right", no_wrap=True)
    for series in forecast["series"]:
        table.add_row(
            Text(printable(_name(series["labels"]))),
            _short(series["observed"]),
            *(_ahead(series, Duration.parse(horizon) / forecast["step_seconds"]) for horizon in horizons),
            sparkline(_middle(series["values"])),
        )
    return table


def _name(labels: dict[str, str]) -> str:
    """The labels that a person tells series apart by."""
    return labels.get("app") or ", ".join(f"{k}={v}" for k, v in labels.items() if k != "job") or "(no labels)"


def _middle(values: dict[str, list[float | None]]) -> list[float | None]:
    levels = sorted(values, key=float)
    return values[levels[len(levels) // 2]]


def _ahead(series: dict[str, Any], steps: float) -> str:
    """`120 (100-140)`: the median and the outer levels at a horizon."""
    index = round(steps) - 1
    levels = sorted(series["values"], key=float)
    low, high = (series["values"][level][index] for level in (levels[0], levels[-1]))
    text = _short(_middle(series["values"])[index])
    return text if low == high else f"{text} ({_short(low)}-{_short(high)})"


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def sparkline(values: list[float | None]) -> str:
    """A path as a row of bars, from its lowest to its highest value; a gap where nothing is known."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    width = min(SPARKS, len(values))
    marks = []
    for i in range(width):
        value = values[i * len(values) // width]
        level = 0 if value is None or high == low else int((value - low) / (high - low) * (len(_BARS) - 1))
        marks.append(" " if value is None else _BARS[level])
    return "".join(marks)
