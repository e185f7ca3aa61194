from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme


@dataclass(frozen=True)
class Certificates:
    """PEM files of one authority, a server for 127.0.0.1 and a client; and a client of another authority."""

    ca: Path
    cert: Path
    key: Path
    client: Path
    stranger: Path

    def context(self, client: Path | None = None) -> ssl.SSLContext:
        """What a client that trusts the authority uses, with its own certificate if it has one."""
        made = ssl.create_default_context(cafile=str(self.ca))
        if client is not None:
            made.load_cert_chain(client)
        return made


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    server = authority.issue_cert("127.0.0.1", "localhost")
    files = Certificates(*(folder / f"{name}.pem" for name in ("ca", "cert", "key", "client", "stranger")))
    authority.cert_pem.write_to_path(str(files.ca))
    server.cert_chain_pems[0].write_to_path(str(files.cert))
    server.private_key_pem.write_to_path(str(files.key))
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(str(files.client))
    trustme.CA().issue_cert("x@example.org").private_key_and_cert_chain_pem.write_to_path(str(files.stranger))
    return files
