"""What is asked: the body of a read request, checked, as matchers and times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cramjam
from google.protobuf.message import DecodeError

from cloudpulse.matcher import Matcher
from forecaster.remoteread import remote_pb2

LARGEST_BODY = 2**20
"""Bytes as sent. Prometheus' selectors are some hundred; 32 MiB, which its own server takes, nobody needs here."""
LARGEST_MESSAGE = 4 * LARGEST_BODY
"""Bytes once decompressed: 1 MiB of snappy can say 20 MiB and more."""
MOST_QUERIES = 64
"""Prometheus asks one at a time."""

_OPERATORS = ("=", "!=", "=~", "!~")


class BadRequest(ValueError):
    """The body can't be read; the text says why."""


@dataclass(frozen=True)
class Query:
    """Which series, from Unix millisecond `start` to `end`, both included."""

    matchers: Sequence[Matcher]
    start: int
    end: int


@dataclass(frozen=True)
class Question:
    """All queries of a request; answered as streamed chunks, or as samples."""

    queries: Sequence[Query]
    chunked: bool


def read(body: bytes) -> Question:
    """Raises BadRequest."""
    request = remote_pb2.ReadRequest()
    try:
        request.ParseFromString(_decompressed(body))
    except DecodeError as error:
        raise BadRequest(f"not a prometheus.ReadRequest: {error}") from error
    if len(request.queries) > MOST_QUERIES:
        raise BadRequest(f"expected at most {MOST_QUERIES} queries in a request, got {len(request.queries)}")
    return Question([_query(one) for one in request.queries], _chunked(request.accepted_response_types))


def _decompressed(body: bytes) -> bytes:
    """The size is looked at before anything is made of it."""
    try:
        size = cramjam.snappy.decompress_raw_len(body)
        if size > LARGEST_MESSAGE:
            raise BadRequest(f"expected at most {LARGEST_MESSAGE} bytes once decompressed, got {size}")
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise BadRequest(f"not snappy's block format: {error}") from error


def _chunked(accepted: Sequence[int]) -> bool:
    """The first of the accepted types that is known, as Prometheus' server chooses; samples when none is named."""
    for kind in accepted or [remote_pb2.ReadRequest.SAMPLES]:
        if kind in (remote_pb2.ReadRequest.SAMPLES, remote_pb2.ReadRequest.STREAMED_XOR_CHUNKS):
            return kind == remote_pb2.ReadRequest.STREAMED_XOR_CHUNKS
    known = ", ".join(remote_pb2.ReadRequest.ResponseType.keys())
    raise BadRequest(f"none of the accepted response types {list(accepted)} is known: expected {known}")


def _query(query: remote_pb2.Query) -> Query:
    return Query([_matcher(one) for one in query.matchers], query.start_timestamp_ms, query.end_timestamp_ms)


def _matcher(matcher: remote_pb2.LabelMatcher) -> Matcher:
    if not 0 <= matcher.type < len(_OPERATORS):
        raise BadRequest(f"matcher of {matcher.name}: type {matcher.type} is not known")
    operator = _OPERATORS[matcher.type]
    try:
        return Matcher(matcher.name, operator, matcher.value)
    except ValueError as error:
        raise BadRequest(f'matcher {matcher.name}{operator}"{matcher.value}": {error}') from error
