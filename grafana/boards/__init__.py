"""The dashboards that exist."""

from __future__ import annotations

from collections.abc import Sequence

from grafana.board import Board
from grafana.boards import accuracy, alerts, forecast, itself, nodes, overview, scaling

BOARDS: Sequence[Board] = (
    overview.BOARD,
    forecast.BOARD,
    accuracy.BOARD,
    nodes.BOARD,
    scaling.BOARD,
    alerts.BOARD,
    itself.BOARD,
)
