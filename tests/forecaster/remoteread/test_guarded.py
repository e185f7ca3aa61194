"""A real Prometheus that reads forecasters as they are run: shards beside one another, behind TLS and passwords."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import numpy as np
import pytest
import requests
import trustme
from flask import Flask

from cloudpulse import options
from cloudpulse.local import past
from cloudpulse.testing import FakeClock
from forecaster.curves import NAME, Curves
from forecaster.remoteread import app as remoteread
from forecaster.store import ForecastStore
from forecaster.testing import issue

NOW = 1_700_000_040.0
ENTRY = """
  - url: https://localhost:{port}/api/v1/read
    name: {name}
    read_recent: true
    filter_external_labels: false
    required_matchers: {matchers}
    basic_auth: {{username: prometheus, password: {password}}}
    tls_config: {{ca_file: {ca}}}
"""


@contextlib.contextmanager
def forecaster(store: ForecastStore, web_config: Path) -> Iterator[int]:
    """The port of one that answers reads as the command would."""
    app = Flask("reads")
    app.register_blueprint(remoteread.blueprint(Curves(store), lambda *_: None))
    server, stop = options.serve(app.wsgi_app, options.WebOptions("127.0.0.1:0", web_config)), threading.Event()
    thread = threading.Thread(target=server.run, args=(stop,))
    thread.start()
    try:
        yield server.port
    finally:
        stop.set()
        thread.join()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a Prometheus with two shards, each with an app of its own, and one of them again with a wrong password."""
    folder = tmp_path_factory.mktemp("guarded")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "key.pem"))
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    web_config = folder / "web.yml"
    web_config.write_text(
        f"tls_server_config: {{cert_file: {folder}/key.pem, key_file: {folder}/key.pem}}\n"
        f"basic_auth_users: {{prometheus: {hashed}}}\n"
    )
    with contextlib.ExitStack() as stack:
        ports = []
        for app in "ab":
            store = ForecastStore(FakeClock(NOW))
            store.put(issue("demand", ({"app": app},), np.full((1, 60, 3), 5.0), start=NOW))
            vast = tuple({"app": app, "row": str(i)} for i in range(50))
            store.put(issue("vast", vast, np.full((50, 60, 3), 5.0), start=NOW))
            ports.append(stack.enter_context(forecaster(store, web_config)))
        ca, curve = folder / "ca.pem", f"{{__name__: {NAME}}}"
        entries = [ENTRY.format(port=one, name=one, matchers=curve, password="right", ca=ca) for one in ports]
        locked = f"{{__name__: {NAME}, forecast: locked}}"
        entries.append(ENTRY.format(port=ports[0], name="locked", matchers=locked, password="wrong", ca=ca))
        yield stack.enter_context(past.prometheus(["# EOF\n"], folder / "data", "remote_read:" + "".join(entries)))


def ask(url: str, query: str) -> Any:
    answer = requests.get(f"{url}/api/v1/query", params={"query": query, "time": NOW + 120}, timeout=20).json()
    assert answer["status"] == "success"
    return answer


def test_the_series_of_all_shards_come_together(url: str) -> None:
    found = ask(url, f'count by (app, level) ({NAME}{{forecast="demand"}})')
    assert "warnings" not in found
    assert len(found["data"]["result"]) == 2 * 3


def test_who_has_no_password_gets_a_warning_and_no_curve(url: str) -> None:
    found = ask(url, f'{NAME}{{forecast="locked"}}')
    assert "401 Unauthorized" in found["warnings"][0]
    assert found["data"]["result"] == []


def test_a_read_that_is_refused_is_a_warning_with_its_reason(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remoteread, "MOST_SAMPLES", 20)
    found = ask(url, f'{NAME}{{forecast="vast"}}')
    assert "more than 20 samples: ask for fewer series or a shorter range" in found["warnings"][0]
    assert found["data"]["result"] == []
