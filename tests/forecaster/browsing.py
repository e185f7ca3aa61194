"""A real Chromium for tests of the console: pages that note whatever goes wrong in them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The browser of this machine, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A page, and what a reader must never meet in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.wrong: list[str] = []
        self.strangers: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", self._asked)

    def open(self, fragment: str = "") -> Page:
        """The console, with its list."""
        self.page.goto(f"{self.url}/console{fragment}")
        self.page.locator(".row").first.wait_for()
        return self.page

    def _said(self, message: ConsoleMessage) -> None:
        # Refusals of the Content-Security-Policy are among the errors.
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != urlsplit(self.url).netloc:
            self.strangers.append(request.url)


@contextlib.contextmanager
def watched(browser: Browser, url: str, **options: Any) -> Iterator[Watched]:
    """A page of its own, in Berlin; what went wrong in it is the reader's to assert."""
    wide = {"viewport": {"width": 1280, "height": 800}, "timezone_id": "Europe/Berlin", "locale": "en-GB"}
    context = browser.new_context(**{**wide, **options})
    context.set_default_timeout(10_000)
    try:
        yield Watched(context.new_page(), url)
    finally:
        context.close()
