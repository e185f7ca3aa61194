"""Pages of other sites, and sites that point their own names to this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import pytest
import requests

from cloudpulse import options
from cloudpulse.origins import Loopback
from cloudpulse.serving import Environ, StartResponse
from cloudpulse.testing import serving
from cloudpulse.traced import USER


def _app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Length", "6")])
    return [b"inside"]


def _status(app: Loopback, **environ: str) -> str:
    told: list[str] = []
    app({"REQUEST_METHOD": "GET", **environ}, lambda status, _: told.append(status[:3]))
    return told[0]


@pytest.mark.parametrize(
    "host", ["evil.example:{port}", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example"]
)
def test_a_site_that_points_its_own_name_here_is_turned_away(host: str) -> None:
    with serving(Loopback(_app)) as url:
        named = {"Host": host.format(port=url.rpartition(":")[2])}
        for method in ("GET", "POST"):
            answer = requests.request(method, f"{url}/api/v1/alerts", headers=named, timeout=10)
            assert answer.status_code == 421, method
            assert "inside" not in answer.text
            assert "Host: localhost" in answer.text, "a proxy's owner learns what to do"


@pytest.mark.parametrize(
    "host", ["127.0.0.1:1", "localhost", "LOCALHOST:1", "[::1]:1", "demo.localhost", "bridge:1", "10.0.0.7", ""]
)
def test_names_that_no_site_can_have_are_answered(host: str) -> None:
    assert _status(Loopback(_app), SERVER_NAME="127.0.0.1", HTTP_HOST=host) == "200"
    assert _status(Loopback(_app), SERVER_NAME="::1", HTTP_HOST=host) == "200"


def test_who_gave_a_password_or_asks_over_tls_or_from_the_network_may_use_any_name() -> None:
    """A page of another site has neither the reader's password for it nor our certificate."""
    asked = {"SERVER_NAME": "127.0.0.1", "HTTP_HOST": "metrics.example"}
    assert _status(Loopback(_app), **asked) == "421"
    assert _status(Loopback(_app), **asked, **{USER: "alice"}) == "200"
    assert _status(Loopback(_app), **asked, **{"wsgi.url_scheme": "https"}) == "200"
    assert _status(Loopback(_app), **{**asked, "SERVER_NAME": "0.0.0.0"}) == "200"


def test_every_service_is_served_so() -> None:
    server, stop = options.serve(_app, options.WebOptions("localhost:0")), threading.Event()
    running = threading.Thread(target=server.run, args=(stop,), daemon=True)
    running.start()
    try:
        assert requests.get(server.url, timeout=10).status_code == 200
        assert requests.get(server.url, headers={"Host": "evil.example"}, timeout=10).status_code == 421
    finally:
        stop.set()
        running.join(10)
