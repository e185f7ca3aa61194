"""A throwaway PostgreSQL for tests and benchmarks: a cluster in a folder of its own, on a free loopback port."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg

from alert_bridge.testing import free_port

PASSWORD = "p@ss/w0rd"  # noqa: S105  a dummy, with what a URL must escape
_QUOTED = "p%40ss%2Fw0rd"


def programs() -> Path | None:
    """The folder with PostgreSQL's programs, the newest of Debian's or that on PATH; None if there is none."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    found = installed[-1] if installed else shutil.which("postgres")
    return None if found is None else Path(found).resolve().parent


class PostgresServer:
    """A real server; starts at construction. As root it runs as the user `postgres`, since it refuses to be root.

    Unless `durable`, commits don't wait for the disk: a test that kills bridges, not machines, needs no more.
    """

    def __init__(self, bin_folder: Path, *, durable: bool = False) -> None:
        self._bin = bin_folder
        self._durable = durable
        self._place = Path(tempfile.mkdtemp(prefix="cloudpulse-postgresql-"))
        self._user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self.port = free_port()
        self._databases = 0
        (self._place / "password").write_text(PASSWORD, encoding="utf-8")
        if os.geteuid() == 0:
            for path in (self._place, self._place / "password"):
                shutil.chown(path, "postgres")
        self._run("initdb", "-D", f"{self._place}/data", "-U", "cloudpulse", "-A", "scram-sha-256",
                  f"--pwfile={self._place}/password", "-E", "UTF8", "--locale=C", "--no-sync")  # fmt: skip
        self.start()

    def start(self) -> None:
        """Start it (again) and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "on" if self._durable else "off",
        }
        told = " ".join(f"-c {name}={value or repr('')}" for name, value in settings.items())
        self._run("pg_ctl", "-D", f"{self._place}/data", "-l", f"{self._place}/log", "-o", told, "-w", "start")

    def stop(self) -> None:
        """As if it were killed: connections break, and the next start recovers."""
        self._run("pg_ctl", "-D", f"{self._place}/data", "-m", "immediate", "-w", "stop")

    def remove(self) -> None:
        """Stop it and delete its folder."""
        self.stop()
        shutil.rmtree(self._place)

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        self._databases += 1
        name = f"bridge{self._databases}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def url(self, name: str) -> str:
        """Of a database."""
        return f"postgresql://cloudpulse:{_QUOTED}@127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *arguments: str) -> None:
        before = ["runuser", "-u", self._user, "--"] if os.geteuid() == 0 else []
        subprocess.run(  # noqa: S603  PostgreSQL's own programs
            [*before, str(self._bin / program), *arguments],
            cwd=self._place,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=60,
        )
