"""A dashboard: what is asked, laid out in rows; and its JSON, the same at every run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    GridPos,
    Panel,
    RowPanel,
    VariableModel,
)

from grafana import variables
from grafana.expressions import panels
from grafana.queries import DATASOURCE

TAG = "cloudpulse"
COLUMNS = 24
PLUGIN_VERSION = "10.1.0"
"""The Grafana whose panels the SDK describes: later ones bring them up to theirs as they load them."""
FUTURE = ("now-24h", "now+24h")
"""The range of a board that draws forecasts."""


@dataclass(frozen=True)
class Row:
    """Panels side by side, on the next line where 24 columns are full; without a title there is no line above them."""

    title: str | None
    panels: Sequence[Panel]
    collapsed: bool = False


@dataclass(frozen=True)
class Board:
    """One dashboard. `name` is the file's and the end of the uid: both stay as they are, since people link to them."""

    name: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[VariableModel] = ()
    """Besides `datasource`."""
    span: tuple[str, str] = ("now-24h", "now")
    alerts: str | None = None
    """Matchers of the alerts to be marked in every panel with a time axis."""

    @property
    def uid(self) -> str:
        """What links name it by."""
        return uid(self.name)


def uid(name: str) -> str:
    """The uid of the board `name`."""
    return f"{TAG}-{name}"


def rendered(board: Board) -> str:
    """The JSON of `board`, for import and provisioning; sorted, so that a difference shows what was changed."""
    tree = json.loads(json.dumps(built(board), cls=JSONEncoder))
    for panel in panels(tree):
        if "timeFrom" in panel:
            # "Last 5 minutes" would take the room of a small panel's title. The SDK lacks it.
            panel["hideTimeOverride"] = True
    return json.dumps(tree, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def built(board: Board) -> Dashboard:
    """The SDK's dashboard; panels are numbered in reading order."""
    made = builders.Dashboard(board.title).uid(board.uid).description(board.description).tags([TAG])
    made = made.readonly().tooltip(DashboardCursorSync.CROSSHAIR).refresh("1m").time(*board.span).timezone("browser")
    made = made.link(_to_the_others())
    whole = made.build()
    whole.templating.list_val = [variables.datasource(), *board.variables]
    whole.annotations.list_val = [] if board.alerts is None else [AlertMarks(board.alerts)]
    whole.panels = list(_placed(board.rows))
    return whole


class AlertMarks(AnnotationQuery):
    """Firing alerts of Prometheus. The SDK's model lacks what the data source reads besides (docs: annotations)."""

    def __init__(self, matchers: str) -> None:
        expr = f'ALERTS{{alertstate="firing", {matchers}}}'
        super().__init__(name="Alerts", datasource=DATASOURCE, icon_color="orange", expr=expr)

    def to_json(self) -> dict[str, object]:
        """With the texts of a mark."""
        return super().to_json() | {
            "titleFormat": "{{alertname}}",
            "textFormat": "{{severity}} {{forecast}} {{instance}}",
            "tagKeys": "alertname,severity",
            "step": "60s",
        }


def _to_the_others() -> builders.DashboardLink:
    """Each board opens with its own range: one that looks ahead is of no use with a range that ends now."""
    made = builders.DashboardLink("CloudPulse").type(DashboardLinkType.DASHBOARDS).tags([TAG]).as_dropdown(True)
    return made.include_vars(True).keep_time(False).icon("external link").tooltip("All dashboards of CloudPulse")


def _placed(rows: Sequence[Row]) -> Iterator[Panel | RowPanel]:
    """Every panel with an id and a place; those of a collapsed row are within it."""
    number, y = 1, 0
    for row in rows:
        header = None
        if row.title is not None:
            header = RowPanel(row.collapsed, row.title, grid_pos=GridPos(1, COLUMNS, 0, y), id_val=number)
            number, y = number + 1, y + 1
            yield header
        x = tallest = 0
        for panel in row.panels:
            place = panel.grid_pos
            assert place is not None, "every panel of grafana.panels has a size"
            if x + place.w > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            place.x, place.y = x, y
            panel.id_val, panel.plugin_version = number, PLUGIN_VERSION
            x, tallest, number = x + place.w, max(tallest, place.h), number + 1
            if header is not None and row.collapsed:
                header.panels.append(panel)
            else:
                yield panel
        y += tallest
