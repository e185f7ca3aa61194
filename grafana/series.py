"""How dashboards speak of one series whose labels they can't know: by `matchers`, the label of forecast_info."""

from __future__ import annotations

from cloudpulse import names
from grafana.board import uid
from grafana.panels import Link

SELECTED = "${series:raw}"
"""The matchers of the series that is picked in `$series`; raw, since the forecaster has escaped them."""
INFO = names.FORECAST_INFO.name


def one(metric: names.Definition, **matchers: str) -> str:
    """A selector of the picked series. Where it has no labels at all, the last comma is one that PromQL allows."""
    own = "".join(f', {name}="{value}"' for name, value in matchers.items())
    return f'{metric.name}{{forecast="$forecast"{own}, {SELECTED}}}'


def some(metric: names.Definition, **matchers: str) -> str:
    """A selector of every series of the forecasts that are picked in `$forecast`, of which there may be many."""
    own = "".join(f', {name}="{value}"' for name, value in matchers.items())
    return f'{metric.name}{{forecast=~"$forecast"{own}}}'


def named(expr: str, *own: str, aggregate: str = "max", shown: tuple[str, ...] = ()) -> str:
    """`expr`, a selector whose labels of ours besides `forecast` are `own`, as forecast, matchers and `shown`."""
    by = ", ".join(("forecast", "matchers", *shown))
    ignoring = ", ".join((*own, "matchers"))
    return f"{aggregate} by ({by}) ({expr} * ignoring ({ignoring}) group_left (matchers) {INFO})"


def link() -> Link:
    """From a table's row with the columns Forecast and Series to that series on the board *Forecast*."""
    fields = "${__data.fields.Forecast:percentencode}", "${__data.fields.Series:percentencode}"
    query = f"var-datasource=${{datasource}}&var-forecast={fields[0]}&var-series={fields[1]}"
    return Link("Open this series", f"/d/{uid('forecast')}?{query}")
