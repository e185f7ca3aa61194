"""PagerDuty, e-mail and apprise in the real bridge, from Alertmanager's post to people and back to calm."""

import urllib.request

from alert_bridge.testing import eventually, webhook_body
from tests.alert_bridge.post_office import authority

LINES = """\
  receivers:
  - name: pager
    type: pagerduty
    routing_key: secret-routing-key
    url: {url}/v2/enqueue
  - name: mail
    type: email
    host: 127.0.0.1
    port: {port}
    username: user
    password: secret-password
    tls_config: {{ca_file: {authority}}}
    from: CloudPulse <bridge@example.org>
    to: [ann@example.org, bob@example.org]
  - name: others
    type: apprise
    urls:
    - json://user:secret-of-a@{host}/a/secret-path
    - json://user:secret-of-b@{host}/b/secret-path
  retry_first: 100ms
"""


def test_people_hear_of_it_and_of_its_end_once_each_and_no_secret_is_shown(
    post_office, receiver, start_bridge, tmp_path
):
    """A service that is away for a moment is told later, and those beside it are not told twice."""
    office = post_office("starttls", (b"user", b"secret-password"))
    office.answers["bob@example.org"] = "451 4.3.0 try later"
    app, url = receiver
    down = {"/b/secret-path"}
    app.answer = lambda post: (503 if post["path"] in down else 202, {})
    authority().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    host = url.removeprefix("http://")
    lines = LINES.format(url=url, host=host, port=office.port, authority=tmp_path / "ca.pem")
    bridge = start_bridge(lines)
    tell(bridge, ("a", "firing"))
    tell(bridge, ("a", "resolved"))

    def tried(path):
        return [post["body"] for post in app.posts if post["path"] == path]

    # A kill between a send and its record may repeat the send; this is about what is recorded.
    recorded = ("refused bob@example.org (451 4.3.0); 1 of 2 have it", "1 of 2 services have it")
    eventually(lambda: all(text in page(bridge, "/api/v1/notifications") for text in recorded), 50)
    eventually(lambda: page(bridge, "/api/v1/notifications").count('"delivered"') == 2, 50)  # the pager's
    log = bridge.log
    bridge.kill()
    down.clear(), office.answers.clear()
    bridge.start()
    eventually(lambda: page(bridge, "/api/v1/notifications").count('"delivered"') == 6, 50)

    assert [event["event_action"] for event in tried("/v2/enqueue")] == ["trigger", "resolve"]
    assert len({event["dedup_key"] for event in tried("/v2/enqueue")}) == 1
    assert [post["body"]["type"] for post in app.taken if post["path"] == "/a/secret-path"] == ["failure", "success"]
    assert [post["body"]["type"] for post in app.taken if post["path"] == "/b/secret-path"] == ["failure", "success"]
    everyone = ["ann@example.org", "bob@example.org"]
    assert [to for to, _ in office.mails] == [["ann@example.org"], ["bob@example.org"], everyone]
    (_, first), (_, same), (_, last) = office.mails
    assert first["Message-ID"] == same["Message-ID"] == last["In-Reply-To"]

    pages = [page(bridge, path) for path in ("/", "/metrics", "/health", "/api/v1/notifications", "/api/v1/alerts")]
    assert [shown for shown in [*pages, log, bridge.log] if "secret-" in shown] == []


def page(bridge, path):
    with urllib.request.urlopen(bridge.url + path) as answer:
        return answer.read().decode()


def tell(bridge, alert):
    request = urllib.request.Request(bridge.url + "/api/v1/alerts", webhook_body(alert))
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
