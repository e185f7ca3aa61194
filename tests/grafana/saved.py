"""The committed dashboards as Grafana reads them, and their expressions with the variables filled in."""

from __future__ import annotations

import json
from typing import Any

from grafana.__main__ import FOLDER
from grafana.expressions import Expression, expressions

DASHBOARDS: dict[str, dict[str, Any]] = {
    file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))
}
EXPRESSIONS: list[Expression] = [one for board in DASHBOARDS.values() for one in expressions(board)]
DURATIONS = {"__range": "48h", "__rate_interval": "1m", "__interval": "1m"}
"""What Grafana fills in itself."""
NUMBERS = {"low": "0.1", "high": "0.9"}
"""Variables that stand for numbers in an expression."""
ANYTHING = "1h"
"""For every other variable: a text, which stands as a duration, too."""


def filled(expression: Expression) -> str:
    """PromQL as Grafana would send it, with some value for each variable."""
    values = dict.fromkeys(expression.variables, ANYTHING) | {"series": 'app="a"'} | DURATIONS | NUMBERS
    return expression.filled(values)


def identifier(expression: Expression) -> str:
    return f"{expression.board.removeprefix('cloudpulse-')}-{expression.place}"
