import contextlib
import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.worker.kit import FakeLink

from headway.worker.worker import Worker, WorkerOptions


class WorkerThread:
    """A worker that runs in a thread, and the server it talks to."""

    def __init__(self, app, link, spec, options):
        self.link = link
        self.left = queue.SimpleQueue()
        self.said = []
        self.worker = Worker(app, link, options, spec=spec, say=self.said.append, abandon=self.left.put)
        self.code = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        self.code = self.worker.run()

    def end(self):
        self.worker.drain()
        return self.join()

    def join(self):
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.code


@pytest.fixture
def start():
    """Start workers; they are drained at the end, at once."""
    started = []

    def begin(app, link=None, *, spec="tests.worker.rough:app", **options):
        options = {"capacity": 10, "drain_grace_ms": 10_000, **options}
        started.append(WorkerThread(app, link or FakeLink(), spec, WorkerOptions(**options)))
        return started[-1]

    yield begin
    for works in started:
        if works.code is None:
            works.worker.drain(at_once=True)
            works.join()


WORKER = {
    "id": "w1", "name": "", "host": "", "pid": 0, "version": "", "queues": [], "tasks": [], "capacity": 1, "state": "active",
    "leases": 0, "created_at": "", "heard_at": "", "lease_ms": 15000, "heartbeat_ms": 50, "url": "",
}  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.server.over.wait(20)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.put((self.path, body))
        answer = {"leases": []}
        if self.path == "/v1/workers":
            answer = WORKER
        elif self.path == "/v1/leases:report":
            answer = {"rejected": [], "replies": [], "lost": [], "stop": []}
        elif self.path == "/v1/leases:claim":
            with contextlib.suppress(queue.Empty):
                answer = {"leases": self.server.leases.get(timeout=20)}
        elif self.path == "/v1/workers/w1:drain":
            self.server.leases.put([])
            answer = WORKER
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.requests, server.leases, server.over = queue.SimpleQueue(), queue.SimpleQueue(), threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.over.set()
    server.leases.put([])
    server.shutdown()
    server.server_close()
