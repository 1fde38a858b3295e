"""One connection of the blocking transport, against a raw socket: what answers it reads, what it refuses."""

import gc
import socket
import threading
import weakref
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.client.connection import HEAD_MAX_BYTES, Answer, BadAnswer, host_header, request_bytes
from headway.client.errors import ConnectionLost, UnexpectedAnswer
from headway.client.transport import Transport

PLAIN = b"HTTP/1.1 200 OK\r\nX-Thing: Yes\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nTrailer: t\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nX-Old: 1\r\n\r\n" + PLAIN
TO_THE_END = b"HTTP/1.1 200 OK\r\n\r\nhello"
OLD = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class RawServer:
    """A listening socket that answers each request with the next of some bytes; `last` closes a connection after so many."""

    def __init__(self, answers, *, last):
        self._answers, self._last = iter(answers), last
        self.requests, self.connections = [], 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                accepted, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            with accepted:
                self._converse(accepted)

    def _converse(self, accepted):
        taken = 0
        while request := accepted.recv(65_536):
            taken += 1
            self.requests.append(request)
            answer = next(self._answers, None)
            if answer is None:
                return
            try:
                accepted.sendall(answer)
            except OSError:
                return
            if taken == self._last:
                return

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)


@contextmanager
def raw(*answers, last=None):
    server = RawServer(answers, last=last)
    try:
        with Transport(server.url, timeout_s=10) as transport:
            yield server, transport
    finally:
        server.close()


def read(pieces, *, ends=False):
    answer = Answer()
    for piece in [*pieces, b""] if ends else pieces:
        answer.feed(piece)
    return answer


@pytest.mark.parametrize(
    ("sent", "ends", "reusable"),
    [
        (PLAIN, False, True),
        (CHUNKED, False, True),
        (INTERIM, False, True),
        (TO_THE_END, True, False),
        (OLD, False, False),
        (PLAIN.replace(b"X-Thing: Yes", b"Connection: close"), False, False),
    ],
    ids=["length", "chunked", "interim", "to the end", "HTTP/1.0", "close"],
)
def test_an_answer_is_the_same_wherever_it_is_split(sent, ends, reusable):
    whole = read([sent], ends=ends)
    assert (whole.status, whole.take(), whole.complete, whole.reusable) == (200, b"hello", True, reusable)
    assert whole.headers.keys().isdisjoint({"x-old", "trailer"})
    for at in range(1, len(sent)):
        split = read([sent[:at], sent[at:]], ends=ends)
        assert (split.status, split.headers, split.take()) == (200, whole.headers, b"hello"), at
        assert (split.complete, split.reusable) == (True, reusable), at
    single = read([sent[at : at + 1] for at in range(len(sent))], ends=ends)
    assert (single.headers, single.take(), single.complete) == (whole.headers, b"hello", True)


@pytest.mark.parametrize("sent", [PLAIN, CHUNKED, INTERIM], ids=["length", "chunked", "interim"])
def test_an_answer_that_ends_early_is_lost_wherever_it_ends(sent):
    for at in range(len(sent)):
        with pytest.raises(ConnectionResetError):
            read([sent[:at]] if at else [], ends=True)


def test_header_names_have_any_case_and_values_no_space_around_them():
    answer = read([b"HTTP/1.1 200\r\ncOnTeNt-LeNgTh:2\r\nX-A:  \t b c \t\r\nX-Empty:\r\nX-A2: \xe9\r\n\r\nhi"])
    assert answer.headers == {"content-length": "2", "x-a": "b c", "x-empty": "", "x-a2": "é"}
    assert answer.take() == b"hi"


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_needs_no_length(status):
    answer = read([b"HTTP/1.1 %d X\r\n\r\n" % status])
    assert (answer.status, answer.complete, answer.reusable, answer.take()) == (status, True, True, b"")


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x16",  # an alert of TLS
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhexx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nX A: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\x00c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A" + b"a" * (HEAD_MAX_BYTES + 1),
        b"HTTP/1.1 100 Continue\r\n\r\n" * (HEAD_MAX_BYTES // 20),
    ],
    ids=lambda sent: repr(sent[:60]),
)
def test_what_is_no_answer_is_a_lost_connection(sent):
    """The next request has a connection of its own."""
    with raw(sent, PLAIN, last=1) as (server, transport):
        with pytest.raises(ConnectionLost, match="broke before the answer was complete"):
            transport.request("GET", "/")
        assert (transport.request("GET", "/").body, server.connections) == (b"hello", 2)


def test_a_head_without_end_is_refused_before_it_fills_the_memory():
    line = b"X-A: " + b"a" * 9_993 + b"\r\n"
    answer = read([b"HTTP/1.1 200 OK\r\n", *[line] * (HEAD_MAX_BYTES // len(line) - 1)])
    answer.feed(line)
    with pytest.raises(BadAnswer, match="head"):
        answer.feed(line)


@pytest.mark.parametrize("more", [PLAIN, b"?", b"\x00"])
def test_what_comes_after_an_answer_is_not_taken_for_the_next(more):
    with raw(PLAIN + more, PLAIN.replace(b"hello", b"other")) as (server, transport):
        assert transport.request("GET", "/").body == b"hello"
        transport.request("GET", "/")
        assert (len(server.requests), server.connections) == (2, 2)
    for at in range(1, len(PLAIN)):
        answer = read([PLAIN[:at], PLAIN[at:] + more])
        assert (answer.take(), answer.reusable) == (b"hello", False), at


def test_a_reused_connection_that_broke_within_an_answer_is_not_tried_again():
    with raw(PLAIN, b"H", PLAIN, last=2) as (server, transport):
        transport.request("GET", "/")
        with pytest.raises(ConnectionLost):
            transport.request("POST", "/", b"{}")
        assert len(server.requests) == 2


def test_an_upgrade_that_was_not_asked_for_is_unexpected_and_ends_the_connection():
    upgrade = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nzzz"
    with raw(upgrade, PLAIN) as (server, transport):
        with pytest.raises(UnexpectedAnswer):
            transport.call("GET", "/")
        assert (transport.call("GET", "/"), server.connections) == (b"hello", 2)


def test_a_redirect_is_not_followed():
    moved = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    with raw(moved, PLAIN) as (server, transport):
        assert transport.request("POST", "/", b"{}").headers["location"] == "/elsewhere"
        assert len(server.requests) == 1


def test_a_stream_may_be_chunked_or_last_as_long_as_its_connection():
    head = b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\n4\r\n x\n\n\r\n0\r\n\r\n"
    for sent in (chunked, head + b"\r\ndata: x\n\n"):
        with raw(sent, last=1) as (_, transport), transport.stream("/") as stream:
            assert [event.data for event in stream] == ["x"]


def test_a_stream_that_ends_within_its_chunks_is_a_lost_connection():
    sent = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n"
    )
    with raw(sent, last=1) as (_, transport), transport.stream("/") as stream:
        assert next(stream).data == "x"
        with pytest.raises(ConnectionLost):
            next(stream)


def test_a_request_is_sent_as_http_says():
    with raw(PLAIN) as (server, transport):
        transport.request("POST", "/v1/runs", b"{}", headers={"Idempotency-Key": "é"})
    host = server.url.removeprefix("http://").encode()
    assert server.requests == [
        b"POST /v1/runs HTTP/1.1\r\nHost: " + host + b"\r\nAccept-Encoding: identity\r\nAccept: application/json\r\n"
        b"User-Agent: headway-python\r\nIdempotency-Key: \xe9\r\nContent-Type: application/json\r\n"
        b"Content-Length: 2\r\n\r\n{}"
    ]


def test_a_request_without_a_body_says_so_only_where_one_is_usual():
    assert request_bytes("GET", "/", {"A": "b"}, None) == b"GET / HTTP/1.1\r\nA: b\r\n\r\n"
    assert request_bytes("POST", "/", {"A": "b"}, None) == b"POST / HTTP/1.1\r\nA: b\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("host", "port", "header"),
    [
        ("127.0.0.1", 80, "127.0.0.1"),
        ("::1", 8006, "[::1]:8006"),
        ("bücher.example", 80, "xn--bcher-kva.example"),
    ],
)
def test_the_host_is_named_as_http_says(host, port, header):
    assert host_header(host, port, 80) == header


@pytest.mark.parametrize("text", ["a b", "a\r\nX-B: c", "a\nX-B: c", "a\rb", "a\r\n\r\nGET / HTTP/1.1"])
def test_a_path_or_a_header_with_a_break_in_it_is_not_sent(text):
    with pytest.raises(ValueError, match="path"):
        request_bytes("GET", f"/{text}", {}, None)
    for headers in [] if text == "a b" else [{"X-A": text}, {text: "a"}]:
        with pytest.raises(ValueError, match="line break"):
            request_bytes("GET", "/", headers, None)


@given(st.text(), st.text(), st.text(), st.binary(max_size=20))
def test_no_path_and_no_header_can_say_more_than_itself(path, name, value, body):
    try:
        sent = request_bytes("POST", f"/{path}", {name: value}, body)
    except ValueError:
        return
    head, _, rest = sent.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    assert (len(first.split()), len(lines), rest) == (3, 2, body)
    assert b"\n" not in b"".join([first, *lines])
    assert b"\r" not in b"".join([first, *lines])


@given(st.binary(max_size=200), st.data())
def test_bytes_of_any_kind_are_an_answer_or_an_error_of_the_connection(noise, data):
    begin = data.draw(st.sampled_from([PLAIN, CHUNKED, INTERIM, TO_THE_END]))
    at = data.draw(st.integers(0, len(begin)))
    sent = begin[:at] + noise + begin[at:]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=5)))
    pieces = [piece for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True) if (piece := sent[a:b])]
    answer = Answer()
    try:
        for piece in pieces:
            if answer.complete:
                break
            answer.feed(piece)
        if not answer.complete:
            answer.feed(b"")
    except (BadAnswer, ConnectionResetError):
        return
    assert answer.complete
    assert 100 < answer.status < 1000


def test_a_complete_answer_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        answer = read([PLAIN])
        gone = weakref.ref(answer)
        del answer
        assert gone() is None
    finally:
        gc.enable()
