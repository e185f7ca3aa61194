"""The forecaster's HTTP face: what is forecast, as JSON."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from flask import Flask, Response, jsonify, request
from numpy.typing import NDArray

from cloudpulse.clock import Clock
from cloudpulse.durations import Duration
from cloudpulse.serving import Collects, Face, Health, Link
from forecaster.demotion import Demoted
from forecaster.queryapi import views as queryapi
from forecaster.queryapi.catalogue import Catalogue
from forecaster.rounds import Rounds
from forecaster.store import ForecastStore, Issue
from forecaster.thresholds import time_to_threshold


def create_app(store: ForecastStore, rounds: Rounds, clock: Clock) -> Flask:
    """`GET /api/v1/forecasts` and `/api/v1/forecasts/<name>`."""
    app = Flask("cloudpulse.forecaster")
    app.register_blueprint(queryapi.blueprint(Catalogue(store, clock), clock))

    @app.get("/api/v1/forecasts")
    def forecasts() -> Response:
        return jsonify({"forecasts": [_summary(issue) for issue in store.fresh()], "states": rounds.states()})

    @app.get("/api/v1/forecasts/<name>")
    def forecast(name: str) -> Response | tuple[Response, int]:
        issue = store.get(name)
        if issue is None:
            state = rounds.states().get(name)
            why = f"{name} has no fresh forecast: {state}" if state else f"no forecast is named {name}"
            return jsonify({"error": why}), 404
        wanted = request.args.to_dict()
        return jsonify({**_summary(issue), "series": _series(issue, wanted, clock())})

    @app.errorhandler(404)
    def not_found(_: Exception) -> tuple[Response, int]:
        return jsonify({"error": f"{request.path} is not here; see / for what is"}), 404

    return app


def face(
    store: ForecastStore,
    rounds: Rounds,
    clock: Clock,
    metrics: list[Collects],
    reload: Callable[[], None] | None,
) -> Face:
    """The forecaster's whole WSGI app."""
    return Face(
        "CloudPulse forecaster",
        metrics,
        lambda: _health(store, rounds),
        links=[Link("/api/v1/forecasts", "Forecasts (JSON)")],
        app=create_app(store, rounds, clock).wsgi_app,
        reload=reload,
    )


def _health(store: ForecastStore, rounds: Rounds) -> Health:
    """Ready with a fresh forecast of any target (or none to make): one broken query is no outage."""
    states = rounds.states()
    return Health(bool(store.fresh()) or not states, {f"forecast {name}": state for name, state in states.items()})


def _summary(issue: Issue) -> dict[str, Any]:
    target = issue.target
    return {
        "name": target.name,
        "query": target.query,
        "step_seconds": float(target.step),
        "horizons": [str(horizon) for horizon in target.horizons],
        "levels": list(target.levels),
        "thresholds": [threshold.value for threshold in target.crossings],
        "issued_at": issue.issued_at,
        "series_count": len(issue.forecast.labels),
        "model_version": issue.version,
        "trained_at": _number(issue.trained_at),
    }


def _series(issue: Issue, wanted: dict[str, str], now: float) -> list[dict[str, Any]]:
    """The series whose labels are as `wanted` says, each with its whole path."""
    crossing = {one.label: time_to_threshold(issue, one, now) for one in issue.target.crossings}
    levels = [(k, level) for k, level in enumerate(issue.forecast.levels) if level in issue.target.levels]
    answer = []
    for i, labels in enumerate(issue.forecast.labels):
        if any(labels.get(name) != value for name, value in wanted.items()):
            continue
        answer.append(
            {
                "labels": dict(labels),
                "observed": _number(issue.observed[i]),
                "start": issue.forecast.start,
                "values": {f"{level:g}": _numbers(issue.forecast.values[i, :, k]) for k, level in levels},
                "weights": {model: _number(weights[i]) for model, weights in issue.weights.items()},
                "mase": {
                    str(horizon): _number(issue.scores.mase[i, h]) for h, horizon in enumerate(issue.target.horizons)
                },
                "demoted": _demoted(issue.demoted, i),
                "seconds_to_threshold": {
                    threshold: {f"{level:g}": _number(seconds[i, k]) for k, level in levels}
                    for threshold, seconds in crossing.items()
                },
                "threshold_probability": {
                    threshold: {str(horizon): _number(chances[i, h]) for h, horizon in enumerate(issue.target.horizons)}
                    for threshold, chances in issue.chances.items()
                },
            }
        )
    return answer


def _demoted(demoted: Demoted, row: int) -> dict[str, dict[str, Any]]:
    """The models that have no say in a series: how far ahead, since when and why."""
    answer = {}
    for model, since in demoted.since.items():
        out = np.flatnonzero(~np.isnan(since[row])).tolist()
        if out:
            first = min(out, key=lambda h: since[row, h])
            ratio = float(demoted.ratio[model][row, first])
            answer[model] = {
                "horizons": [str(Duration(demoted.leads[h])) for h in out],
                "since": float(since[row, first]),
                "error_ratio": _number(ratio),
                "why": f"its error was {ratio:.2g} times that of seasonal naive",
            }
    return answer


def _number(value: float) -> float | None:
    """JSON has neither NaN nor infinity: null for both."""
    return float(value) if math.isfinite(value) else None


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [_number(value) for value in values]
