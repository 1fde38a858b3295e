"""The blocking transport: connections, errors, streams."""

import socket
import subprocess
import sys
import threading

import psutil
import pytest
from tests.client.server import Answer, problem, script, serving, stream

from headway import errors
from headway.client.errors import ConnectionLost, UnexpectedAnswer
from headway.client.transport import Address, Transport


@pytest.fixture
def transport_to():
    made = []

    def make(fake, **options):
        made.append(Transport(fake.url, **options))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_an_answer_comes_back_whole_with_lower_case_headers(transport_to):
    with serving(lambda _: Answer(201, {"a": 1}, {"X-Thing": "Yes"})) as fake:
        response = transport_to(fake, key="t0").request("POST", "/v1/runs", b"{}", headers={"Idempotency-Key": "k"})
    assert (response.status, response.body, response.headers["x-thing"]) == (201, b'{"a": 1}', "Yes")
    asked = fake.requests[0]
    assert (asked.method, asked.path, asked.body, asked.headers["idempotency-key"]) == ("POST", "/v1/runs", b"{}", "k")
    assert (asked.headers["authorization"], asked.headers["content-type"]) == ("Bearer t0", "application/json")


def test_one_connection_serves_many_requests(transport_to):
    with serving(lambda _: Answer()) as fake:
        transport = transport_to(fake)
        for _ in range(5):
            transport.request("GET", "/")
        assert (fake.connections, len(fake.requests)) == (1, 5)


def test_a_pooled_connection_that_died_is_replaced(transport_to):
    with serving(script(Answer(body=b"one"), Answer(drop=True), Answer(body=b"three"))) as fake:
        transport = transport_to(fake)
        assert transport.request("GET", "/").body == b"one"
        assert transport.request("POST", "/", b"{}").body == b"three"
        assert len(fake.requests) == 3


def test_a_fresh_connection_that_breaks_is_not_tried_again(transport_to):
    with serving(lambda _: Answer(drop=True)) as fake:
        with pytest.raises(ConnectionLost, match="broke before"):
            transport_to(fake).request("POST", "/", b"{}")
        assert len(fake.requests) == 1


def test_an_answer_that_breaks_off_is_a_lost_connection(transport_to):
    with serving(lambda _: Answer(chunks=[b"half", None])) as fake:
        with pytest.raises(ConnectionLost):
            transport_to(fake).request("GET", "/")
        assert len(fake.requests) == 1


def _streams(transport):
    with transport.stream("/") as stream:
        next(stream)


@pytest.mark.parametrize("ask", [lambda transport: transport.request("GET", "/"), _streams], ids=["request", "stream"])
def test_no_connection_outlives_an_answer_that_was_to_be_the_last_and_does_not_come(transport_to, ask):
    """With `Connection: close` the socket is the answer's own, which nobody else closes."""
    over = threading.Event()

    def half():
        yield b"half"
        over.wait(20)

    headers = {"Connection": "close", "Content-Type": "text/event-stream"}
    with serving(lambda _: Answer(chunks=half(), headers=headers)) as fake:
        transport = transport_to(fake, timeout_s=0.2)
        with pytest.raises(ConnectionLost) as caught:
            ask(transport)
        port = transport.address.port
        left = [one for one in psutil.Process().net_connections() if one.raddr and one.raddr.port == port]
        over.set()
    assert caught.value.code == "connection_lost"  # and its traceback holds all that was in hand
    assert left == []


def test_no_server_is_a_lost_connection_that_says_what_to_do():
    transport = Transport(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ConnectionLost, match=r"cannot reach http://127.*is `headway serve` running") as caught:
        transport.request("GET", "/")
    assert caught.value.code == "connection_lost"
    assert "HEADWAY_URL" in (caught.value.hint or "")


def test_silence_is_a_lost_connection(transport_to):
    release = threading.Event()

    def handle(_):
        release.wait(10)
        return Answer()

    with serving(handle) as fake:
        with pytest.raises(ConnectionLost, match=r"did not answer within 0\.05 s"):
            transport_to(fake).request("GET", "/", timeout_s=0.05)
        release.set()


def test_closing_wakes_a_thread_that_waits_for_an_answer(transport_to):
    asked, release = threading.Event(), threading.Event()

    def handle(_):
        asked.set()
        release.wait(10)
        return Answer(drop=True)

    with serving(handle) as fake:
        transport = transport_to(fake)
        closer = threading.Thread(target=lambda: asked.wait(10) and transport.close())
        closer.start()
        with pytest.raises(ConnectionLost, match="was closed"):
            transport.request("GET", "/")
        closer.join()
        release.set()
        with pytest.raises(ConnectionLost, match="was closed"):
            transport.request("GET", "/")


def test_threads_do_not_mix_up_their_answers(transport_to):
    with serving(lambda request: Answer(body=request.path.encode())) as fake:
        transport = transport_to(fake)
        wrong = []

        def ask(who):
            for turn in range(20):
                path = f"/{who}/{turn}"
                if transport.request("GET", path).body != path.encode():
                    wrong.append(path)

        threads = [threading.Thread(target=ask, args=(who,)) for who in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert fake.connections <= 4


def test_a_problem_is_raised_as_the_class_of_its_code(transport_to):
    answer = problem(
        409,
        "invalid_state",
        "it is running",
        state="running",
        request_id="req_1",
        hint="wait",
        errors=[{"pointer": "/x"}],
    )
    with serving(lambda _: answer) as fake, pytest.raises(errors.InvalidState, match="it is running") as caught:
        transport_to(fake).call("POST", "/v1/runs/1:retry")
    assert caught.value.fields == {"state": "running", "request_id": "req_1"}
    assert (caught.value.status, caught.value.hint, caught.value.errors) == (409, "wait", [{"pointer": "/x"}])


def test_retry_after_is_on_the_error(transport_to):
    with (
        serving(lambda _: problem(503, "storage_full", retry_after=7)) as fake,
        pytest.raises(errors.StorageFull) as caught,
    ):
        transport_to(fake).call("POST", "/v1/runs", b"{}")
    assert caught.value.retry_after_s == 7
    assert errors.StorageFull.retry_after_s == 5


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, errors.NotFound),
        (409, errors.Conflict),
        (503, errors.Unavailable),
        (418, errors.BadRequest),
        (500, errors.HeadwayError),
        (302, UnexpectedAnswer),
    ],
)
def test_a_code_from_the_future_is_raised_as_the_class_of_its_status(transport_to, status, kind):
    with (
        serving(lambda _: problem(status, "from_the_future", "hm")) as fake,
        pytest.raises(errors.HeadwayError, match="hm") as caught,
    ):
        transport_to(fake).call("GET", "/")
    assert (kind, "from_the_future", status) == (type(caught.value), caught.value.code, caught.value.status)


def test_an_error_that_is_no_document_is_still_an_error(transport_to):
    with serving(lambda _: Answer(502, b"<html>bad gateway")) as fake, pytest.raises(errors.Unavailable, match="502"):
        transport_to(fake).call("GET", "/")


def test_a_stream_hands_out_events_and_skips_comments(transport_to):
    chunks = stream(b"retry: 2000\n\nid: 1\nevent: run.", b"state\ndata: {}\n\n: keepalive\n\n", b"data: x\n\n")
    with serving(lambda _: chunks) as fake, transport_to(fake).stream("/e", headers={"Last-Event-ID": "0"}) as opened:
        assert [tuple(event) for event in opened] == [("run.state", "{}", "1", None), ("message", "x", None, None)]
        assert (opened.status, opened.parser.last_event_id, opened.parser.retry_ms) == (200, "1", 2000)
    assert (fake.requests[0].headers["accept"], fake.requests[0].headers["last-event-id"]) == ("text/event-stream", "0")


def test_a_stream_that_breaks_off_is_a_lost_connection(transport_to):
    with serving(lambda _: stream(b"data: x\n\n", None)) as fake, transport_to(fake).stream("/e") as opened:
        assert next(opened).data == "x"
        with pytest.raises(ConnectionLost):
            next(opened)


def test_a_stream_of_status_204_ends_at_once(transport_to):
    with serving(lambda _: Answer(204)) as fake, transport_to(fake).stream("/e") as opened:
        assert (opened.status, list(opened)) == (204, [])


def test_a_refused_stream_is_raised_as_its_problem(transport_to):
    with serving(lambda _: problem(404, "run_not_found")) as fake, pytest.raises(errors.RunNotFound):
        transport_to(fake).stream("/e")


def test_something_else_than_a_stream_is_refused(transport_to):
    with serving(lambda _: Answer(200, b"hi", {"Content-Type": "text/html"})) as fake, pytest.raises(UnexpectedAnswer):
        transport_to(fake).stream("/e")


def test_a_stream_can_be_closed_from_another_thread(transport_to):
    release = threading.Event()

    def chunks():
        yield b"data: x\n\n"
        release.wait(10)

    answer = Answer(headers={"Content-Type": "text/event-stream"}, chunks=chunks())
    with serving(lambda _: answer) as fake, transport_to(fake).stream("/e") as opened:
        assert next(opened).data == "x"
        closer = threading.Timer(0.02, opened.close)
        closer.start()
        assert list(opened) == []
        closer.join()
        release.set()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8006", ("http://127.0.0.1:8006", False, "127.0.0.1", 8006, "")),
        ("localhost:9/", ("http://localhost:9", False, "localhost", 9, "")),
        ("https://h.example/tasks/", ("https://h.example/tasks", True, "h.example", 443, "/tasks")),
        ("http://[::1]:80", ("http://[::1]:80", False, "::1", 80, "")),
    ],
)
def test_a_url_is_read(url, expected):
    assert expected == tuple(Address.parse(url))


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "http://x:notaport", "http://x?y=1"])
def test_what_is_no_url_of_a_server_is_refused(url):
    with pytest.raises(errors.BadParameter):
        Transport(url)


def test_the_transport_imports_nothing_heavy():
    script = "import sys, headway.client.transport; print([m for m in ('asyncio','aiohttp','email','http','rich','click','requests') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
