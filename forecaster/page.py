"""HTML pages of the one-off commands: one file each, no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from cloudpulse import __version__
from cloudpulse.errors import StoreError
from forecaster import charts, outcome

_FILTERS: Mapping[str, Callable[..., str]] = {"percent": outcome.percent, "number": outcome.number}


def render(template: str, filters: Mapping[str, Callable[..., str]], **values: Any) -> str:
    """A page of `templates/`, which knows its time and the size of charts."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {**_FILTERS, "moment": minute, **filters}
    return environment.get_template(template).render(version=__version__, now=time.time(), size=charts.SIZE, **values)


def write(path: Path, text: str) -> None:
    """Raises StoreError when the file can't be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: the report can't be written: {error.strerror}") from error


def minute(seconds: float) -> str:
    """Unix seconds as a person reads them."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
