"""The variables at the top of a dashboard. Each asks anew when the range changes."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models.dashboard import VariableModel, VariableRefresh, VariableSort

from grafana.queries import DATASOURCE

ANY = ".+"
"""What "All" stands for: one regular expression instead of every value, so that it doesn't grow with them."""


def datasource() -> VariableModel:
    """Which Prometheus; its default unless another is picked. Every board has it."""
    return _plain(builders.DatasourceVariable("datasource").label("Data source").type("prometheus").build())


def label_values(
    name: str,
    label: str,
    series: str,
    of: str,
    *,
    many: bool = False,
    sort: VariableSort = VariableSort.ALPHABETICAL_ASC,
    description: str | None = None,
) -> VariableModel:
    """`$name`: the values of the label `of` in `series` (a selector); the first one, or with `many` all at first.

    Use `=~"$name"` where there may be many. `label` is what is shown.
    """
    made = builders.QueryVariable(name).label(label).datasource(DATASOURCE).sort(sort)
    made = made.query({"query": f"label_values({series}, {of})", "refId": f"variable-{name}"})
    made = made.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).multi(many).include_all(many)
    if many:
        made = made.all_value(ANY)
    if description is not None:
        made = made.description(description)
    return _plain(made.build())


def _plain(variable: VariableModel) -> VariableModel:
    """Without what only variables of intervals have, which the SDK writes into all."""
    variable.auto = variable.auto_min = variable.auto_count = None
    return variable
