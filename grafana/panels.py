"""Panels, each with a title, a description and a unit; a board places and numbers them.

Widths are in columns of 24, heights in rows of Grafana's grid. `now=True` is for a board whose range ends in the
future: the panel shows what is now, not what is at the end of the range, where nothing is measured yet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import stat as stat_builders
from grafana_foundation_sdk.builders import table as table_builders
from grafana_foundation_sdk.builders import timeseries as timeseries_builders
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Panel,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)

from grafana.queries import DATASOURCE, Query, ref_id

NOW_RANGE = "5m"
"""What `now=True` looks back: as long as Prometheus takes a sample for current."""
Builder = timeseries_builders.Panel | stat_builders.Panel | table_builders.Panel
VALUES = tuple(f"Value #{ref_id(position)}" for position in range(8))
"""What Grafana calls the values of a table's queries."""
Steps = Sequence[tuple[float | None, str]]
"""Colours from values on, rising; the first value is None: from the bottom."""


@dataclass(frozen=True)
class Link:
    """A link behind a value; `url` may hold `${__data.fields.…}` and the board's variables."""

    title: str
    url: str


@dataclass(frozen=True)
class Column:
    """A column of a table: `field` is a label, or `VALUES[0]` for the first query's value."""

    field: str
    title: str
    unit: str | None = None
    steps: Steps = ()
    """Colours of the cell's background; none without."""
    width: int | None = None
    links: Sequence[Link] = ()
    decimals: int | None = None

    def properties(self) -> list[DynamicConfigValue]:
        """Grafana's overrides of the field."""
        values: dict[str, object | None] = {
            "unit": self.unit,
            "decimals": self.decimals,
            # Grafana writes the panel's own `no_value`, which is of no row at all, into every empty cell otherwise.
            "noValue": None if self.unit is None else "–",
            "custom.width": self.width,
            "links": [{"title": link.title, "url": link.url} for link in self.links] or None,
        }
        if self.steps:
            values["thresholds"] = _thresholds(self.steps).build()
            values["color"] = {"mode": "thresholds"}
            values["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
        return [DynamicConfigValue(name, value) for name, value in values.items() if value is not None]


def timeseries(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = 12,
    height: int = 8,
    limit: float | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    stacked: bool = False,
    now: bool = False,
    legend_calcs: Sequence[str] = (),
) -> Panel:
    """Lines over time. `limit` draws a dashed line there, and what is above is the worse side."""
    made = (
        timeseries_builders.Panel().unit(unit).line_width(1.5).fill_opacity(0).show_points(common.VisibilityMode.NEVER)
    )
    made = made.tooltip(_tooltip()).legend(_legend(legend_calcs))
    if limit is not None:
        style = common_builders.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED)
        made = made.thresholds(_thresholds(((None, "transparent"), (limit, "red")))).thresholds_style(style)
    if stacked:
        made = made.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL)).fill_opacity(40)
    if minimum is not None:
        made = made.min(minimum)
    if maximum is not None:
        made = made.max(maximum)
    for position, query in enumerate(queries):
        made = made.with_target(query.target(ref_id(position)))
        if properties := query.look.properties():
            made = made.override_by_query(ref_id(position), properties)
    return _finished(made, title, description, width, height, NOW_RANGE if now else None)


def stat(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = 4,
    height: int = 4,
    steps: Steps = ((None, "text"),),
    words: Mapping[str, str] | None = None,
    no_value: str | None = None,
    sparkline: bool = False,
    now: bool = False,
    links: Sequence[Link] = (),
    decimals: int | None = None,
) -> Panel:
    """A number for each series, of the range's end alone: with a `sparkline` it is the last one in the range.

    `words` are shown instead of values: {"0": "down"}.
    """
    made = stat_builders.Panel().unit(unit).thresholds(_thresholds(steps)).color_mode(common.BigValueColorMode.VALUE)
    made = made.graph_mode(common.BigValueGraphMode.AREA if sparkline else common.BigValueGraphMode.NONE)
    made = made.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    made = made.text_mode(common.BigValueTextMode.AUTO).orientation(common.VizOrientation.AUTO)
    made = made.color_scheme(dashboard_builders.FieldColor().mode(FieldColorModeId.THRESHOLDS))
    if words:
        made = made.mappings(_mappings(words))
    if no_value is not None:
        made = made.no_value(no_value)
    if decimals is not None:
        made = made.decimals(decimals)
    if links:
        made = made.data_links([dashboard_builders.DashboardLink(link.title).url(link.url) for link in links])
    for position, query in enumerate(queries):
        made = made.with_target(query.target(ref_id(position), instant=not sparkline))
    return _finished(made, title, description, width, height, NOW_RANGE if now else None)


def table(
    title: str,
    description: str,
    *queries: Query,
    columns: Sequence[Column],
    sort: str,
    descending: bool = False,
    width: int = 12,
    height: int = 8,
    no_value: str | None = None,
    now: bool = False,
) -> Panel:
    """A row for each set of labels, the queries' values side by side; only `columns`, in their order.

    Queries whose answers have the same labels meet in one row: aggregate `by` the same labels. `sort` is a column's
    title.
    """
    made = table_builders.Panel().unit("none").cell_height(common.TableCellHeight.SM)
    for position, query in enumerate(queries):
        made = made.with_target(query.target(ref_id(position), table=True))
    for column in columns:
        if properties := column.properties():
            made = made.override_by_name(column.title, properties)
    if no_value is not None:
        made = made.no_value(no_value)
    by = common_builders.TableSortByFieldState().display_name(sort).desc(descending)
    made = made.sort_by([by]).transformations(_side_by_side(columns, alone=len(queries) == 1))
    return _finished(made, title, description, width, height, NOW_RANGE if now else None)


def _side_by_side(columns: Sequence[Column], *, alone: bool) -> list[DataTransformerConfig]:
    """Join the answers, then keep the columns. Where a query is `alone`, Grafana calls its value just "Value"."""
    names = ["Value" if alone and column.field in VALUES else column.field for column in columns]
    rename = {name: column.title for name, column in zip(names, columns, strict=True)}
    return [
        DataTransformerConfig("merge", options={}),
        DataTransformerConfig("filterFieldsByName", options={"include": {"names": names}}),
        DataTransformerConfig(
            "organize",
            options={
                "excludeByName": {},
                "indexByName": {name: position for position, name in enumerate(names)},
                "renameByName": rename,
            },
        ),
    ]


def _finished(made: Builder, title: str, description: str, width: int, height: int, time_from: str | None) -> Panel:
    made = made.title(title).description(description).datasource(DATASOURCE).span(width).height(height)
    return (made if time_from is None else made.time_from(time_from)).build()


def _thresholds(steps: Steps) -> dashboard_builders.ThresholdsConfig:
    made = [Threshold(value, color) for value, color in steps]
    return dashboard_builders.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


def _mappings(words: Mapping[str, str]) -> list[ValueMapping]:
    results = {value: ValueMappingResult(text, index=index) for index, (value, text) in enumerate(words.items())}
    return [ValueMap(results)]


def _legend(calcs: Sequence[str]) -> common_builders.VizLegendOptions:
    mode = common.LegendDisplayMode.TABLE if calcs else common.LegendDisplayMode.LIST
    made = common_builders.VizLegendOptions().show_legend(True).display_mode(mode).calcs(list(calcs))
    return made.placement(common.LegendPlacement.BOTTOM)


def _tooltip() -> common_builders.VizTooltipOptions:
    return common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
