from __future__ import annotations

import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import requests

PROGRAM = """
import threading
from cloudpulse import logs, options

logs.configure("info")  # to stderr
told = threading.Event()

def app(environ, start_response):
    print("asked", flush=True)
    start_response("200 OK" if told.wait(6) else "500 Not Told", [])
    return [b""]

server = options.serve(app, options.WebOptions("127.0.0.1:0", None, False))
print(server.url, flush=True)
options.run(server, "test", stopping=told.set)
"""


def test_a_stop_begins_the_services_own_beside_the_requests_under_way() -> None:
    """One after the other they would take longer than the 10 s that a stop has."""
    with (
        subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process,
        ThreadPoolExecutor() as threads,
    ):
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            answer = threads.submit(requests.get, url, timeout=20)
            assert process.stdout.readline() == "asked\n"
            process.send_signal(signal.SIGTERM)
            assert answer.result().status_code == 200
            assert process.wait(20) == 0
        finally:
            process.kill()
