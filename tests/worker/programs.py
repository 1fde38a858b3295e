"""Worker programs as child processes, and a server for them."""

import os
import sys


def argv(server, *options):
    url = f"http://127.0.0.1:{server.server_address[1]}"
    return [sys.executable, "-m", "headway.worker", url, "tests.worker.rough:app", *options]


def request(server, path, accept=lambda body: True):
    while True:
        found, body = server.requests.get(timeout=20)
        if found == path and accept(body):
            return body


def environment():
    return {**os.environ, "PYTHONPATH": "src"}
