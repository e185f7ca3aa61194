"""The HTTP face: Prometheus' paths, its JSON, its status codes."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import cramjam
import msgspec
from flask import Blueprint, Response, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from cloudpulse import __version__, logs, names
from cloudpulse.build import REVISION_VARIABLE
from cloudpulse.clock import Clock
from cloudpulse.matcher import Matcher
from cloudpulse.promql import Labels
from forecaster.queryapi import asking
from forecaster.queryapi.catalogue import Catalogue
from forecaster.queryapi.parse import selector
from forecaster.queryapi.query import Queries
from forecaster.queryapi.refusals import DOCS, BadQuery, Broken, NotFound, Refused
from forecaster.queryapi.values import Budget, Key, key_of
from forecaster.queryapi.wording import array
from forecaster.queryapi.wording import labels as worded

log = logs.get(__name__)

LANGUAGE = "2.42.0"
"""The Prometheus whose semantics these are: clients choose what they ask by the version."""
MOST_BYTES = 1_000_000
"""Of a posted form."""
MOST_SERIES = 100_000
"""In a list of them: some 30 MB of JSON."""
_WORTH_PACKING = 1_000
_CUT = b"results truncated due to limit"
_ELSEWHERE = (
    "admin/<path:_>",
    "alertmanagers",
    "format_query",
    "parse_query",
    "scrape_pools",
    "status/<path:_>",
    "targets",
    "targets/<path:_>",
    "write",
)
"""Paths of Prometheus that a forecaster has nothing for."""


def blueprint(catalogue: Catalogue, clock: Clock) -> Blueprint:
    """`/api/v1/query` and its siblings."""
    pages = Blueprint("queryapi", __name__, url_prefix="/api/v1")
    queries = Queries(catalogue.select)

    def route(path: str) -> Callable[[Callable[..., Response]], Callable[..., Response]]:
        def registered(view: Callable[..., Response]) -> Callable[..., Response]:
            guarded = _refusing(view)
            pages.add_url_rule(f"/{path}", view.__name__, guarded, methods=("GET", "POST"))
            return guarded

        return registered

    @route("query")
    def query() -> Response:
        form = _form()
        at = asking.moment(form, "time", clock())
        data, cut = queries.instant(form.get("query", ""), at, asking.timeout(form), asking.limit(form))
        return _success(data, cut)

    @route("query_range")
    def query_range() -> Response:
        form = _form()
        start, end, step = asking.steps(form)
        data, cut = queries.range(form.get("query", ""), start, end, step, asking.timeout(form), asking.limit(form))
        return _success(data, cut)

    @route("series")
    def series() -> Response:
        form = _form()
        if not form.getlist("match[]"):
            raise BadQuery("no match[] parameter provided")
        found: set[Key] = set()
        with queries.place(asking.timeout(form)) as budget:
            for one in _listed(catalogue, form, budget):
                found.add(key_of(one))
                if len(found) > MOST_SERIES:
                    raise Refused(f"cloudpulse: more than {MOST_SERIES:,} series; ask for fewer with match[]")
            return _list([worded(key) for key in sorted(found)], form)

    @route("labels")
    def labels() -> Response:
        form = _form()
        found: set[str] = set()
        with queries.place(asking.timeout(form)) as budget:
            for one in _listed(catalogue, form, budget):
                found.update(name for name, value in one.items() if value)
        return _list([msgspec.json.encode(name) for name in sorted(found)], form)

    @route("label/<name>/values")
    def label_values(name: str) -> Response:
        form = _form()
        with queries.place(asking.timeout(form)) as budget:
            found = {one.get(name, "") for one in _listed(catalogue, form, budget)} - {""}
        return _list([msgspec.json.encode(value) for value in sorted(found)], form)

    @route("metadata")
    def metadata() -> Response:
        form = _form()
        found = {
            one.name: [{"type": one.kind, "help": one.help, "unit": ""}]
            for one in names.definitions()
            if one.name.startswith("cloudpulse_forecast_") and form.get("metric") in (None, "", one.name)
        }
        limit = asking.limit(form)
        return _success([msgspec.json.encode(dict(list(found.items())[: limit or None]))])

    @route("query_exemplars")
    def query_exemplars() -> Response:
        return _success([b"[]"])

    @route("rules")
    def rules() -> Response:
        return _success([b'{"groups":[]}'])

    @route("alerts")
    def alerts() -> Response:
        return _success([b'{"alerts":[]}'])

    @route("status/buildinfo")
    def buildinfo() -> Response:
        facts = {
            "version": f"{LANGUAGE}+cloudpulse.{__version__}",
            "revision": os.environ.get(REVISION_VARIABLE, "unknown"),
            "branch": "",
            "buildUser": "",
            "buildDate": "",
            "goVersion": "",
            "pythonVersion": platform.python_version(),
        }
        return _success([msgspec.json.encode(facts)])

    pages.register_error_handler(Exception, _failed)
    for path in _ELSEWHERE:
        pages.add_url_rule(f"/{path}", "elsewhere", _elsewhere, methods=("GET", "POST"))
    return pages


def _failed(error: Exception) -> Response | HTTPException:
    """A fault of ours: in Prometheus' shape, too, with the cause in the log only."""
    if isinstance(error, HTTPException):
        return error
    log.error("query failed", path=request.path, exc_info=error)
    return _failure(Broken("cloudpulse: the query could not be answered; the forecaster's log says why"))


def _elsewhere(_: str = "") -> Response:
    return _failure(NotFound(f"cloudpulse: {request.path} is not here; what is: see {DOCS}"))


def _refusing(view: Callable[..., Response]) -> Callable[..., Response]:
    """What a view refuses becomes an answer in Prometheus' shape."""

    @wraps(view)
    def guarded(**arguments: Any) -> Response:
        try:
            return view(**arguments)
        except Refused as error:
            return _failure(error)

    return guarded


def _form() -> MultiDict[str, str]:
    """Parameters of the address and of a posted form, the form's first, as in Go."""
    request.max_content_length = MOST_BYTES
    try:
        cut = len(request.get_data()) >= MOST_BYTES  # of a chunked body no more is read
    except RequestEntityTooLarge:
        cut = True
    if cut:
        raise BadQuery(f"cloudpulse: the form is too large: {MOST_BYTES:,} bytes are the most here")
    return MultiDict([*request.form.items(multi=True), *request.args.items(multi=True)])


def _listed(catalogue: Catalogue, form: MultiDict[str, str], budget: Budget) -> Iterator[Labels]:
    """Of each `match[]`, or of everything. `start` and `end` are checked; only the newest issues are here anyway."""
    for name in ("start", "end"):
        asking.moment(form, name, 0.0)
    for matchers in [_selector(text) for text in form.getlist("match[]")] or [()]:
        budget.go_on()
        for number, one in enumerate(catalogue.listed(matchers)):
            if number % 1000 == 0:
                budget.go_on()
            yield one


def _selector(text: str) -> tuple[Matcher, ...]:
    try:
        return selector(text)
    except BadQuery as error:
        raise BadQuery(f'invalid parameter "match[]": {error}') from error


def _list(items: list[bytes], form: MultiDict[str, str]) -> Response:
    limit = asking.limit(form) or len(items)
    return _success(array(items[:limit]), len(items) > limit)


def _success(data: list[bytes], cut: bool = False) -> Response:
    warnings = b',"warnings":["%b"]' % _CUT if cut else b""
    return _response(b"".join((b'{"status":"success","data":', *data, warnings, b"}")), 200)


def _failure(error: Refused) -> Response:
    answer = {"status": "error", "errorType": error.kind, "error": str(error)}
    return _response(msgspec.json.encode(answer), error.status)


def _response(body: bytes, status: int) -> Response:
    response = Response(body, status, mimetype="application/json")
    response.vary.add("Accept-Encoding")
    if len(body) > _WORTH_PACKING and request.accept_encodings["gzip"] > 0:
        response.set_data(bytes(cramjam.gzip.compress(body, level=1)))
        response.headers["Content-Encoding"] = "gzip"
    return response
