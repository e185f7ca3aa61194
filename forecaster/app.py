"""The forecaster's HTTP face: what is forecast, as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from flask import Blueprint, Flask, Response, jsonify, request
from numpy.typing import NDArray
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from cloudpulse.clock import Clock
from cloudpulse.durations import Duration
from cloudpulse.serving import Health, Link
from cloudpulse.traced import ROUTE
from forecaster.earlier import Earlier
from forecaster.overview import Overview, Page, paged
from forecaster.rounds import Rounds
from forecaster.store import ForecastStore, Issue
from forecaster.story import Stories
from forecaster.table import demotions
from forecaster.thresholds import time_to_threshold

DEFAULT_PAST = Duration.parse("24h")
"""Of a series, unless `past` says how much."""


def create_app(store: ForecastStore, rounds: Rounds, clock: Clock, parts: Sequence[Blueprint] = ()) -> Flask:
    """`GET /api/v1/forecasts` and `/api/v1/forecasts/<name>`, for programs, and these parts."""
    app = Flask("cloudpulse.forecaster")
    for part in parts:
        app.register_blueprint(part)

    @app.before_request
    def tell_the_route() -> None:
        if request.url_rule is not None:
            request.environ[ROUTE] = request.url_rule.rule

    @app.get("/api/v1/forecasts")
    def forecasts() -> Response:
        return jsonify({"forecasts": [_summary(issue) for issue in store.fresh()], "states": rounds.states()})

    @app.get("/api/v1/forecasts/<name>")
    def forecast(name: str) -> Response | tuple[Response, int]:
        issue = store.get(name)
        if issue is None:
            return _absent(rounds, name)
        wanted = request.args.to_dict()
        return jsonify({**_summary(issue), "series": _series(issue, wanted, clock())})

    @app.errorhandler(404)
    def not_found(_: Exception) -> tuple[Response, int]:
        return jsonify({"error": f"{request.path} is not here; see / for what is"}), 404

    @app.errorhandler(405)
    def not_taken(error: MethodNotAllowed) -> Response:
        allowed = sorted({*(error.valid_methods or ())} - {"OPTIONS"})
        response = jsonify({"error": f"{request.path} takes {' and '.join(one for one in allowed if one != 'HEAD')}"})
        response.status_code = 405
        response.headers["Allow"] = ", ".join(allowed)
        return response

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> tuple[Response, int]:
        return jsonify({"error": error.description}), error.code or 500  # a fault of ours, too: the log says which

    return app


def console_data(store: ForecastStore, rounds: Rounds, earlier: Earlier | None, clock: Clock) -> Blueprint:
    """What the console shows: `GET /api/v1/overview`, and one series' whole story.

    `earlier`, where given, is asked what was forecast of a series before.
    """
    pages = Blueprint("console_data", __name__, url_prefix="/api/v1")
    overview = Overview(store, rounds, clock)
    stories = Stories(overview, earlier, clock)

    @pages.get("/overview")
    def glance() -> Response:
        return _sent(overview.page())

    @pages.get("/forecasts/<name>/series/<series>")
    def story(name: str, series: str) -> Response | tuple[Response, int]:
        try:
            past = Duration.parse(request.args["past"]) if "past" in request.args else DEFAULT_PAST
        except ValueError as error:
            return jsonify({"error": f"past: {error}"}), 400
        issue = store.get(name)
        if issue is None:
            return _absent(rounds, name)
        found = stories.of(issue, series, past)
        if found is None:
            return jsonify({"error": f"{name} has no series with the id {series}: see /api/v1/overview"}), 404
        return _sent(paged(found))

    return pages


def _sent(page: Page) -> Response:
    """As the client takes it: compressed, or not at all where it has it already."""
    gzip = request.accept_encodings["gzip"] > 0
    response = Response(page.gzipped if gzip else page.body, mimetype="application/json")
    if gzip:
        response.content_encoding = "gzip"
    response.vary.add("Accept-Encoding")
    response.cache_control.no_cache = True
    response.set_etag(page.tag + ("-gzip" if gzip else ""))
    response.make_conditional(request)
    return response


def _absent(rounds: Rounds, name: str) -> tuple[Response, int]:
    state = rounds.states().get(name)
    why = f"{name} has no fresh forecast: {state}" if state else f"no forecast is named {name}"
    return jsonify({"error": why}), 404


LINKS = (
    Link("/console", "Console"),
    Link("/api/v1/forecasts", "Forecasts (JSON)"),
    Link("/api/v1/overview", "Overview (JSON)"),
)
"""Of the landing page."""


def health(store: ForecastStore, rounds: Rounds, relayed: str | None) -> Health:
    """Ready with a fresh forecast of any target (or none to make): one broken query is no outage, nor is the bridge."""
    states = rounds.states()
    facts = {f"forecast {name}": state for name, state in states.items()}
    return Health(bool(store.fresh()) or not states, facts | ({} if relayed is None else {"alert bridge": relayed}))


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
                "demoted": demotions(issue.demoted, i),
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


def _number(value: float) -> float | None:
    """JSON has neither NaN nor infinity: null for both."""
    return float(value) if math.isfinite(value) else None


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    return [_number(value) for value in values]
