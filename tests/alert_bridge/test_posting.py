"""The HTTP client that everything goes out by; what notifiers make of it is in test_notifiers.py."""

import email.parser
import email.policy
import socket
import ssl
import threading

import msgspec
import pytest
import trustme

from alert_bridge.connecting import refusal
from alert_bridge.notifier import DeliveryFailed
from alert_bridge.posting import HttpClient, place, usable
from cloudpulse.config import BasicAuth, ClientTls, Secret
from cloudpulse.testing import serving


class Echo:
    """A WSGI app that keeps requests and answers with `status` and `body`."""

    def __init__(self):
        self.requests = []
        self.status = "200 OK"
        self.body = b'{"id": 5}'

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        self.requests.append({**environ, "body": body})
        start_response(self.status, [("Content-Length", str(len(self.body)))])
        return [self.body]


@pytest.fixture
def echo(front):
    services, url = front
    made = Echo()
    services.append(made)
    made.url = url
    return made


class Created(msgspec.Struct):
    id: int


def test_it_serves_apis_with_json_and_paths_under_the_url(echo):
    client = HttpClient(f"{echo.url}/api/", basic_auth=BasicAuth(username="u", password=Secret("p")))
    assert client.ask(Created, "PATCH", "/annotations/5", json={"text": "ü"}) == Created(5)
    client.call("GET", "silences", query=[("filter", 'a="b"'), ("filter", "c=d")])
    client.call("DELETE", "silence/1", json=None)
    patch, get, delete = echo.requests
    assert (patch["REQUEST_METHOD"], patch["PATH_INFO"], patch["CONTENT_TYPE"]) == (
        "PATCH",
        "/api/annotations/5",
        "application/json",
    )
    assert patch["body"] == '{"text":"ü"}'.encode()
    assert patch["HTTP_AUTHORIZATION"] == "Basic dTpw"
    assert (get["PATH_INFO"], get["QUERY_STRING"], get["body"]) == (
        "/api/silences",
        "filter=a%3D%22b%22&filter=c%3Dd",
        b"",
    )
    assert (delete["REQUEST_METHOD"], delete["PATH_INFO"]) == ("DELETE", "/api/silence/1")


def test_it_uploads_files(echo):
    HttpClient(echo.url).call("POST", files={"file": ("a.png", b"\x89PNG", "image/png")})
    sent = echo.requests[0]
    head = f"Content-Type: {sent['CONTENT_TYPE']}\r\n\r\n".encode()
    (part,) = email.parser.BytesParser(policy=email.policy.default).parsebytes(head + sent["body"]).iter_parts()
    assert (part.get_filename(), part.get_content_type(), part.get_content()) == ("a.png", "image/png", b"\x89PNG")


def test_an_answer_is_read_only_where_asked_for_and_only_so_far(echo):
    echo.body = b"x" * 100_000
    client = HttpClient(echo.url)
    assert client.call("GET").body == b""
    assert len(client.call("GET", keep=100_000).body) == 100_000
    with pytest.raises(DeliveryFailed, match="answered with more than 99999 bytes"):
        client.call("GET", keep=99_999)


@pytest.mark.parametrize("body", [b"", b"<html>you sent TOKEN", b'{"id": "TOKEN"}', b"\xff"])
def test_an_answer_of_another_kind_is_a_failure_that_does_not_show_it(body, echo):
    echo.body = body
    with pytest.raises(DeliveryFailed, match="something else than the JSON") as caught:
        HttpClient(echo.url).ask(Created, "GET")
    assert caught.value.retryable
    assert "TOKEN" not in f"{caught.value!r} {caught.value.__cause__!r}"


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("169.254.169.254", "a cloud metadata address"),
        ("169.254.0.7", "a link-local address"),
        ("fe80::1%eth0", "a link-local address"),
        ("fd00:ec2::254", "a cloud metadata address"),
        ("100.100.100.200", "a cloud metadata address"),
        ("168.63.129.16", "a cloud metadata address"),
        ("::ffff:169.254.169.254", "a cloud metadata address"),
        ("64:ff9b::a9fe:a9fe", "a cloud metadata address"),
        ("2002:a9fe:a9fe::1", "a cloud metadata address"),
        ("::169.254.169.254", "a cloud metadata address"),
        ("0.0.0.0", "an unspecified address"),
        ("::", "an unspecified address"),
        ("::ffff:0.0.0.0", "an unspecified address"),
        ("224.0.0.1", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("255.255.255.255", "the broadcast address"),
        ("127.0.0.1", ""),
        ("::1", ""),
        ("10.0.0.1", ""),
        ("192.168.1.1", ""),
        ("fd00::1", ""),
        ("100.64.0.1", ""),
        ("8.8.8.8", ""),
        ("2606:4700::1", ""),
        ("::ffff:127.0.0.1", ""),
    ],
)
def test_addresses_that_nobody_means_are_refused(address, kind):
    assert refusal(address) == kind


def test_every_way_to_write_an_address_is_seen_through():
    """The system's resolver reads 0xA9FEA9FE, 2852039166 and 169.16689662 as 169.254.169.254."""
    for host in ("0xA9FEA9FE", "2852039166", "169.16689662", "0251.0376.0251.0376", "[::ffff:a9fe:a9fe]"):
        with pytest.raises(DeliveryFailed, match="is a cloud metadata address: refused"):
            HttpClient(f"http://{host}/", timeout=0.5).call("GET")


def test_a_name_that_turns_to_another_address_later_gains_nothing(echo, monkeypatch):
    """DNS rebinding: what counts is the address that is connected to, each time."""
    port = int(echo.url.rpartition(":")[2])
    answers = ["127.0.0.1", "169.254.169.254"]

    def lookup(host, port, *_, **__):
        assert host == "hooks.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers.pop(0), port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    client = HttpClient(f"http://hooks.example:{port}/hook")
    client.call("POST", body=b"{}")
    with pytest.raises(DeliveryFailed, match=f"http://hooks.example:{port} is a cloud metadata address"):
        client.call("POST", body=b"{}")
    assert answers == []


def test_the_next_address_of_a_name_is_tried_when_one_does_not_answer(echo, monkeypatch):
    port = int(echo.url.rpartition(":")[2])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        pair = [("127.0.0.1", free.getsockname()[1]), ("127.0.0.1", port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in pair]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        assert HttpClient("http://hooks.example").call("GET").status == 200


def test_an_unknown_name_is_said_to_be_unknown(monkeypatch):
    def lookup(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(DeliveryFailed, match="not reached: Name or service not known") as caught:
        HttpClient("http://hooks.example/TOKEN").call("GET")
    assert caught.value.retryable
    assert "TOKEN" not in str(caught.value)


def test_proxies_and_netrc_of_the_environment_are_not_looked_at(echo, tmp_path, monkeypatch):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    HttpClient(echo.url).call("GET")
    assert "HTTP_AUTHORIZATION" not in echo.requests[0]


def test_a_certificate_is_verified_against_the_configured_authority(tmp_path):
    """The trickle of an accepted connection over TLS is cut off in time, too."""
    authority, other = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    for name, one in (("right", authority), ("wrong", other)):
        one.cert_pem.write_to_path(tmp_path / f"{name}.pem")
    with TlsServer(certificate) as server:
        right = HttpClient(server.url, tls=ClientTls(ca_file=tmp_path / "right.pem"), timeout=2)
        assert right.call("GET").status == 204
        with pytest.raises(DeliveryFailed, match="no TLS that tls_config would trust"):
            HttpClient(server.url, tls=ClientTls(ca_file=tmp_path / "wrong.pem"), timeout=2).call("GET")
        server.drip.set()
        with pytest.raises(DeliveryFailed, match="timed out"):
            HttpClient(server.url, tls=ClientTls(ca_file=tmp_path / "right.pem"), timeout=0.3).call("GET")


def test_a_certificate_is_not_verified_where_the_config_says_so():
    with TlsServer(trustme.CA().issue_cert("elsewhere.example")) as server:
        assert HttpClient(server.url, tls=ClientTls(insecure_skip_verify=True), timeout=2).call("GET").status == 204


def test_a_client_certificate_is_shown(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    ours = authority.issue_cert("bridge.example")
    ours.private_key_pem.write_to_path(tmp_path / "key.pem")
    ours.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    shown = ClientTls(ca_file=tmp_path / "ca.pem", cert_file=tmp_path / "cert.pem", key_file=tmp_path / "key.pem")
    with TlsServer(authority.issue_cert("127.0.0.1"), clients=authority) as server:
        assert HttpClient(server.url, tls=shown, timeout=2).call("GET").status == 204
        with pytest.raises(DeliveryFailed):
            HttpClient(server.url, tls=ClientTls(ca_file=tmp_path / "ca.pem"), timeout=2).call("GET")


class TlsServer:
    """Answers 204 over TLS, or a byte of it now and then once `drip` is set; asks `clients` for a certificate."""

    def __init__(self, certificate, clients=None):
        self.drip = threading.Event()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._context)
        if clients is not None:
            clients.configure_trust(self._context)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._stopping = threading.Event()
        self.url = f"https://127.0.0.1:{self._listening.getsockname()[1]}/TOKEN"

    def __enter__(self):
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)

    def _run(self):
        while not self._stopping.is_set():
            try:
                connection, _ = self._listening.accept()
                with self._context.wrap_socket(connection, server_side=True) as secure:
                    secure.recv(65536)
                    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
                    if not self.drip.is_set():
                        secure.sendall(answer)
                        continue
                    for byte in answer[:-2] + b"X: y\r\n" * 1000:
                        secure.sendall(bytes([byte]))
                        if self._stopping.wait(0.05):
                            return
            except OSError:
                continue


@pytest.mark.parametrize(
    "url", ["ftp://x/y", "http://:80/", "x", "", "http://[", "http://x:0/", "http://x:99999/", "http://u:p@x/"]
)
def test_what_is_no_url_is_not_usable(url):
    assert not usable(url)
    with pytest.raises(ValueError, match="expected a URL"):
        HttpClient(url)


def test_a_place_shows_neither_user_nor_path_nor_query():
    assert place("https://user:TOKEN@x.example:8443/TOKEN?TOKEN#TOKEN") == "https://x.example:8443"
    assert place("http://[::1]:80/TOKEN") == "http://[::1]:80"


def test_several_threads_can_call_at_the_same_time(front):
    arrived = threading.Barrier(4)

    def app(environ, start_response):
        arrived.wait(10)
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]

    with serving(app) as url:
        client = HttpClient(url, timeout=10)
        statuses = []
        threads = [threading.Thread(target=lambda: statuses.append(client.call("GET").status)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert statuses == [200] * 4
