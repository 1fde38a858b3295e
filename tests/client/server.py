"""A loopback HTTP server in a thread that answers from a script: the outer port of the client, faked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


@dataclass
class Answer:
    """`chunks` make a chunked answer; a chunk of None breaks the connection there; `gate` is waited for before them."""

    status: int = 200
    body: bytes | dict | list = b""
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Iterator[bytes | None] | list | None = None
    close: bool = False
    drop: bool = False
    """Break the connection without a byte of an answer."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        self.server.fake.connections += 1
        super().setup()

    def log_message(self, *_):
        pass

    def _any(self):
        length = int(self.headers.get("content-length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.rfile.read(length))
        self.server.fake.requests.append(request)
        self._send(self.server.fake.handle(request))

    do_GET = do_POST = do_PATCH = do_DELETE = _any  # noqa: N815

    def _send(self, answer):
        self.close_connection = self.close_connection or answer.close or answer.drop
        if answer.drop:
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.close:
            self.send_header("Connection", "close")
        if answer.chunks is not None:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self._send_chunks(answer.chunks)
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        if answer.status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_chunks(self, chunks):
        try:
            for chunk in chunks:
                if chunk is None:
                    self.close_connection = True
                    return
                if chunk:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                    self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        pass


class Fake:
    """Answers with `handle(request)`, and remembers what was asked."""

    def __init__(self, handle: Callable[[Request], Answer]):
        self.handle = handle
        self.requests: list[Request] = []
        self.connections = 0
        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.fake = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def serving(handle: Callable[[Request], Answer]) -> Iterator[Fake]:
    fake = Fake(handle)
    try:
        yield fake
    finally:
        fake.close()


def script(*answers: Answer) -> Callable[[Request], Answer]:
    """One answer after the other; the last one stays."""
    rest = list(answers)
    return lambda _: rest.pop(0) if len(rest) > 1 else rest[0]


def stream(*chunks: bytes | None) -> Answer:
    return Answer(headers={"Content-Type": "text/event-stream; charset=utf-8"}, chunks=list(chunks))


def problem(status: int, code: str, detail: str = "", **members) -> Answer:
    headers = {"Content-Type": "application/problem+json"}
    if "retry_after" in members:
        headers["Retry-After"] = str(members.pop("retry_after"))
    close = members.pop("close", False)
    return Answer(status, {"status": status, "code": code, "detail": detail, **members}, headers, close=close)
