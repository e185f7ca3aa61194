from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cloudpulse import config
from cloudpulse.config import BasicAuth, PrometheusSettings, Secret, Section, secret_text
from cloudpulse.durations import Duration
from cloudpulse.errors import ConfigError

HUNTER = "hunter2"


class Target(Section, frozen=True):
    """A section such as the services have."""

    name: str
    step: Duration
    share: float = 0.5
    count: int = 1
    file: Path | None = None


class Nested(Section, frozen=True):
    forecasts: list[Target] = msgspec.field(default_factory=list)


def _settings(text: str, environment: Mapping[str, str] | None = None) -> PrometheusSettings:
    return config.parse(text, Path("c.yaml"), environment or {}).section("prometheus", PrometheusSettings)


def test_a_silent_file_gives_the_defaults() -> None:
    assert _settings("") == _settings("prometheus:") == PrometheusSettings()
    assert float(PrometheusSettings().timeout) == 30


def test_a_full_section_is_read_into_types() -> None:
    settings = _settings(
        "prometheus:\n"
        "  url: https://prometheus.example\n"
        "  basic_auth: {username: me, password: hunter2}\n"
        "  tls_config: {ca_file: ca.pem}\n"
        "  timeout: 1m30s\n"
    )
    assert settings.basic_auth == BasicAuth(username="me", password=Secret(HUNTER))
    assert settings.tls_config.ca_file == Path("ca.pem")
    assert float(settings.timeout) == 90


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("forcaster: {}", "forcaster: unknown section, expected one of prometheus, tracing, exporter,"),
        ("- a", "expected sections such as `forecaster:`, got a list"),
        ("text", "expected sections such as `forecaster:`, got a text"),
        ("a: b: c", "not valid YAML: mapping values are not allowed here (line 1, column 5)"),
        ("prometheus: {url: \x00}", "not valid YAML: special characters are not allowed"),
        ("? [a]\n: 1", "not valid YAML: a key must be a text (line 1, column 3)"),
        ("prometheus: &a {url: *a}", "not usable YAML: an alias contains itself"),
        ("prometheus: []", "prometheus: expected keys and values, got a list"),
        ("prometheus: false", "prometheus: expected keys and values, got true or false"),
        ("prometheus: {timout: 5s}", "prometheus: unknown key `timout`"),
        ("prometheus: {timeout: 5s, timeout: 6s}", 'key "timeout" is given twice (line 1, column 27)'),
        ("prometheus: {timeout: 5}", "prometheus.timeout: expected a duration such as 1m, got 5"),
        ("prometheus: {timeout: fast}", 'prometheus.timeout: expected a duration such as 1m, got "fast"'),
        ("prometheus: {timeout: 0s}", "prometheus: timeout: expected more than 0s, got 0s"),
        ("prometheus: {url: example}", "prometheus: url: expected a URL that starts with http:// or https://"),
        ("prometheus: {url: null}", "prometheus.url: expected a text, got nothing"),
        ("prometheus: {max_concurrent_queries: many}", "max_concurrent_queries: expected a whole number, got a text"),
        ("prometheus: {max_concurrent_queries: 0}", "max_concurrent_queries: expected 1 or more, got 0"),
        ("prometheus: {max_samples_per_query: 0}", "max_samples_per_query: expected 1 or more, got 0"),
        ("prometheus: {tls_config: {insecure_skip_verify: 1}}", "expected true or false, got a whole number"),
        ("prometheus: {tls_config: {ca_file: 5}}", "prometheus.tls_config.ca_file: expected a path, got 5"),
        ("prometheus: {basic_auth: {password: a}}", "prometheus.basic_auth: missing key `username`"),
        ("prometheus: {basic_auth: {username: a}}", "expected exactly one of password and password_file"),
        (
            "prometheus: {authorization: {credentials: a, credentials_file: b}}",
            "prometheus.authorization: expected exactly one of credentials and credentials_file",
        ),
        (
            "prometheus: {basic_auth: {username: a, password: b}, authorization: {credentials: c}}",
            "prometheus: basic_auth and authorization can't both be set: keep one",
        ),
    ],
)
def test_a_mistake_is_refused_with_its_place_and_reason(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _settings(text)
    assert str(caught.value).startswith("c.yaml: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[{name: a, step: 1m}, {name: b, step: fast}]",
            "forecaster.forecasts[1].step: expected a duration such as 1m",
        ),
        ("[{name: a}]", "forecaster.forecasts[0]: missing key `step`"),
        ("[{name: a, step: 1m, share: much}]", "forecaster.forecasts[0].share: expected a number, got a text"),
        ("[{name: a, step: 1m, count: 1.5}]", "forecaster.forecasts[0].count: expected a whole number, got a number"),
        ("{name: a}", "forecaster.forecasts: expected a list, got keys and values"),
    ],
)
def test_a_mistake_in_a_list_names_the_item(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(f"forecaster: {{forecasts: {text}}}", Path("c.yaml"), {}).section("forecaster", Nested)
    assert message in str(caught.value)


@given(st.text() | st.text("prometheus: {}[]&*a!?|>-'\"\n \t$", max_size=40))
def test_no_text_causes_any_other_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        _settings(text)


@pytest.mark.parametrize(
    "text",
    [
        f"{{username: me, password: {HUNTER}, user: x}}",
        f"{{username: me, password: [{HUNTER}]}}",
        f"{{username: me, password: {HUNTER}: x}}",
        f"\n    password: {HUNTER}: x",
        f'{{username: me, password: "{HUNTER}',
        f"{{username: me, password: {HUNTER}, password: {HUNTER}}}",
        f"{{username: me, password: *{HUNTER}}}",
        f"{{username: me, password: !{HUNTER}}}",
        f"{{username: me, password: !{HUNTER}!x y}}",
        f"{{a: &{HUNTER} 1, password: &{HUNTER} 2, c: *b}}",
        f'{{username: me, password: "\\{HUNTER}"}}',
        "{username: me, password: 20260722}",
        "{username: me, password: 2026-07-22}",
    ],
)
def test_no_mistake_shows_the_secret_beside_it(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _settings(f"prometheus:\n  basic_auth: {text}\n")
    assert HUNTER not in str(caught.value)
    assert "2026" not in str(caught.value)


def test_a_secret_never_shows_itself() -> None:
    settings = _settings(f"prometheus: {{basic_auth: {{username: me, password: {HUNTER}}}}}")
    secret = Secret(HUNTER)
    for shown in (repr(settings), str(settings), repr(secret), str(secret), f"{secret}", repr([secret])):
        assert HUNTER not in shown
    with pytest.raises(TypeError):
        msgspec.json.encode(settings)
    assert secret.reveal() == HUNTER
    assert secret == Secret(HUNTER) != Secret("other")


def test_a_secret_comes_from_the_text_or_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{HUNTER}\n")
    assert secret_text(Secret(HUNTER), None) == secret_text(None, file) == HUNTER
    with pytest.raises(ConfigError, match="missing: can't read the secret: No such file"):
        secret_text(None, tmp_path / "missing")
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="password: can't read the secret: it isn't UTF-8 text"):
        secret_text(None, file)


def test_environment_variables_are_expanded_in_texts_everywhere() -> None:
    text = "forecaster: {forecasts: [{name: '${APP}-${ZONE}', step: '${STEP}', file: '/srv/${APP}'}]}"
    settings = config.parse(text, Path("c.yaml"), {"APP": "web", "ZONE": "eu", "STEP": "5m"}).section(
        "forecaster", Nested
    )
    assert settings.forecasts == [Target(name="web-eu", step=Duration(300), file=Path("/srv/web"))]


def test_an_unset_variable_is_refused_with_the_place() -> None:
    with pytest.raises(ConfigError, match=r"c\.yaml: prometheus\.url: the environment variable HOST is not set"):
        _settings("prometheus: {url: 'http://${HOST}'}")


def test_what_a_variable_holds_is_not_expanded_again_nor_read_as_yaml() -> None:
    settings = _settings("prometheus: {url: 'http://${A}'}", {"A": "${B}, timeout: 1s"})
    assert settings.url == "http://${B}, timeout: 1s"


def test_two_dollars_make_one_and_a_lone_one_stays() -> None:
    assert _settings("prometheus: {headers: {a: 'x$${HOME}', b: '^a$', c: $5}}").headers == {
        "a": "x${HOME}",
        "b": "^a$",
        "c": "$5",
    }


@given(
    st.dictionaries(
        st.text("abc", min_size=1), st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=10)
    )
)
def test_texts_survive_yaml(headers: dict[str, str]) -> None:
    text = yaml.safe_dump({"prometheus": {"headers": {k: v.replace("$", "$$") for k, v in headers.items()}}})
    assert _settings(text).headers == headers


def test_the_named_file_comes_before_the_variable_and_that_before_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(config.PATH_VARIABLE, raising=False)
    assert config.read(None).tree == {}
    for name in ("cloudpulse.yaml", "variable.yaml", "named.yaml"):
        Path(name).write_text(f"prometheus: {{url: 'http://{name}'}}")
    assert config.read(None).tree["prometheus"]["url"] == "http://cloudpulse.yaml"
    monkeypatch.setenv(config.PATH_VARIABLE, "variable.yaml")
    assert config.read(None).tree["prometheus"]["url"] == "http://variable.yaml"
    assert config.read(Path("named.yaml")).tree["prometheus"]["url"] == "http://named.yaml"


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_named_file_that_is_missing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_variable: bool
) -> None:
    missing = tmp_path / "missing.yaml"
    monkeypatch.setenv(config.PATH_VARIABLE, str(missing))
    with pytest.raises(ConfigError, match=r"missing\.yaml: can't read the config: No such file"):
        config.read(None if by_variable else missing)


def test_a_file_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(b"prometheus: \xff\xfe")
    with pytest.raises(ConfigError, match="it isn't UTF-8 text"):
        config.read(file)
