"""The parts of cheroot that we build on, imported without `ssl`: import them from here, never from cheroot.

cheroot loads `ssl` to note OpenSSL's version for its own tests, and does without where Python has none. That is 4 MiB
and 10 ms of an exporter without TLS; who serves TLS imports `ssl` with `webconfig`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Importing `module` fails inside the block, unless it is loaded already."""
    if module in sys.modules:
        yield
        return
    # None is how Python says that a module is not to be had: https://docs.python.org/3/reference/import.html#the-module-cache
    sys.modules[module] = None  # type: ignore[assignment]  # typeshed doesn't know
    try:
        yield
    finally:
        del sys.modules[module]


with _hidden("ssl"):
    from cheroot.connections import ConnectionManager
    from cheroot.errors import FatalSSLAlert
    from cheroot.makefile import StreamReader, StreamWriter
    from cheroot.server import HTTPConnection, HTTPRequest
    from cheroot.ssl import Adapter
    from cheroot.wsgi import Gateway_10, Server

__all__ = [
    "Adapter",
    "ConnectionManager",
    "FatalSSLAlert",
    "Gateway_10",
    "HTTPConnection",
    "HTTPRequest",
    "Server",
    "StreamReader",
    "StreamWriter",
]
