"""The web config at work: who is let in, how often, and what stands in every answer.

The file, and the files that it names, are read again when they change. What changed there holds for the next request,
TLS for the next connection. A file that can't be used, or that leaves a protection out, keeps what is in force.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudpulse import credentials, logs, names, webconfig
from cloudpulse.clock import Clock
from cloudpulse.environ import FAILURE_HEADERS
from cloudpulse.errors import ConfigError
from cloudpulse.passwords import Passwords, Verdict
from cloudpulse.ratelimit import TokenBucket
from cloudpulse.remaking import Remade, Sources
from cloudpulse.serving import GUARDS, Environ, StartResponse, WsgiApp
from cloudpulse.traced import USER
from cloudpulse.webconfig import TlsServer, WebConfig

if TYPE_CHECKING:
    from cloudpulse.webtls import Context

log = logs.get(__name__)


@dataclass(frozen=True)
class Rules:
    """What holds for a request."""

    config: WebConfig
    headers: tuple[tuple[str, str], ...]
    passwords: Passwords | None
    bucket: TokenBucket | None


class WebFile:
    """The rules of `--web.config.file` at this moment. Raises ConfigError where the first ones can't be had."""

    def __init__(self, path: Path, clock: Clock = time.time, ticks: Clock = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._ticks = ticks
        self._latest: Rules | None = None
        self.rules = Remade(self._make, self._tell, ticks)
        self._context: Remade[Context] | None = None
        if self.rules().config.tls_server_config is not None:
            from cloudpulse import webtls  # 5 MiB that nobody without TLS has to pay

            def secure(sources: Sources) -> Context:
                config = sources.watch(self.rules).config.tls_server_config
                assert config is not None  # `_make` lets none go
                made = webtls.context(config, sources=sources)
                self._succeeded_at = clock()
                return made

            self._context = Remade(secure, self._tell, ticks)
        self._succeeded_at = clock()

    @property
    def context(self) -> Callable[[], Context] | None:
        """Gives the TLS context for each new connection; None without TLS."""
        return self._context

    def reload(self) -> None:
        """Read everything again; raises ConfigError, and then what is in force goes on."""
        self.rules.now()
        if self._context is not None:
            self._context.now()

    def state(self) -> Iterator[tuple[names.Definition, float]]:
        """Whether what the file says is in force, and when it was last taken, as series."""
        self.rules()
        if self._context is not None:
            self._context()
        failed = self.rules.failed or (self._context is not None and self._context.failed)
        yield names.WEB_CONFIG_RELOAD_OK, float(not failed)
        yield names.WEB_CONFIG_RELOAD_TIME, self._succeeded_at

    def _make(self, sources: Sources) -> Rules:
        config, before = webconfig.read(sources.file(self._path)), self._latest
        if before is not None:
            _refuse_losses(self._path, before.config, config)
        same_users = before is not None and before.config.basic_auth_users == config.basic_auth_users
        same_limit = before is not None and before.config.rate_limit == config.rate_limit
        self._latest = Rules(
            config,
            tuple((name, value) for name, value in config.http_server_config.headers.items() if value),
            before.passwords if before is not None and same_users else _passwords(config),
            before.bucket if before is not None and same_limit else self._bucket(config),
        )
        for note in config.notes():
            log.warning("web config", file=str(self._path), note=note)
        self._succeeded_at = self._clock()
        log.info(
            "web config read",
            file=str(self._path),
            tls=config.tls_server_config is not None,
            users=len(config.basic_auth_users or ()),
        )
        return self._latest

    def _bucket(self, config: WebConfig) -> TokenBucket | None:
        limit = config.rate_limit
        return TokenBucket(limit.interval, limit.burst, self._ticks) if limit.interval else None

    def _tell(self, error: ConfigError) -> None:
        log.error("web config not reloaded, the one before goes on", error=str(error))


def _passwords(config: WebConfig) -> Passwords | None:
    users = config.basic_auth_users
    return Passwords({user: hashed.reveal() for user, hashed in users.items()}) if users else None


def _refuse_losses(path: Path, before: WebConfig, after: WebConfig) -> None:
    """Raise ConfigError for a file that leaves out what protects now: it may be half-written.

    What it says in so many words, such as `basic_auth_users: {}` or `client_auth_type: NoClientCert`, is taken.
    """
    was, now = before.tls_server_config, after.tls_server_config
    if was is None and now is not None:
        raise ConfigError(f"{path}: tls_server_config is new: restart to begin with TLS")
    if (loss := _loss(before, after)) is not None:
        what, remedy = loss
        raise ConfigError(f"{path}: {what} is gone, which is how a half-written file looks: {remedy} to go without")


def _loss(before: WebConfig, after: WebConfig) -> tuple[str, str] | None:
    """Which key is missing, and what to do if that is meant."""
    was, now = before.tls_server_config, after.tls_server_config
    if was is not None and now is None:
        return "tls_server_config", "restart"
    if before.basic_auth_users and after.basic_auth_users is None:
        return "basic_auth_users", "write `basic_auth_users: {}`"
    if was is None or now is None or not was.verifies:
        return None
    if now.client_auth_type is None:
        return "client_auth_type", "write `client_auth_type: NoClientCert`"
    if now.verifies and _has_ca(was) and not _has_ca(now):
        return "client_ca_file", "restart"
    if now.verifies and was.client_allowed_sans is not None and now.client_allowed_sans is None:
        return "client_allowed_sans", "restart"
    return None


def _has_ca(tls: TlsServer) -> bool:
    return bool(tls.client_ca_file or tls.client_ca)


class Gate:
    """WSGI middleware: holds every request to the rules, in the toolkit's order: rate limit, then user.

    `unlimited` names the (method, path) that the rate limit leaves alone, also with a slash too many: an app redirects
    such a path, and a 429 instead is final to Alertmanager.
    """

    def __init__(self, app: WsgiApp, rules: Callable[[], Rules], unlimited: Collection[tuple[str, str]] = ()) -> None:
        self._app = app
        self._rules = rules
        self._unlimited = frozenset(unlimited)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        rules = self._rules()
        if rules.headers:
            encoded = [(name, value.encode().decode("latin-1")) for name, value in rules.headers]
            environ.setdefault(FAILURE_HEADERS, []).extend(encoded)
            start_response = _setting(encoded, start_response)
        if rules.bucket is not None and not self._is_unlimited(environ) and not rules.bucket.take():
            wait = ("Retry-After", str(max(1, round(rules.config.rate_limit.interval))))
            return _refused(environ, start_response, "429 Too Many Requests", wait)
        if rules.passwords is None:
            return self._app(environ, start_response)
        verdict, user = _judged(rules.passwords, environ)
        if verdict is Verdict.RIGHT:
            environ[USER] = user
            return self._app(environ, start_response)
        if verdict is Verdict.BUSY:
            return _refused(environ, start_response, "503 Service Unavailable", ("Retry-After", "1"))
        challenge = ("WWW-Authenticate", 'Basic realm="cloudpulse"')
        return _refused(environ, start_response, "401 Unauthorized", challenge)

    def _is_unlimited(self, environ: Environ) -> bool:
        path = "/" + "/".join(filter(None, environ.get("PATH_INFO", "").split("/")))
        return (environ["REQUEST_METHOD"], path) in self._unlimited


def _judged(passwords: Passwords, environ: Environ) -> tuple[Verdict, str]:
    """The verdict, and the user's name as it was given."""
    if (given := credentials.basic(environ)) is None:
        return Verdict.WRONG, ""
    user, password = given
    return passwords.judge(user, password, environ.get("REMOTE_ADDR", "")), user.decode("utf-8", "replace")


def _refused(environ: Environ, start_response: StartResponse, status: str, *headers: tuple[str, str]) -> list[bytes]:
    body = f"{status.partition(' ')[2]}\n".encode()
    sent = [*headers, ("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), *GUARDS]
    start_response(status, sent)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _setting(headers: list[tuple[str, str]], start_response: StartResponse) -> StartResponse:
    """`start_response` with `headers` in the place of those of the same names."""
    ours = {name.lower() for name, _ in headers}

    def start(status: str, given: list[tuple[str, str]], *exc_info: Any) -> Any:
        return start_response(status, [*(one for one in given if one[0].lower() not in ours), *headers], *exc_info)

    return start
