"""How texts are written for a place: what is escaped, how a link and an emphasis look."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlsplit

from markupsafe import Markup

Name = Literal["plain", "html", "slack", "markdown"]

BREAK, INDENT = "<br>\n", "&emsp;"
"""How HTML breaks a line and begins an indented one."""

_LINE_BREAKS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_MARKDOWN = re.compile(r"[\\`*\[\]<]|(?<![^\W_])_|_(?![^\W_])|~(?=~)|(?<=~)~|&(?=#?\w+;)")
_LINE_START = re.compile(r"^(\s*(?:\d+(?=[.)]))?)([-+=>#.)])", re.MULTILINE)
_HIDDEN = frozenset({"Cc", "Cf", "Cs"})
_JOINERS = frozenset("\u200c\u200d")  # emoji and Indic and Arabic scripts are written with them


@dataclass(frozen=True)
class Moment:
    """A time: Unix seconds, and the text in UTC where a channel knows no reader's time zone."""

    at: int
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Channel:
    """One way to write; `escape`, `link` and `strong` take cleaned text and give what may be sent.

    `between` stands between links.
    """

    name: Name
    escape: Callable[[str], str]
    link: Callable[[str, str], str]
    strong: Callable[[str], str]
    moment: Callable[[Moment], str] = str
    between: str = " · "


def clean(text: str) -> str:
    """Without what can't be seen: control and direction characters; line breaks become one kind."""
    text = _LINE_BREAKS.sub("\n", text).replace("\t", " ")
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in text if c in "\n" or c in _JOINERS or unicodedata.category(c) not in _HIDDEN)


def web_url(url: str) -> str:
    """The URL with everything quoted that could end it early; empty unless it is http or https with a host."""
    try:
        parts = urlsplit(url.strip())
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            return ""
    except ValueError:
        return ""
    # Every character that means something to one of the channels, beside those that no URL holds.
    return quote(clean(url.strip()), safe="%/:?#@!$&+,;=-._~[]").replace("[", "%5B").replace("]", "%5D")


def _markdown(text: str) -> str:
    """CommonMark's backslashes, only where a character would mean something: not all Teams clients know them."""
    return _LINE_START.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\g<0>", text))


def _slack(text: str) -> str:
    """https://docs.slack.dev/messaging/formatting-message-text: these three and no other are escaped."""
    return html.escape(text, quote=False)


CHANNELS: Mapping[Name, Channel] = {
    channel.name: channel
    for channel in (
        Channel("plain", lambda text: text, lambda url, text: f"{text}: {url}", lambda text: text, between="\n"),
        Channel(
            "html",
            html.escape,
            lambda url, text: f'<a href="{html.escape(url)}">{html.escape(text)}</a>',
            lambda text: f"<strong>{html.escape(text)}</strong>",
        ),
        Channel(
            "slack",
            _slack,
            lambda url, text: f"<{_slack(url)}|{_slack(text)}>",
            # An asterisk of the text would end the emphasis and can't be escaped.
            lambda text: f"*{_slack(text.replace('*', '∗'))}*" if text else "",
            lambda moment: f"<!date^{moment.at}^{{date_short_pretty}} {{time}}|{moment.text}>",
        ),
        Channel(
            "markdown",
            _markdown,
            lambda url, text: f"[{_markdown(text)}]({url})",
            lambda text: f"**{_markdown(text)}**" if text else "",
        ),
    )
}


def finalizer(channel: Channel) -> Callable[[object], Markup]:
    """What every value goes through on its way into a text: escaped unless it has been."""

    def finalize(value: object) -> Markup:
        if isinstance(value, Markup):
            return value
        if isinstance(value, Moment):
            return Markup(channel.moment(value))  # noqa: S704  digits and what we write
        return Markup(channel.escape(clean(str(value))))  # noqa: S704  escaped

    return finalize
