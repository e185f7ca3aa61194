"""The dashboards that exist."""

from __future__ import annotations

from collections.abc import Sequence

from grafana.board import Board

BOARDS: Sequence[Board] = ()
