"""One kept-alive HTTP/1.1 connection of the blocking transport: requests in one write, answers read by httptools.

`http.client` reads headers as those of a mail, which costs more than all the rest of an exchange.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
from collections.abc import Mapping
from typing import Final, Self

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

HEAD_MAX_BYTES: Final = 262_144
"""Maximum size of the head of an answer, with all interim (1xx) answers before it."""
RECEIVE_BYTES: Final = 65_536
_NO_PATH: Final = re.compile(r"[^\x21-\x7e]")
_WITH_BODY: Final = frozenset({"PATCH", "POST", "PUT"})


class BadAnswer(Exception):
    """An answer that is not HTTP/1, or is too long in its head."""


class Answer:
    """An answer to one request as far as it was read; also the protocol of its parser."""

    def __init__(self) -> None:
        self.status = 0
        """Status, or 0 before the head is complete."""
        self.headers: dict[str, str] = {}
        """Headers by name in lower case; of several with one name the last."""
        self.began = False
        """Whether at least one byte has come."""
        self.complete = False
        self.reusable = False
        """Whether the connection can take another request after this answer."""
        self._body: list[bytes] = []
        self._head_bytes = 0
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    def feed(self, chunk: bytes) -> None:
        """Read on; an empty chunk is the end of the connection. Raise BadAnswer or ConnectionResetError."""
        if not chunk:
            self._end()
            return
        assert self._parser is not None
        self.began = True
        try:
            self._parser.feed_data(chunk)
        except HttpParserUpgrade:
            self.complete, self.reusable = True, False  # 101, which was not asked for
        except HttpParserError as error:
            if not self.complete:
                raise BadAnswer(str(error)) from error
            self.reusable = False  # there was more than the answer
        if self.complete:
            self._parser = None  # it refers to this answer, which is to be freed without the garbage collector
        elif not self.status:
            self._head_bytes += len(chunk)
            if self._head_bytes > HEAD_MAX_BYTES:
                raise BadAnswer(f"its head has more than {HEAD_MAX_BYTES} bytes")

    def take(self) -> bytes:
        """Return the part of the body that has come since the last call."""
        body, self._body = self._body, []
        return body[0] if len(body) == 1 else b"".join(body)

    def _end(self) -> None:
        if not self.status or "content-length" in self.headers or "transfer-encoding" in self.headers:
            raise ConnectionResetError
        self.complete = True  # its end is that of the connection

    def on_message_begin(self) -> None:
        if self.complete:  # more than was asked for: stops the parser
            raise BadAnswer

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:  # otherwise it is a trailer
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1").strip()

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        if not self._parser.get_http_version().startswith("1."):
            raise BadAnswer
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:  # noqa: PLR2004
            self.headers = {}
            return
        self.status, self.reusable = status, self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.complete = self.status != 0


class Connection:
    """An open socket to a server, with the requests and answers on it one after the other."""

    def __init__(self, open_socket: socket.socket) -> None:
        self.socket = open_socket

    @classmethod
    def open(cls, host: str, port: int, timeout_s: float) -> Self:
        """Connect; raise OSError if that fails."""
        open_socket = socket.create_connection((host, port), timeout_s)
        open_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(open_socket)

    @property
    def quiet(self) -> bool:
        """Whether the connection is idle as it should be: open, and with nothing to read."""
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return False
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return not poll.poll(0)

    def receive(self, answer: Answer) -> None:
        """Wait for more of the answer; raise OSError or BadAnswer."""
        answer.feed(self.socket.recv(RECEIVE_BYTES))

    def close(self) -> None:
        self.socket.close()


def request_bytes(method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """Return a request; raise ValueError for a path or a header that would not be read as one."""
    if _NO_PATH.search(path):
        raise ValueError(f"{path[:200]!r} cannot be the path of a request")
    lines = [f"{method} {path} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()]]
    if body is not None or method in _WITH_BODY:
        lines.append(f"Content-Length: {len(body or b'')}")
    head = "\r\n".join(lines)
    if not head.count("\n") == head.count("\r") == len(lines) - 1:
        raise ValueError("a header has a line break in its name or value")
    return b"%b\r\n\r\n%b" % (head.encode("latin-1"), body or b"")


def host_header(host: str, port: int, usual: int) -> str:
    """Return the value of Host: a name in ASCII, an IPv6 address in brackets, the port unless it is the usual one."""
    name = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
    return name if port == usual else f"{name}:{port}"
