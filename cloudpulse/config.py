"""Reading the config file: YAML, `${ENV}`, one typed section per service, errors that name the place.

What a section holds is described by its service's own `config.py`; here are only the parts that
several services share, and the way from text to a checked value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

import msgspec
import msgspec.inspect

from cloudpulse.durations import Duration
from cloudpulse.errors import ConfigError

if TYPE_CHECKING:
    import yaml

SECTIONS = ("prometheus", "tracing", "exporter", "forecaster", "alert_bridge", "scaler")
DEFAULT_PATH = "cloudpulse.yaml"
PATH_VARIABLE = "CLOUDPULSE_CONFIG"

T = TypeVar("T")
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\})")


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every typed part of the config: immutable, and unknown keys are refused."""


class Secret:
    """A text that never shows itself: not in logs, errors, pages or `check`'s output."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; call it only where it leaves the program."""
        return self._text

    def __repr__(self) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


class Written:
    """Base of a value that is read from what stands in the file, such as a matcher or a range of days."""

    @classmethod
    def read(cls, value: object) -> Self:
        """From text, number or list as YAML has it; raises ValueError that says what was expected."""
        raise NotImplementedError


class BasicAuth(Section, frozen=True):
    """User and password towards another server, in Prometheus' words."""

    username: str
    password: Secret | None = None
    password_file: Path | None = None

    def __post_init__(self) -> None:
        exactly_one(password=self.password, password_file=self.password_file)


class Authorization(Section, frozen=True):
    """An `Authorization` header, in Prometheus' words."""

    type: str = "Bearer"
    credentials: Secret | None = None
    credentials_file: Path | None = None

    def __post_init__(self) -> None:
        exactly_one(credentials=self.credentials, credentials_file=self.credentials_file)


class ClientTls(Section, frozen=True):
    """How another server's certificate is verified and ours is shown, in Prometheus' words."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure_skip_verify: bool = False


class PrometheusSettings(Section, frozen=True):
    """The `prometheus` section: where PromQL is asked."""

    url: str = "http://localhost:9090"
    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    tls_config: ClientTls = ClientTls()
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    timeout: Duration = Duration(30)
    max_concurrent_queries: int = 4
    max_samples_per_query: int = 1_000_000

    def __post_init__(self) -> None:
        if urlsplit(self.url).username is not None:  # errors and pages show the URL
            raise ValueError("url: expected no user and password in it: put them under basic_auth")
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f'url: expected a URL that starts with http:// or https://, got "{self.url}"')
        if self.basic_auth and self.authorization:
            raise ValueError("basic_auth and authorization can't both be set: keep one")
        if self.max_concurrent_queries < 1:
            raise ValueError(f"max_concurrent_queries: expected 1 or more, got {self.max_concurrent_queries}")
        if self.max_samples_per_query < 1:
            raise ValueError(f"max_samples_per_query: expected 1 or more, got {self.max_samples_per_query}")
        if self.timeout <= 0:
            raise ValueError(f"timeout: expected more than 0s, got {self.timeout}")


def exactly_one(**choices: object) -> None:
    """Raise ValueError unless exactly one of the named values is set; for a secret and its `_file` form."""
    if sum(value is not None for value in choices.values()) != 1:
        *others, last = choices
        raise ValueError(f"expected exactly one of {', '.join(others)} and {last}")


def secret_text(value: Secret | None, file: Path | None) -> str:
    """A secret or the stripped content of its file; raises ConfigError when the file can't be read."""
    if value is not None:
        return value.reveal()
    assert file is not None
    return file_text(file, "the secret").strip()


def file_text(path: Path, what: str) -> str:
    """The content of a file; raises ConfigError when it can't be read: `what` it is says the message."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't UTF-8 text"
        raise ConfigError(f"{path}: can't read {what}: {reason}") from error


@dataclass(frozen=True)
class ConfigFile:
    """One config file, read and expanded but not yet typed."""

    path: Path
    tree: Mapping[str, Any]

    def section(self, name: str, kind: type[T]) -> T:
        """The section `name` as `kind`, its defaults where the file is silent.

        Raises ConfigError that names the key: `forecaster.forecasts[0].step: expected …`.
        """
        found = self.tree.get(name)
        try:
            return msgspec.convert({} if found is None else found, kind, dec_hook=_decode)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{self.path}: {_place(name, kind, str(error))}") from error


def read(path: Path | None) -> ConfigFile:
    """Read `path`; None takes `$CLOUDPULSE_CONFIG`, else `./cloudpulse.yaml`, else an empty config.

    Raises ConfigError for a missing named file, wrong YAML, an unknown section or an unset variable.
    """
    named = path or (Path(os.environ[PATH_VARIABLE]) if os.environ.get(PATH_VARIABLE) else None)
    actual = named or Path(DEFAULT_PATH)
    try:
        if named is None and not actual.exists():  # raises in a folder that this user may not enter
            return ConfigFile(actual, {})
    except OSError as error:
        raise ConfigError(f"{actual}: can't read the config: {error.strerror}") from error
    return parse(file_text(actual, "the config"), actual, os.environ)


def parse(text: str, path: Path, environment: Mapping[str, str]) -> ConfigFile:
    """Config from `text`; `path` only names it in messages. Raises ConfigError."""
    tree = from_yaml(text, path)
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected sections such as `forecaster:`, got {_kind(tree)}")
    for name in tree:
        if name not in SECTIONS:
            raise ConfigError(f"{path}: {name}: unknown section, expected one of {', '.join(SECTIONS)}")
    try:
        return ConfigFile(path, {name: _expand(value, name, path, environment) for name, value in tree.items()})
    except RecursionError as error:
        raise ConfigError(f"{path}: not usable YAML: an alias contains itself") from error


def from_yaml(text: str, path: Path) -> Any:
    """What stands in `text`; `path` only names it in messages. Raises ConfigError."""
    import yaml  # 1.2 MiB that a service without a file does without

    from cloudpulse.uniquekeys import UniqueKeyLoader

    try:
        return yaml.load(text, Loader=UniqueKeyLoader)  # noqa: S506  a SafeLoader, with more checks
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {yaml_reason(error)}") from None
    except RecursionError as error:
        raise ConfigError(f"{path}: not usable YAML: nested too deeply") from error


def _expand(value: Any, place: str, path: Path, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _expand(child, f"{place}.{key}", path, environment) for key, child in value.items()}
    if isinstance(value, list):
        return [_expand(child, f"{place}[{i}]", path, environment) for i, child in enumerate(value)]
    if not isinstance(value, str):
        return value

    def substitute(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return "$"
        if name not in environment:
            raise ConfigError(f"{path}: {place}: the environment variable {name} is not set")
        return environment[name]

    return _VARIABLE.sub(substitute, value)


def _decode(kind: type[Any], value: Any) -> Any:
    if kind is Duration:
        if not isinstance(value, str):
            raise ValueError(f"expected a duration such as 1m, got {value!r}")
        return Duration.parse(value)
    if kind is Secret:
        if not isinstance(value, str):
            raise ValueError("expected a text (put it in quotes)")  # what it is instead is secret all the same
        return Secret(value)
    if kind is Path or issubclass(kind, Path):
        if not isinstance(value, str):
            raise ValueError(f"expected a path, got {_kind(value)}")
        return Path(value)
    if issubclass(kind, Written):
        return kind.read(value)
    raise NotImplementedError(f"config: no decoder for {kind}")


_WORDS = {"array": "a list", "object": "keys and values", "str": "a text", "int": "a whole number", "float": "a number"}
_WORDS |= {"bool": "true or false", "null": "nothing"}


def _place(section: str, kind: type[Any], message: str) -> str:
    """msgspec's `Expected `int`, got `str` - at `$.a[0].b`` in the file's own words and places."""
    text, _, where = message.partition(" - at `$")
    where = where.rstrip("`")
    text = text.replace("Object contains unknown field", "unknown key")
    text = text.replace("Object missing required field", "missing key")
    text = re.sub(r"`(\w+)(?: \| null)?`", lambda m: _WORDS.get(m[1], f"`{m[1]}`"), text)
    if text == "Expected a number, got a text":
        text += " (write 1e17 as 1.0e+17: YAML takes an exponent for one only after a point and with its sign)"
    if choices := _choices(kind, where):
        text = re.sub("Invalid (enum )?value", f"expected one of {', '.join(choices)}, got", text)
    return f"{section}{where}: {text[:1].lower()}{text[1:]}"


def _choices(kind: type[Any], where: str) -> list[str]:
    """The words that the value at `where`, such as `.a[0].b` of `kind`, may be; none where it may be any."""
    types = [msgspec.inspect.type_info(kind)]
    for key in re.findall(r"\.(\w+)|\[[^]]*\]", where):  # "" for an index
        inner = [one for found in types for one in _members(found)]
        tagged = [one for one in inner if isinstance(one, msgspec.inspect.StructType) and one.tag_field == key]
        if tagged:  # the key that says which of several kinds this is
            return [str(one.tag) for one in tagged]
        if key:
            types = [
                f.type
                for one in inner
                if isinstance(one, msgspec.inspect.StructType)
                for f in one.fields
                if f.encode_name == key
            ]
        else:
            types = [
                one.item_type
                for one in inner
                if isinstance(one, msgspec.inspect.ListType | msgspec.inspect.VarTupleType)
            ]
    literals = [one for found in types for one in _members(found) if isinstance(one, msgspec.inspect.LiteralType)]
    return [str(value) for one in literals for value in one.values]


def _members(found: msgspec.inspect.Type) -> tuple[msgspec.inspect.Type, ...]:
    return found.types if isinstance(found, msgspec.inspect.UnionType) else (found,)


def _kind(value: object) -> str:
    return {dict: "keys and values", list: "a list", str: "a text", type(None): "nothing"}.get(type(value), repr(value))


def yaml_reason(error: yaml.YAMLError) -> str:
    """What is wrong and where, without the line itself, which may hold a secret."""
    import yaml

    if not isinstance(error, yaml.MarkedYAMLError):
        return str(getattr(error, "reason", "it can't be read"))
    mark = error.problem_mark or error.context_mark
    place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
    # A password that begins with * or ! and isn't quoted reads as an alias or a tag.
    problem = re.sub(r"(alias|anchor|tag|handle) ['\"].*", r"\1", error.problem or error.context or "it can't be read")
    return f"{problem}{place}"
