"""`POST /api/v1/read`: remote read's HTTP face."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from flask import Blueprint, Response, request

from cloudpulse import logs
from forecaster.curves import Block, Curves
from forecaster.remoteread import chunks, question, samples
from forecaster.remoteread.question import LARGEST_BODY, BadRequest, Question
from forecaster.room import Full, Room

PATH = "/api/v1/read"
MOST_SAMPLES = 20_000_000
"""In an answer: 20,000 series, 3 levels, a day of 5 min. They are encoded piece by piece, but copied at once."""
LARGE = 1_000_000
"""Samples from which on an answer is one of those that are made and sent one at a time: it takes much memory."""
MOST_AT_ONCE, MOST_WAITING = 6, 4
MOST_LARGE_WAITING = 2
"""Fewer than all at once: small reads go on beside them."""
PATIENCE_SECONDS = 10.0
_AT_ONCE = 2**20
"""Bytes up to which an answer is sent in one piece, with its length."""

log = logs.get(__name__)


class _Rooms:
    def __init__(self) -> None:
        self.all = Room(MOST_AT_ONCE, MOST_WAITING)
        self.large = Room(1, MOST_LARGE_WAITING)


def blueprint(curves: Curves, answered: Callable[[int, float], None]) -> Blueprint:
    """Answers from `curves`; `answered` is told the status and the seconds up to the first byte of each answer."""
    pages = Blueprint("read", __name__)
    rooms = _Rooms()

    @pages.post(PATH)
    def read() -> Response:
        began = time.perf_counter()
        response = _answered(curves, rooms)
        answered(response.status_code, time.perf_counter() - began)
        return response

    return pages


def _answered(curves: Curves, rooms: _Rooms) -> Response:
    if (request.content_length or 0) > LARGEST_BODY:  # first: this alone ends the connection with the body unread
        return _refusal(413, f"the body is larger than {LARGEST_BODY} bytes")
    if request.content_encoding not in (None, "snappy"):
        return _refusal(415, "Content-Encoding: expected snappy (block format)")
    body = request.stream.read(LARGEST_BODY + 1)
    if len(body) > LARGEST_BODY:
        return _refusal(413, f"the body is larger than {LARGEST_BODY} bytes")
    try:
        asked = question.read(body)
        with ExitStack() as place:
            place.enter_context(rooms.all.place(PATIENCE_SECONDS))
            results = _results(curves, asked, lambda: place.enter_context(rooms.large.place(PATIENCE_SECONDS)))
            response = _encoded(results, asked)
            if response.is_streamed:  # its blocks are held until the last of it is sent
                response.call_on_close(place.pop_all().close)
            return response
    except BadRequest as error:
        log.warning("read refused", error=str(error))
        return _refusal(400, str(error))
    except Full as error:
        return _refusal(503, str(error))


def _results(curves: Curves, asked: Question, is_large: Callable[[], None]) -> list[list[Block]]:
    """The blocks of each query; `is_large` is called once, before they are. Raises BadRequest before it is too much."""
    total = 0

    def hold(rows: int, columns: int) -> None:
        nonlocal total
        before, total = total, total + rows * columns
        if total > MOST_SAMPLES:
            raise BadRequest(f"more than {MOST_SAMPLES:,} samples: ask for fewer series or a shorter range")
        if before <= LARGE < total:
            is_large()

    return [curves.select(query.matchers, query.start / 1000, query.end / 1000, hold) for query in asked.queries]


def _encoded(results: list[list[Block]], asked: Question) -> Response:
    if asked.chunked:
        return Response(_whole_if_small(chunks.answer(results)), content_type=chunks.CONTENT_TYPE)
    response = Response(_whole_if_small(samples.answer(results)), content_type=samples.CONTENT_TYPE)
    response.content_encoding = "snappy"
    return response


def _whole_if_small(pieces: Iterator[bytes]) -> bytes | Iterator[bytes]:
    """All of it, unless it is large: then piece by piece, and the first ones are made here, where errors are seen."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size > _AT_ONCE:
            return itertools.chain(held, pieces)
    return b"".join(held)


def _refusal(status: int, problem: str) -> Response:
    return Response(f"{problem}\n", status=status, content_type="text/plain; charset=utf-8")
