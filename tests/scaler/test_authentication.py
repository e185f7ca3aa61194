"""Who may read, over real TLS."""

from __future__ import annotations

import contextlib
import hashlib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from cloudpulse.errors import ConfigError
from cloudpulse.promql import Series
from cloudpulse.testing import FakeClock, FakeSource, captured_logs
from scaler.authentication import StaticAccess
from scaler.config import ScalerSettings

RULE = "metrics: [{name: m, api: external, query: sum(m)}]\n"
VALUE = "/apis/external.metrics.k8s.io/v1beta1/namespaces/demo/m"
PLACES = (VALUE, "/apis", "/apis/external.metrics.k8s.io/v1beta1", "/openapi/v2", "/nowhere", "/apis/../x")
Read = Callable[[str], ScalerSettings]


@pytest.fixture
def adapter_for(
    serve: Callable[..., contextlib.AbstractContextManager[Any]],
    settings_of: Read,
    sample: Callable[..., Series],
    tmp_path: Path,
) -> Iterator[Callable[[str], Any]]:
    with contextlib.ExitStack() as stack:
        clock = FakeClock()

        def start(auth: str) -> Any:
            source = FakeSource(lambda query: [sample(31337.0, clock.now)], clock)
            return stack.enter_context(serve(settings_of(f"{RULE}auth: {auth}"), source, clock, tmp_path))

        yield start


def test_a_token_opens_and_nothing_else_does(adapter_for: Callable[[str], Any]) -> None:
    adapter = adapter_for("{tokens: [{name: a, token: one}, {name: b, token: two}]}")
    assert adapter.get(VALUE, "one").status == adapter.get(VALUE, "two").status == 200
    for path in PLACES:
        for token in (None, "", "on", "onee", "oné"):
            reply = adapter.get(path, token and token.encode().decode("latin-1"))
            assert (reply.status, reply.json["reason"]) == (401, "Unauthorized")
            assert b"31337" not in reply.body
    assert adapter.get(VALUE, None, Authorization="Basic b25lOm9uZQ==").status == 401
    metrics = adapter.get("/metrics", None).body.decode()
    assert 'cloudpulse_scaler_denied_total{reason="no_credentials"} 6.0' in metrics
    assert 'cloudpulse_scaler_denied_total{reason="wrong_credentials"}' in metrics


def test_of_a_token_the_config_may_have_only_the_hash(adapter_for: Callable[[str], Any], tmp_path: Path) -> None:
    one, two = (hashlib.sha256(token).hexdigest() for token in (b"one", b"two"))
    (tmp_path / "two").write_text(f"{two}  -\n")
    adapter = adapter_for(f"{{tokens: [{{name: a, sha256: {one}}}, {{name: b, sha256_file: {tmp_path}/two}}]}}")
    statuses = [adapter.get(VALUE, token).status for token in ("one", "two", one, two, "")]
    assert statuses == [200, 200, 401, 401, 401]


@pytest.mark.parametrize("written", ["hunter2", "", "0" * 63])
def test_what_is_no_hash_is_refused_and_not_shown(settings_of: Read, tmp_path: Path, written: str) -> None:
    with pytest.raises(ConfigError, match="sha256: expected 64 hex digits") as inline:
        settings_of(f"auth: {{tokens: [{{name: hpa, sha256: '{written}'}}]}}")
    (tmp_path / "hash").write_text(written)
    auth = settings_of(f"auth: {{tokens: [{{name: hpa, sha256_file: '{tmp_path}/hash'}}]}}").auth
    with pytest.raises(ConfigError, match=r"expected the hash of scaler\.auth\.tokens: hpa, 64 hex digits") as in_file:
        StaticAccess(auth, certificates=False)
    assert "hunter2" not in f"{inline.value}{in_file.value}"


def test_the_headers_of_a_front_proxy_are_not_believed(adapter_for: Callable[[str], Any]) -> None:
    adapter = adapter_for("{tokens: [{name: a, token: one}]}")
    assert adapter.get(VALUE, None, X_Remote_User="system:admin", X_Remote_Group="system:masters").status == 401


def test_a_certificate_of_the_ca_opens(adapter_for: Callable[[str], Any], authority: trustme.CA) -> None:
    adapter = adapter_for("{client_ca_file: ca.crt}")
    assert adapter.ask("GET", VALUE, [], authority.issue_cert("anyone")).status == 200
    assert adapter.get(VALUE, None).status == 401
    with pytest.raises((ssl.SSLError, ConnectionError)):
        adapter.ask("GET", VALUE, [], trustme.CA().issue_cert("anyone"))


def test_a_certificate_that_tls_verified_opens_whoever_asked_for_it(
    adapter_for: Callable[[str], Any], authority: trustme.CA
) -> None:
    """The test's server asks for certificates by itself, as one with `--web.config.file` does."""
    for auth in ("{tokens: [{name: a, token: one}]}", "{anonymous: true}"):
        with captured_logs() as lines:
            assert adapter_for(auth).ask("GET", VALUE, [], authority.issue_cert("x", common_name="me")).status == 200
        assert [line["user"] for line in lines if line["event"] == "answered"] == ["certificate:me"]


def test_anonymous_is_for_callers_without_credentials(adapter_for: Callable[[str], Any]) -> None:
    adapter = adapter_for("{anonymous: true, tokens: [{name: a, token: one}]}")
    assert adapter.get(VALUE, None).status == 200
    assert adapter.get(VALUE, "wrong").status == 401


def test_health_needs_no_credentials(adapter_for: Callable[[str], Any]) -> None:
    adapter = adapter_for("{tokens: [{name: a, token: one}]}")
    paths = ("/", "/metrics", "/health", "/-/healthy", "/-/ready", "/livez", "/readyz", "/healthz")
    assert {path: adapter.get(path, None).status for path in paths} == dict.fromkeys(paths, 200)


def test_without_a_word_on_who_may_read_nothing_starts(settings_of: Read) -> None:
    with pytest.raises(ConfigError, match="nothing says who may read"):
        StaticAccess(settings_of(RULE).auth, certificates=False)


@pytest.mark.parametrize("content", ["", "two words", "é"])
def test_a_token_file_that_holds_no_token_is_refused(settings_of: Read, tmp_path: Path, content: str) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(ConfigError, match="hpa: expected visible ASCII"):
        StaticAccess(settings_of(f"auth: {{tokens: [{{name: hpa, token_file: '{file}'}}]}}").auth, certificates=False)
