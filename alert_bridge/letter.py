"""How a mail is written: text and HTML with the picture inside it, and headers that keep an incident in one thread."""

from __future__ import annotations

import email.errors
import email.policy
import email.utils
import html
from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Final

import idna

from alert_bridge.channels import BREAK, INDENT, clean
from cloudpulse import trace

SUBJECT_CHARACTERS = 250

# Lines beyond ASCII are encoded, so that no server needs 8BITMIME.
_POLICY: Final = email.policy.SMTP.clone(cte_type="7bit")
_POLICY_UNICODE: Final = email.policy.SMTPUTF8.clone(cte_type="7bit")

# No remote resource, and both colour schemes: what mail programs show on a phone at night without asking.
_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; supported-color-schemes: light dark; }}
body {{ margin: 0; padding: 16px; font: 16px/1.45 -apple-system, "Segoe UI", Roboto, sans-serif; \
overflow-wrap: anywhere; }}
h1 {{ margin: 0 0 12px; padding-left: 12px; border-left: 6px solid {colour}; font-size: 20px; line-height: 1.25; }}
img {{ display: block; max-width: 100%; height: auto; margin: 0 0 12px; border-radius: 6px; }}
a {{ display: inline-block; padding: 10px 0; }}
.in {{ padding-left: 1em; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #121212; color: #e8e8e8; }} a {{ color: #8ab4f8; }} }}
</style></head>
<body><h1>{title}</h1>
{picture}{body}
</body></html>
"""


@dataclass(frozen=True)
class Letter:
    """What a mail says. `text` and `title` are plain, `body` is HTML without a page around it, `picture` a PNG.

    `key` names the mail: the same key makes the same mail again. `thread` is the Message-ID of the incident's first
    mail, empty for the first itself. `sent_at` is in Unix seconds.
    """

    key: str
    sent_at: float
    title: str
    text: str
    body: str
    colour: str
    picture: bytes | None = None
    thread: str = ""

    def message_id(self, sender: Address) -> str:
        """The same for every attempt, so that mail programs show a repeated mail once."""
        return f"<{self.key}@{ascii_domain(sender.domain)}>"

    def written(self, sender: Address, recipients: tuple[Address, ...]) -> EmailMessage:
        """The mail. Only its subject comes from alerts, among the headers; it is one line of visible characters."""
        mail = EmailMessage(_POLICY_UNICODE if any(map(needs_unicode, (sender, *recipients))) else _POLICY)
        title = " ".join(clean(self.title).split())[:SUBJECT_CHARACTERS]
        mail["From"] = as_sent(sender)
        mail["To"] = tuple(as_sent(recipient) for recipient in recipients)
        mail["Subject"] = title
        mail["Date"] = datetime.fromtimestamp(self.sent_at, UTC)
        mail["Message-ID"] = self.message_id(sender)
        if self.thread:
            mail["In-Reply-To"] = mail["References"] = self.thread
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notes, please
        mail["X-Auto-Response-Suppress"] = "All"  # the same to Exchange
        mail["X-CloudPulse-Idempotency-Key"] = self.key
        if identifier := trace.identifier():
            mail["X-CloudPulse-Trace-Id"] = identifier
        mail.set_content(clean(self.text))
        mail.add_alternative(self._page(title), subtype="html")
        if self.picture is not None:
            shown = mail.get_payload(1)
            assert isinstance(shown, EmailMessage)
            shown.add_related(
                self.picture, "image", "png", cid=f"<{self._picture_id}>", disposition="inline", filename="forecast.png"
            )
            shown.set_boundary(f"related-{self.key}")
        mail.set_boundary(f"alternative-{self.key}")
        return mail

    @property
    def _picture_id(self) -> str:
        return f"picture.{self.key}@cloudpulse"

    def _page(self, title: str) -> str:
        shown = html.escape(title)
        picture = f'<img src="cid:{self._picture_id}" alt="Chart: {shown}">\n' if self.picture is not None else ""
        return _PAGE.format(title=shown, colour=self.colour, picture=picture, body=_lines(clean(self.body)))


def _lines(body: str) -> str:
    """Each line an element of its own, so that what is indented stays so where it wraps."""
    return "\n".join(
        f'<div class="in">{line.removeprefix(INDENT)}</div>' if line.startswith(INDENT) else f"<div>{line}</div>"
        for line in body.split(BREAK)
    )


def address(text: str) -> Address:
    """From `name@host` or `Name <name@host>`; raises ValueError for anything else."""
    try:
        ((name, spec),) = email.utils.getaddresses([text])
        parsed = Address(name, addr_spec=spec) if spec.isascii() else Address(name, *spec.rsplit("@", 1))
        if text.isprintable() and parsed.username and ascii_domain(parsed.domain):
            return parsed
    except (ValueError, IndexError, TypeError, email.errors.MessageError):
        pass
    raise ValueError(f'expected an address such as team@example.org, got "{text}"')


def ascii_domain(domain: str) -> str:
    """The domain as DNS has it (IDNA 2008); raises ValueError for one that can't be."""
    return domain if domain.isascii() else idna.encode(domain, uts46=True).decode()


def as_sent(written: Address) -> Address:
    """The address with the domain that DNS knows; what stands before the @ stays as it is."""
    return Address(written.display_name, written.username, ascii_domain(written.domain))


def needs_unicode(written: Address) -> bool:
    """Whether only servers with SMTPUTF8 (RFC 6531) can take this address."""
    return not written.username.isascii()
