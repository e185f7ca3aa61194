"""Who may do what: Alertmanager's own credential, API keys of people and programs, or everyone where none is set."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from alert_bridge.audit import Caller as Caller
from alert_bridge.audit import Denied as Denied
from alert_bridge.audit import OnDenied, is_webhook
from alert_bridge.config import AlertBridgeSettings
from cloudpulse import credentials, origins
from cloudpulse.apikeys import ApiKeys
from cloudpulse.certificates import holder
from cloudpulse.config import Secret, secret_text
from cloudpulse.credentials import equal
from cloudpulse.errors import ConfigError
from cloudpulse.serving import CLIENT_CERTIFICATE, Environ
from cloudpulse.traced import USER

ANYONE = Caller("anyone")
READING = ("GET", "HEAD", "OPTIONS")


class Access:
    """The rights that a config gives; its secrets' files are read once, here. Used by several threads.

    Where `api_keys` are set, every path needs one: any for reading, one with the role `write` for a change, the
    webhook included; and the webhook's own credential opens the webhook only. Without keys, reading is open to
    everyone, as Alertmanager's own API is, and so are changes unless the webhook has a credential, which then is asked
    of all of them. Raises ConfigError when a secret can't be read.

    The web config's basic auth comes before all this, for every path, and takes the one `Authorization` header: with
    it, an API key comes as `X-API-Key`. Alertmanager then needs that user as its `basic_auth`, and for the bridge the
    same user and password here, a certificate, or `X-API-Key` among its `http_headers`, where its version has those; a
    `bearer_token` it could not send.
    """

    def __init__(self, settings: AlertBridgeSettings, on_denied: OnDenied) -> None:
        self._on_denied = on_denied
        self._keys = ApiKeys(settings.api_keys)
        self._token = _text("bearer_token", settings.bearer_token, settings.bearer_token_file)
        self._user = self._password = ""
        if basic := settings.basic_auth:
            self._user = basic.username
            self._password = _text("basic_auth.password", basic.password, basic.password_file)
        self._host = urlsplit(settings.external_url or "").netloc
        self._certificates = frozenset(settings.client_certificates)

    @property
    def open(self) -> bool:
        """Whether anyone may change something."""
        return not self._keys and not self._webhook_asks

    def identify(self, environ: Environ) -> Caller:
        """Who sends this request, if they may; raises Denied, which is counted and logged by then."""
        try:
            return self._identified(environ)
        except Denied as denied:
            self._on_denied(denied, environ, "")
            raise

    def _identified(self, environ: Environ) -> Caller:
        changing = environ["REQUEST_METHOD"] not in READING
        if changing and origins.foreign(environ, self._host):
            raise Denied(403, "forbidden", "changes are not taken from other sites' pages")
        webhook = is_webhook(environ)
        if (webhook or (changing and not self._keys)) and (caller := self._alertmanager(environ)):
            return caller
        if not self._keys and not (changing and self._webhook_asks):
            return Caller(f"user:{environ[USER]}") if USER in environ else ANYONE  # the web config's basic auth
        key = self._keys.owner(credentials.api_keys(environ))
        if key is None:
            raise self._unknown(environ, webhook)
        if changing and key.role != "write":
            raise Denied(403, "forbidden", f"the API key {key.name} may only read: its role is {key.role}, not write")
        return Caller(f"key:{key.name}")

    def _alertmanager(self, environ: Environ) -> Caller | None:
        token, basic = credentials.bearer(environ), credentials.basic(environ)
        if self._token and token is not None and equal(token, self._token):
            return Caller("webhook:bearer_token")
        if self._password and basic is not None:
            user, password = equal(basic[0], self._user), equal(basic[1], self._password)
            if user and password:
                return Caller("webhook:basic_auth")
        certificate = environ.get(CLIENT_CERTIFICATE) if self._certificates else None
        if certificate is not None:
            found = holder(certificate)
            accepted = self._certificates.intersection(found.names)
            if accepted and datetime.now(UTC) <= found.ends:
                return Caller(f"certificate:{min(accepted)}")
        return None

    @property
    def _webhook_asks(self) -> bool:
        return bool(self._token or self._password or self._certificates)

    def _unknown(self, environ: Environ, webhook: bool) -> Denied:
        accepted = []
        if self._keys:
            accepted.append("an API key in `X-API-Key` or as `Authorization: Bearer <key>`")
        if webhook or not self._keys:
            accepted += ["`Authorization: Bearer <the configured bearer_token>`"] if self._token else []
            accepted += ["basic auth as configured"] if self._password else []
            accepted += ["a client certificate as configured"] if self._certificates else []
        given = any(name in environ for name in ("HTTP_AUTHORIZATION", "HTTP_X_API_KEY", CLIENT_CERTIFICATE))
        cause = "wrong_credentials" if given or credentials.api_keys(environ) else "no_credentials"
        challenge = "Bearer"
        if self._password and (webhook or not self._keys):
            challenge += ', Basic realm="cloudpulse"'
        return Denied(401, cause, f"expected {', or '.join(accepted)}", challenge)


def _text(place: str, value: Secret | None, file: Path | None) -> str:
    """A secret, "" where none is set."""
    if value is None and file is None:
        return ""
    text = secret_text(value, file)
    if not text:
        raise ConfigError(f"alert_bridge.{place}: expected a secret, got an empty text: nobody would have to know it")
    return text
