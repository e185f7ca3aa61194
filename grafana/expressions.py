"""Every expression of every panel, variable and annotation, with the variables filled in: what the tests ask."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")
_LABEL_VALUES = re.compile(r"label_values\((.*),\s*(\w+)\)$", re.DOTALL)


@dataclass(frozen=True)
class Expression:
    """PromQL as it stands in a dashboard's JSON, and where: a panel's title, or `$name` of a variable."""

    board: str
    place: str
    expr: str
    legend: str = ""
    instant: bool = False
    now: bool = False
    """Asked for what is now although the dashboard's range ends elsewhere (`timeFrom`)."""

    def filled(self, values: Mapping[str, str]) -> str:
        """With each variable replaced, `$__range` and its like included; KeyError where `values` lack one."""
        return _VARIABLE.sub(lambda match: values[match[1] or match[2]], self.expr)

    @property
    def variables(self) -> set[str]:
        """The names of the variables in it."""
        return {match[1] or match[2] for match in _VARIABLE.finditer(self.expr)}


def expressions(board: Mapping[str, Any]) -> Iterator[Expression]:
    """Those of a dashboard's parsed JSON: panels (in collapsed rows, too), then variables, then annotations."""
    uid = str(board["uid"])
    for panel in panels(board):
        for target in panel.get("targets", []):
            yield Expression(
                uid,
                str(panel["title"]),
                target["expr"],
                target.get("legendFormat", ""),
                bool(target.get("instant")),
                "timeFrom" in panel,
            )
    for variable in board["templating"]["list"]:
        if found := _LABEL_VALUES.match(str(variable["query"].get("query", "")) if variable["type"] == "query" else ""):
            yield Expression(uid, f"${variable['name']}", found[1])
    for marks in board["annotations"].get("list", []):
        yield Expression(uid, str(marks["name"]), marks["expr"])


def panels(board: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel but the rows' headers, those within collapsed rows included."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels", [])
        else:
            yield panel
