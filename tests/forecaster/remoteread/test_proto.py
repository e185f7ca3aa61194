"""The generated module is what the .proto says, and the .proto is what Prometheus speaks."""

from __future__ import annotations

from pathlib import Path

from forecaster.remoteread import remote_pb2 as generated
from tests import protos


def test_the_committed_module_is_what_the_proto_generates(tmp_path: Path) -> None:
    assert protos.is_as_its_proto_says(generated, tmp_path)


def test_names_numbers_and_types_are_those_of_prometheus() -> None:
    """As in prometheus/prometheus, prompb/remote.proto and prompb/types.proto."""
    described = protos.described(generated)
    assert described.package == "prometheus"
    assert protos.fields(described) == {
        "ReadRequest.queries": (1, "message"),
        "ReadRequest.accepted_response_types": (2, "enum"),
        "Query.start_timestamp_ms": (1, "int64"),
        "Query.end_timestamp_ms": (2, "int64"),
        "Query.matchers": (3, "message"),
        "LabelMatcher.type": (1, "enum"),
        "LabelMatcher.name": (2, "string"),
        "LabelMatcher.value": (3, "string"),
        "ReadResponse.results": (1, "message"),
        "QueryResult.timeseries": (1, "message"),
        "TimeSeries.labels": (1, "message"),
        "TimeSeries.samples": (2, "message"),
        "Label.name": (1, "string"),
        "Label.value": (2, "string"),
        "Sample.value": (1, "double"),
        "Sample.timestamp": (2, "int64"),
        "ChunkedReadResponse.chunked_series": (1, "message"),
        "ChunkedReadResponse.query_index": (2, "int64"),
        "ChunkedSeries.labels": (1, "message"),
        "ChunkedSeries.chunks": (2, "message"),
        "Chunk.min_time_ms": (1, "int64"),
        "Chunk.max_time_ms": (2, "int64"),
        "Chunk.type": (3, "enum"),
        "Chunk.data": (4, "bytes"),
    }
    enums = {
        one.name: {value.name: value.number for value in one.value}
        for message in described.message_type
        for one in message.enum_type
    }
    assert enums == {
        "ResponseType": {"SAMPLES": 0, "STREAMED_XOR_CHUNKS": 1},
        "Type": {"EQ": 0, "NEQ": 1, "RE": 2, "NRE": 3},
        "Encoding": {"UNKNOWN": 0, "XOR": 1},
    }
