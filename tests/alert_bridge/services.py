"""Other people's services for the notifiers' conformance suite: each strict about the requests that it documents.

To put a notifier under test, add its service here and a line to CASES.
"""

from __future__ import annotations

import base64
import contextlib
import email.parser
import email.policy
import html
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from alert_bridge.notifier import ReceiverSettings
from alert_bridge.notifiers.apprise import AppriseReceiver
from alert_bridge.notifiers.log import LogReceiver
from alert_bridge.notifiers.mail import EmailReceiver
from alert_bridge.notifiers.pagerduty import PagerDutyReceiver
from alert_bridge.notifiers.slack import SlackReceiver
from alert_bridge.notifiers.teams import TeamsReceiver
from alert_bridge.notifiers.webhook import WebhookReceiver
from cloudpulse.config import Authorization, ClientTls, Secret
from cloudpulse.durations import Duration
from tests.alert_bridge.post_office import PostOffice, authority

Front = tuple[list[Callable[..., Any]], str]
"""The tests' server: the last WSGI app of the list answers at the URL."""

SECRETS = ("path-token", "header-token", "bearer-token", "user-password", "hmac-token")
"""Texts that settings of CASES hold as secrets, and that must show up nowhere."""


class Wrong(Exception):
    """A request that the service doesn't document."""


def expect(holds: object, what: str) -> None:
    if not holds:
        raise Wrong(what)


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in capitals
    body: bytes

    @property
    def json(self) -> Any:
        expect(self.headers.get("CONTENT-TYPE", "").startswith("application/json"), "Content-Type isn't JSON's")
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, str]:
        expect(self.headers.get("CONTENT-TYPE") == "application/x-www-form-urlencoded", "Content-Type isn't a form's")
        return dict(parse_qsl(self.body.decode(), strict_parsing=True))

    @property
    def files(self) -> dict[str, bytes]:
        head = f"Content-Type: {self.headers['CONTENT-TYPE']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.default).parsebytes(head + self.body)
        return {
            part.get_param("name", header="content-disposition"): part.get_content() for part in message.iter_parts()
        }


class Service(ABC):
    """Somebody's service over HTTP. `fault` may answer in its place: with a status and headers, or None."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.wrong: list[str] = []
        self.url = ""
        self.fault: Callable[[Request], tuple[int, dict[str, str]] | None] = lambda request: None

    @abstractmethod
    def take(self, request: Request) -> tuple[int, bytes]:
        """Answer with a status and a body; raises Wrong."""

    @abstractmethod
    def shown(self) -> list[str]:
        """What people read, as it was sent, in order."""

    @abstractmethod
    def active(self, text: str) -> set[str]:
        """What works when it is clicked or calls people in a text of `shown`: the targets of links, mentions, tags."""

    @abstractmethod
    def key(self, request: Request) -> str:
        """What the service, or who looks at it, knows a repeated request by."""

    @contextlib.contextmanager
    def serving(self, front: Front) -> Iterator[str]:
        """Let it be the one that the tests' server asks; gives its URL. Another protocol's service overrides this."""
        services, self.url = front
        services.append(self)
        yield self.url

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        headers = {name[5:].replace("_", "-"): value for name, value in environ.items() if name.startswith("HTTP_")}
        headers["CONTENT-TYPE"] = environ.get("CONTENT_TYPE", "")
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
        request = Request(environ["REQUEST_METHOD"], environ["PATH_INFO"], query, headers, body)
        self.requests.append(request)
        more: dict[str, str] = {}
        if fault := self.fault(request):
            status, more = fault
            answer = f"you sent {headers.get('AUTHORIZATION')} to {request.path}".encode()
        else:
            try:
                status, answer = self.take(request)
            except (Wrong, KeyError, ValueError, TypeError, AttributeError) as error:
                self.wrong.append(repr(error))
                status, answer = 400, repr(error).encode()
        start_response(f"{status} Told", [("Content-Length", str(len(answer))), *more.items()])
        return [answer]


class Endpoint(Service):
    """Anybody's webhook: takes any JSON."""

    def take(self, request: Request) -> tuple[int, bytes]:
        expect(request.method == "POST", "expected a POST")
        expect(isinstance(request.json, dict), "expected an object")
        return 200, b""

    def shown(self) -> list[str]:
        return [request.body.decode() for request in self.requests]

    def active(self, text: str) -> set[str]:
        return set()  # JSON is data

    def key(self, request: Request) -> str:
        return request.headers["IDEMPOTENCY-KEY"]


class Slack(Service):
    """The Web API and an incoming webhook, with the limits that docs.slack.dev gives."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, dict[str, Any]] = {}  # by ts
        self.uploads: dict[str, dict[str, Any]] = {}
        self.refuse: Callable[[str], str | None] = lambda method: None

    def take(self, request: Request) -> tuple[int, bytes]:
        expect(request.method == "POST", "expected a POST")
        if request.path.startswith("/upload/"):
            expect("AUTHORIZATION" not in request.headers, "the token left the API")
            (content,) = request.files.values()
            self.uploads[request.path.rpartition("/")[2]]["content"] = content
            return 200, b"OK"
        if request.path.startswith("/services/"):
            self._check_content(request.json)
            self.messages[str(len(self.messages))] = request.json
            return 200, b"ok"
        expect(request.headers.get("AUTHORIZATION") == "Bearer bearer-token", "expected the token")
        method = request.path.removeprefix("/api/")
        if error := self.refuse(method):
            return 200, json.dumps({"ok": False, "error": error}).encode()
        handle = {
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "files.getUploadURLExternal": self._upload_url,
            "files.completeUploadExternal": self._complete,
        }[method]
        return 200, json.dumps({"ok": True, **handle(request)}).encode()

    def _post(self, request: Request) -> dict[str, Any]:
        told = request.json
        self._check_content(told)
        expect(told["channel"] in ("C0123456789", "#alerts"), "channel_not_found")
        expect(len(json.dumps(told["metadata"]["event_payload"])) < 16_000, "metadata_too_large")
        expect(
            re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", told["client_msg_id"]), "id"
        )
        expect("thread_ts" not in told or told["thread_ts"] in self.messages, "thread_not_found")
        twice = [ts for ts, one in self.messages.items() if one["client_msg_id"] == told["client_msg_id"]]
        ts = twice[0] if twice else f"1503435956.{len(self.messages):06}"
        self.messages[ts] = told
        return {"channel": "C0123456789", "ts": ts, "message": {}}

    def _update(self, request: Request) -> dict[str, Any]:
        told = request.json
        self._check_content(told)
        expect(told["channel"] == "C0123456789", "channel_not_found: chat.update takes no name")
        self.messages[told["ts"]] |= told
        return {"channel": told["channel"], "ts": told["ts"], "text": told["text"]}

    def _upload_url(self, request: Request) -> dict[str, Any]:
        told = request.form
        identifier = f"F{len(self.uploads)}"
        self.uploads[identifier] = {"length": int(told["length"]), "filename": told["filename"]}
        return {"upload_url": f"{self.url}/upload/v1/{identifier}", "file_id": identifier}

    def _complete(self, request: Request) -> dict[str, Any]:
        told = request.json
        for file in told["files"]:
            upload = self.uploads[file["id"]]
            expect(len(upload["content"]) == upload["length"], "another length than announced")
            upload["thread"] = self.messages[told["thread_ts"]]
        expect(told["channel_id"] == "C0123456789", "channel_not_found: an upload takes no name")
        return {"files": told["files"]}

    @staticmethod
    def _check_content(told: dict[str, Any]) -> None:
        expect(told["parse"] == "none", "parse")
        expect(not told["unfurl_links"], "Slack would fetch what an alert links to")
        expect(not told["unfurl_media"], "Slack would fetch what an alert links to")
        expect(0 < len(told["text"]) <= 4000, "text: up to 4,000 characters")
        expect(len(told["attachments"]) <= 20, "too_many_attachments")
        for attachment in told["attachments"]:
            expect(re.fullmatch("#[0-9a-f]{6}", attachment["color"]), "color")
            for block in attachment["blocks"]:
                expect(block["type"] == "section", "only sections are used")
                expect(block["text"].keys() == {"type", "text", "verbatim"}, "a text object")
                expect(block["text"]["type"] == "mrkdwn", "a text object")
                expect(0 < len(block["text"]["text"]) <= 3000, "section.text: 1 to 3,000 characters")

    def shown(self) -> list[str]:
        return [
            text
            for one in self.messages.values()
            for text in (one["text"], *(block["text"]["text"] for a in one["attachments"] for block in a["blocks"]))
        ]

    def active(self, text: str) -> set[str]:
        text = re.sub(r"<!date\^\d+\^\{date_short_pretty\} \{time\}\|[^<>]*UTC>", "", text)
        return {found.partition("|")[0].replace("&amp;", "&") for found in re.findall("<([^>]*)", text)}

    def key(self, request: Request) -> str:
        told = request.json
        return f"{told['client_msg_id']} {told['metadata']['event_payload']['idempotency_key']}"


class SlackWebhook(Slack):
    """An incoming webhook has nothing to know a repeated request by but its text."""

    def key(self, request: Request) -> str:
        return request.body.decode()


TEAMS_ELEMENTS = {
    "TextBlock": {"type", "id", "text", "wrap", "size", "weight", "color"},
    "Image": {"type", "url", "altText", "size"},
}


class Teams(Service):
    """A workflow's webhook, with the elements of Adaptive Cards 1.4 that cards of ours may have."""

    def take(self, request: Request) -> tuple[int, bytes]:
        expect(request.method == "POST", "expected a POST")
        expect(len(request.body) <= 28 * 1024, "RequestEntityTooLarge")
        told = request.json
        expect(told.keys() == {"type", "attachments"}, "a message")
        expect(told["type"] == "message", "a message")
        (attachment,) = told["attachments"]
        expect(attachment["contentType"] == "application/vnd.microsoft.card.adaptive", "contentType")
        card = attachment["content"]
        expect(card["type"] == "AdaptiveCard", "AdaptiveCard")
        expect(card["version"] in ("1.0", "1.2", "1.3", "1.4", "1.5"), "version")
        for element in card["body"]:
            expect(element.keys() <= TEAMS_ELEMENTS[element["type"]], f"{element.keys()}")
            expect(element.get("text", "x"), "an empty text")
            expect(element.get("color", "Good") in ("Default", "Good", "Warning", "Attention", "Accent"), "color")
            expect(element.get("url", "data:image/png;base64,").startswith("data:image/png;base64,"), "url")
        for action in card.get("actions", []):
            expect(action.keys() == {"type", "title", "url"}, "Action.OpenUrl")
            expect(action["type"] == "Action.OpenUrl", "Action.OpenUrl")
        return 202, b""

    def card(self, request: Request) -> dict[str, Any]:
        card: dict[str, Any] = request.json["attachments"][0]["content"]
        return card

    def shown(self) -> list[str]:
        return [
            text
            for request in self.requests
            for text in (
                *(element["text"] for element in self.card(request)["body"] if "text" in element),
                *(f"[{action['title']}]({action['url']})" for action in self.card(request).get("actions", [])),
            )
        ]

    def active(self, text: str) -> set[str]:
        text = re.sub(r"\\[!-/:-@\[-`{-~]", "", text)  # CommonMark: a backslash and punctuation is that punctuation
        links = re.findall(r"\]\(([^)]*)\)", text)
        return {*links, *re.findall("<[^>]*>", text), *re.findall(r"`[^`]*`|^#.*", text, re.MULTILINE)}

    def key(self, request: Request) -> str:
        key: str = self.card(request)["body"][0]["id"]
        return key


class PagerDuty(Service):
    """Events API v2, with the limits that developer.pagerduty.com gives."""

    def take(self, request: Request) -> tuple[int, bytes]:
        expect(request.method == "POST", "expected a POST")
        expect(request.path == "/v2/enqueue", "expected /v2/enqueue")
        expect(len(request.body) <= 512 * 1024, "larger than 512 KB")
        event = request.json
        expect(event["routing_key"] == "header-token", "Length of 'routing_key' is incorrect")
        expect(event["event_action"] in ("trigger", "acknowledge", "resolve"), "event_action")
        expect(0 < len(event["dedup_key"]) <= 255, "dedup_key: up to 255 characters")
        if event["event_action"] == "trigger":
            payload = event["payload"]
            expect(0 < len(payload["summary"]) <= 1024, "summary: up to 1,024 characters")
            expect(payload["source"], "source")
            expect(payload["severity"] in ("critical", "error", "warning", "info"), "severity")
            expect(datetime.fromisoformat(payload["timestamp"]).tzinfo, "timestamp")
            expect(isinstance(payload["custom_details"], dict), "custom_details")
            for link in event["links"]:
                expect(link["href"].startswith(("http://", "https://")), "href")
        return 202, b'{"status": "success", "message": "Event processed"}'

    def shown(self) -> list[str]:
        return [
            text
            for event in (request.json for request in self.requests)
            if event["event_action"] == "trigger"
            for text in (
                event["payload"]["summary"],
                event["payload"]["custom_details"]["message"],
                *(f"link: {link['href']}" for link in event["links"]),
            )
        ]

    def active(self, text: str) -> set[str]:
        return {text.removeprefix("link: ")} if text.startswith("link: ") else set()  # all else is plain text

    def key(self, request: Request) -> str:
        key: str = request.json["dedup_key"]
        return key


class Mail(Service):
    """A server that people's mails go to. `fault` is about the mail itself below 500, about the server above."""

    @contextlib.contextmanager
    def serving(self, front: Front) -> Iterator[str]:
        with PostOffice("starttls", (b"user", b"user-password")) as self.office:
            self.office.answers = self
            yield f"smtp://127.0.0.1:{self.office.port}"

    def __contains__(self, command: str) -> bool:
        """As the office's answers: what to say instead of taking a mail."""
        self._fault = self.fault(Request("SMTP", command, {}, {}, b"")) if command == "DATA" else None
        return self._fault is not None

    def __getitem__(self, command: str) -> str:
        assert self._fault is not None
        return f"{554 if self._fault[0] < 500 else 451} you sent {SECRETS} to {command}"

    def take(self, request: Request) -> tuple[int, bytes]:
        raise Wrong("mails come over SMTP")

    def shown(self) -> list[str]:
        return [
            text
            for _, mail in self.office.mails
            for text in (
                mail["Subject"],
                *(part.get_content() for part in mail.walk() if part.get_content_maintype() == "text"),
            )
        ]

    def active(self, text: str) -> set[str]:
        return active_html(text) if "<html" in text else set()

    def key(self, request: Request) -> str:
        raise NotImplementedError


def active_html(text: str) -> set[str]:
    """Targets of links, and tags beyond those that show text."""
    ours = {"br", "div", "strong", "a", "h1", "b", "html", "head", "meta", "title", "style", "body", "img"}
    tags = set(re.findall(r"</?([a-zA-Z][^\s/>]*)", text)) - ours
    return tags | {html.unescape(target) for target in re.findall(r'(?:href|src)="((?!cid:)[^"]*)', text)}


class Json(Service):
    """A service that apprise reaches: its `json://`, of which the text is as it would be anywhere else."""

    def take(self, request: Request) -> tuple[int, bytes]:
        expect(request.method == "POST", "expected a POST")
        expect(request.path == "/hook/path-token", "expected the path")
        expect(request.headers["AUTHORIZATION"].startswith("Basic "), "expected a password")
        told = request.json
        expect(0 < len(told["title"]) <= 250, "title: up to 250 characters")
        expect(0 < len(told["message"]) <= 32768, "message: up to 32,768 characters")
        expect(told["type"] in ("info", "success", "warning", "failure"), "type")
        for attachment in told["attachments"]:
            expect(base64.b64decode(attachment["base64"]).startswith(b"\x89PNG"), "a picture")
        return 200, b""

    def shown(self) -> list[str]:
        return [text for request in self.requests for text in (request.json["title"], request.json["message"])]

    def active(self, text: str) -> set[str]:
        return set()

    def key(self, request: Request) -> str:
        return request.body.decode()  # apprise has no room for a key


class JsonOfHtml(Json):
    """The same for services that show HTML."""

    def active(self, text: str) -> set[str]:
        return active_html(text) if text in [request.json["message"] for request in self.requests] else set()


def apprise_settings(url: str, form: str) -> AppriseReceiver:
    host = url.removeprefix("http://")
    return AppriseReceiver(
        name="one",
        urls=(Secret(f"json://user:user-password@{host}/hook/path-token?+X-Key=header-token&format={form}"),),
        timeout=Duration(2),
    )


def email_settings(url: str, folder: Path) -> EmailReceiver:
    authority().cert_pem.write_to_path(str(folder / "ca.pem"))
    return EmailReceiver(
        name="one",
        host="127.0.0.1",
        port=int(url.rpartition(":")[2]),
        username="user",
        password=Secret("user-password"),
        from_="bridge@example.org",
        to=("ann@example.org", "bob@example.org"),
        tls_config=ClientTls(ca_file=folder / "ca.pem"),
        timeout=Duration(20),
    )


class Log(Service):
    """No service at all: what is written to the log is looked at by tests of its own."""

    def take(self, request: Request) -> tuple[int, bytes]:
        raise Wrong("the log notifier calls nobody")

    def shown(self) -> list[str]:
        return []

    def active(self, text: str) -> set[str]:
        return set()

    def key(self, request: Request) -> str:
        raise NotImplementedError


@dataclass(frozen=True)
class Case:
    """A notifier under test: `settings(url, folder)` are those of a receiver at that service, a secret wherever it
    takes one and a timeout of 2 s; `remembers` whether it keeps a memory of an incident that isn't over.
    """

    name: str
    service: type[Service]
    settings: Callable[[str, Path], ReceiverSettings]
    remembers: bool = False
    over_http: bool = True

    def __str__(self) -> str:
        return self.name


CASES = [
    Case(
        "webhook",
        Endpoint,
        lambda url, folder: WebhookReceiver(
            name="one",
            url=Secret(f"{url}/hook/path-token?key=path-token"),
            authorization=Authorization(credentials=Secret("bearer-token")),
            headers={"X-Key": Secret("header-token")},
            hmac_secret=Secret("hmac-token"),
            timeout=Duration(2),
            picture=True,
        ),
    ),
    Case(
        "slack",
        Slack,
        lambda url, folder: SlackReceiver(
            name="one", token=Secret("bearer-token"), channel="#alerts", api_url=f"{url}/api", timeout=Duration(2)
        ),
        remembers=True,
    ),
    Case(
        "slack-webhook",
        SlackWebhook,
        lambda url, folder: SlackReceiver(
            name="one", webhook_url=Secret(f"{url}/services/T0/B0/path-token"), timeout=Duration(2)
        ),
    ),
    Case(
        "teams",
        Teams,
        lambda url, folder: TeamsReceiver(
            name="one",
            url=Secret(f"{url}/workflows/1/triggers/manual/paths/invoke?sig=path-token"),
            timeout=Duration(2),
        ),
    ),
    Case(
        "pagerduty",
        PagerDuty,
        lambda url, folder: PagerDutyReceiver(
            name="one", routing_key=Secret("header-token"), url=f"{url}/v2/enqueue", timeout=Duration(2)
        ),
    ),
    Case("email", Mail, email_settings, remembers=True, over_http=False),
    Case("apprise", Json, lambda url, folder: apprise_settings(url, "text")),
    Case("apprise-html", JsonOfHtml, lambda url, folder: apprise_settings(url, "html")),
    Case("log", Log, lambda url, folder: LogReceiver(name="one", insight=True), over_http=False),
]
