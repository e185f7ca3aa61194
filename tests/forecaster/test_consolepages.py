"""The console's files: what is sent, how large it is, and what a browser may do with it."""

from __future__ import annotations

import gzip
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from forecaster.consolepages import FILES, FOLDER, console

UPLOT = {
    # sha256 of the files of the npm package uplot 1.6.32.
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uPlot.LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}
PATHS = ["/console", *(f"/console/{name}" for name in FILES)]


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    app = Flask("console")
    app.register_blueprint(console())
    return app.test_client()


@pytest.mark.parametrize("path", PATHS)
def test_every_file_is_sent_with_what_keeps_strangers_out(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-cache"


def test_a_browser_that_has_a_file_is_not_sent_it_again_and_one_that_unpacks_gets_it_packed(
    client: FlaskClient,
) -> None:
    plain = client.get("/console/console.css")
    packed = client.get("/console/console.css", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.data) == plain.data
    assert packed.headers["Vary"] == "Accept-Encoding"
    assert packed.headers["ETag"] != plain.headers["ETag"]
    again = client.get("/console/console.css", headers={"If-None-Match": plain.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_all_that_the_page_loads_is_under_250_kb_unpacked(client: FlaskClient) -> None:
    assert sum(len(client.get(path).data) for path in PATHS) < 250_000


def test_nothing_of_a_request_becomes_a_path(client: FlaskClient) -> None:
    for name in ("../app.py", "vendor/../../app.py", "%2e%2e/app.py", "index.html", "vendor/uPlot.LICENSE", "vendor/"):
        assert client.get(f"/console/{name}").status_code == 404


def test_pages_are_read_and_nothing_else(client: FlaskClient) -> None:
    for path in ("/console", "/console/main.js"):
        assert client.head(path).status_code == 200
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert client.open(path, method=method).status_code == 405


def test_the_policy_lets_the_pages_own_files_in_and_nothing_else(client: FlaskClient) -> None:
    policy = dict(part.split(" ", 1) for part in client.get("/console").headers["Content-Security-Policy"].split("; "))
    own = dict.fromkeys(("script-src", "style-src", "connect-src", "img-src"), "'self'")
    none = dict.fromkeys(("default-src", "frame-ancestors", "base-uri", "form-action"), "'none'")
    assert policy == own | none


def test_a_slash_too_many_leads_back_below_any_prefix(client: FlaskClient) -> None:
    answer = client.get("/console/")
    assert (answer.status_code, answer.headers["Location"]) == (308, "../console")


def test_what_is_vendored_is_what_was_published() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (FOLDER / "vendor").iterdir()}
    assert found == UPLOT


def test_every_file_of_the_folder_is_sent_and_no_module_is_found_by_a_second_question(client: FlaskClient) -> None:
    """What `import` names is announced by the page, so that a browser fetches all of it at once."""
    here = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
    assert here - {"index.html", "vendor/uPlot.LICENSE"} == set(FILES)
    page = (FOLDER / "index.html").read_text()
    for name in FILES:
        assert f'"console/{name}"' in page, name


def test_no_text_becomes_markup_and_nothing_is_inline() -> None:
    page = (FOLDER / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    for path in FOLDER.glob("*.js"):
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(", path.read_text()
        )


def test_a_wheel_has_all_of_it(tmp_path: Path) -> None:
    root = FOLDER.parent.parent
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=root, check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"forecaster/console/{name}" for name in (*FILES, "index.html", "vendor/uPlot.LICENSE")} <= names
