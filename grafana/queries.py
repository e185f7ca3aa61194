"""What a panel asks: an expression, how its series are named, and how they look."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.models.dashboard import DataSourceRef, DynamicConfigValue
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
"""Every panel, variable and annotation asks the data source that the variable `datasource` names."""


@dataclass(frozen=True)
class Look:
    """How the series of one query are drawn; what is None is as everywhere in the panel. Widths are in pixels."""

    color: str | None = None
    width: float | None = None
    dashed: bool = False
    fill: int | None = None
    """Opacity in percent of the area below the line, or down to `fill_to`."""
    fill_to: str | None = None
    """The legend of another query of the panel, a fixed text: Grafana fills in neither labels nor variables here."""
    in_legend: bool = True
    points: bool = False
    """Points instead of a line."""
    right_axis_unit: str | None = None

    def properties(self) -> list[DynamicConfigValue]:
        """Grafana's overrides of the fields."""
        values: dict[str, object | None] = {
            "color": None if self.color is None else {"mode": "fixed", "fixedColor": self.color},
            "custom.lineWidth": self.width,
            "custom.lineStyle": {"fill": "dash", "dash": [8, 6]} if self.dashed else None,
            "custom.fillOpacity": self.fill,
            "custom.fillBelowTo": self.fill_to,
            "custom.hideFrom": None if self.in_legend else {"legend": True, "tooltip": False, "viz": False},
            "custom.drawStyle": "points" if self.points else None,
            "custom.axisPlacement": None if self.right_axis_unit is None else "right",
            "unit": self.right_axis_unit,
        }
        return [DynamicConfigValue(name, value) for name, value in values.items() if value is not None]


@dataclass(frozen=True)
class Query:
    """A PromQL expression over the panel's range, or (`instant`) at its end; `legend` may hold `{{label}}`."""

    expr: str
    legend: str = ""
    look: Look = Look()
    instant: bool = False

    def target(self, ref_id: str, *, table: bool = False, instant: bool = False) -> prometheus.Dataquery:
        """The SDK's query; `table` answers one row a series, its labels as columns."""
        made = prometheus.Dataquery().ref_id(ref_id).expr(self.expr).datasource(DATASOURCE)
        made = made.editor_mode(QueryEditorMode.CODE)
        if self.legend:
            made = made.legend_format(self.legend)
        if table:
            made = made.format(PromQueryFormat.TABLE)
        return made.instant() if self.instant or table or instant else made.range()


def ref_id(position: int) -> str:
    """A, B, C, …: what Grafana calls the queries of a panel."""
    return chr(ord("A") + position)


def band(lower: str, upper: str, *, color: str = "blue", name: str = "band") -> tuple[Query, Query]:
    """Two expressions with the area between them shaded: no lines, one entry in the legend.

    Each expression must answer one series: the area is joined by the name of its lower edge.
    """
    edge = f"{name}, lower edge"
    return (
        Query(lower, edge, Look(color=color, width=0, fill=0, in_legend=False)),
        Query(upper, name, Look(color=color, width=0, fill=18, fill_to=edge)),
    )
