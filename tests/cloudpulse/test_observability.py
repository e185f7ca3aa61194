"""docs/observability.md shows what is really written: its examples have the fields of the real lines, in order."""

from __future__ import annotations

import contextvars
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cloudpulse import audit, check, logs, otlp, trace
from cloudpulse.cli import cloudpulse
from cloudpulse.promql import SLOW_SECONDS
from cloudpulse.traced import Traced

PAGE = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()
TRACE = trace.Trace("4bf92f3577b34da6a3ce929d0e0e4736", "2" * 16)
STORED, REQUEST, AUDITED = (json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    audit.to(None)


def _tell() -> None:
    with trace.within(TRACE):
        fields = {name: value for name, value in STORED.items() if name in ("group", "duplicate", "alerts")}
        logs.get("alert_bridge.intake").info("webhook stored", **fields)


def test_a_line_looks_like_the_examples(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    _tell()
    line = json.loads(capsys.readouterr().err)
    assert list(line.items())[1:] == list(STORED.items())[1:]
    logs.configure("info", "text")
    _tell()
    (text,) = re.findall(r"```text\n(.*?)\n```", PAGE)
    assert capsys.readouterr().err.partition(" ")[2] == text.partition(" ")[2] + "\n"


def test_the_access_log_looks_like_the_example(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["REMOTE_USER"] = REQUEST["user"]
        start_response("200 OK", [])
        return [b"x" * REQUEST["bytes"]]

    def run() -> None:
        environ = {"REQUEST_METHOD": "POST", "PATH_INFO": REQUEST["path"], "REMOTE_ADDR": REQUEST["remote"]}
        body: Any = Traced(app, access_log=True)(environ | {"HTTP_TRACEPARENT": TRACE.parent}, lambda *_: None)
        list(body)
        body.close()

    contextvars.Context().run(run)
    line = json.loads(capsys.readouterr().err)
    varying = {"timestamp": REQUEST["timestamp"], "seconds": REQUEST["seconds"]}
    assert list((line | varying).items()) == list(REQUEST.items())


def test_an_audit_line_looks_like_the_example(tmp_path: Path) -> None:
    audit.to(str(tmp_path / "audit"))
    with trace.within(TRACE._replace(trace_id=AUDITED["trace_id"])):
        told = {name: AUDITED[name] for name in ("who", "action", "result", "about")}
        assert audit.written(**told, origin={"from": AUDITED["from"]})
    line = json.loads((tmp_path / "audit").read_text())
    assert list(line.items())[1:] == list(AUDITED.items())[1:]


def test_the_config_and_the_flags_are_right(tmp_path: Path) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    for text in (block, re.sub(r"(?m)^  # ", "  ", block)):
        path = tmp_path / "cloudpulse.yaml"
        path.write_text(text)
        done = CliRunner().invoke(check.command, ["--config", str(path)])
        assert done.exit_code == 0, done.output
    flags = set(re.findall(r"`(--[\w.-]+)", PAGE))
    assert flags
    for service in ("exporter", "forecaster", "alert-bridge", "scaler"):
        told = CliRunner().invoke(cloudpulse, [service, "--help"]).output
        assert [flag for flag in flags if flag not in told] == []


def test_the_figures_and_spans_are_those_of_the_code() -> None:
    assert f"a query that takes {SLOW_SECONDS:g} s" in PAGE
    assert f"At most {otlp.MOST_WAITING:,} spans wait" in PAGE
    assert f"waits for the last ones for {otlp.STOP_SECONDS:g} s" in PAGE.replace("\n", " ")
    root = Path(__file__).parents[2]
    source = "".join(
        path.read_text() for top in ("forecaster", "alert_bridge", "scaler") for path in (root / top).rglob("*.py")
    )
    named = set(re.findall(r'trace\.(?:span|past)\(\s*"([^"]+)"', source))
    assert named
    assert [name for name in named if f"`{name}`" not in PAGE] == []
