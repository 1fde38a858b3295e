"""The way to several servers: claim, report and signals stream are with one of them, and move together."""

import threading
from contextlib import contextmanager
from itertools import count

import pytest
from tests.client.server import Answer, problem, serving

from headway.client.errors import ConnectionLost
from headway.client.transport import Transport
from headway.errors import Draining, WorkerNotFound
from headway.protocol.workers import ClaimRuns, ReportRuns, StopSignal
from headway.worker.protocol.link import HttpLink

CLAIM, REPORT, SIGNALS = "/v1/leases:claim", "/v1/leases:report", "/v1/workers/w1/signals"
DRAIN = "/v1/workers/w1:drain"
STOP = b'event: stop\ndata: {"run_id":"r1","epoch":1,"grace_ms":10}\n\n'


class ScriptedServer:
    """One of the servers, from the script of a test: what it answers, and what waits until it is let go."""

    def __init__(self):
        self.answers = {
            CLAIM: Answer(200, {"leases": []}),
            REPORT: Answer(200, {"rejected": [], "replies": [], "lost": [], "stop": []}),
            DRAIN: Answer(200, {}),
        }
        self.held = set()
        """Paths that are answered only in the end."""
        self.asked = threading.Semaphore(0)
        self.end = threading.Event()
        self.streams = [STOP]
        """What a signals stream says before it is held open, or before it breaks, if the last of it is None."""

    def __call__(self, request):
        self.asked.release()
        if request.path in self.held:
            self.end.wait(20)
        if request.path == SIGNALS and SIGNALS not in self.answers:
            return Answer(headers={"Content-Type": "text/event-stream"}, chunks=self._stream())
        return self.answers[request.path]

    def _stream(self):
        yield from self.streams
        self.end.wait(20)


@contextmanager
def linked():
    places = ScriptedServer(), ScriptedServer()
    with serving(places[0]) as first, serving(places[1]) as second:
        link = HttpLink(*(Transport(fake.url) for fake in (first, second)))
        try:
            yield link, places, (first, second)
        finally:
            link.close()
            for place in places:
                place.end.set()


def paths(fake):
    return [request.path for request in fake.requests]


def claim(link):
    return link.claim(ClaimRuns(worker_id="w1", max=1, wait="20s"), count(1).__next__)


def report(link):
    return link.report(ReportRuns(worker_id="w1"))


@contextmanager
def meanwhile(work):
    """Do it in a thread; at the end it has to be done."""
    found = []

    def run():
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield found
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("failure", [Answer(drop=True), problem(503, "draining")], ids=["dead", "draining"])
def test_what_fails_at_one_server_is_asked_of_the_other_and_so_is_all_that_follows(failure):
    with linked() as (link, (one, _), (first, second)):
        one.answers[CLAIM] = failure
        assert claim(link) == []
        report(link)
        link.drain("w1")
    assert (paths(first), paths(second)) == ([CLAIM], [CLAIM, REPORT, DRAIN])


def test_a_claim_that_is_asked_of_another_server_has_another_number():
    """The first may have taken runs for it, and the second must not be thought to have."""
    with linked() as (link, (one, _), (first, second)):
        one.answers[CLAIM] = problem(503, "draining")
        claim(link)
    assert [fake.requests[0].json()["number"] for fake in (first, second)] == [1, 2]


def test_a_refusal_is_an_answer_and_no_reason_to_move():
    with linked() as (link, (one, _), (first, second)):
        one.answers[REPORT] = problem(404, "worker_not_found")
        with pytest.raises(WorkerNotFound):
            report(link)
        claim(link)
    assert (paths(first), paths(second)) == ([REPORT, CLAIM], [])


def test_a_call_that_all_servers_fail_says_so_after_one_round():
    with linked() as (link, (one, other), (first, second)):
        one.answers[REPORT], other.answers[REPORT] = Answer(drop=True), problem(503, "draining")
        with pytest.raises(Draining):
            report(link)
    assert (paths(first), paths(second)) == ([REPORT], [REPORT])


def test_the_signals_stream_ends_when_a_report_moves():
    with linked() as (link, (one, _), (first, second)):
        one.answers[REPORT] = problem(503, "storage_failed")
        with link.signals("w1") as stream:
            signals = iter(stream)
            assert next(signals) == StopSignal(run_id="r1", epoch=1, grace_ms=10)
            with meanwhile(lambda: list(signals)) as rest:
                report(link)
            assert rest == [[]]
        with link.signals("w1") as stream:
            assert next(iter(stream)).run_id == "r1"
    assert (paths(first), paths(second)) == ([SIGNALS, REPORT], [REPORT, SIGNALS])


@pytest.mark.parametrize("end", [[None], []], ids=["breaks", "ends"])
def test_claims_and_reports_move_when_the_signals_stream_is_over(end):
    with linked() as (link, (one, _), (first, second)):
        one.streams = [STOP, *end]
        if not end:
            one.end.set()
        with link.signals("w1") as stream:
            assert [signal.run_id for signal in stream] == ["r1"]
        claim(link)
        report(link)
    assert (paths(first), paths(second)) == ([SIGNALS], [CLAIM, REPORT])


def test_a_stream_that_we_end_moves_nobody():
    with linked() as (link, _, (first, second)):
        with link.signals("w1") as stream:
            signals = iter(stream)
            next(signals)
            stream.close()
            assert list(signals) == []
        report(link)
    assert (paths(first), paths(second)) == ([SIGNALS, REPORT], [])


@pytest.mark.parametrize("used", [False, True], ids=["new connection", "used connection"])
def test_a_claim_that_waits_at_a_server_that_has_frozen_moves_with_the_reports(used, monkeypatch):
    monkeypatch.setattr("headway.worker.protocol.link.REPORT_TIMEOUT_S", 0.2)
    with linked() as (link, (one, _), (first, second)):
        if used:
            claim(link)
            one.asked.acquire()
        one.held = {CLAIM, REPORT}
        with meanwhile(lambda: claim(link)) as claimed:
            assert one.asked.acquire(timeout=10)
            report(link)
        assert claimed == [[]]
    assert paths(first).count(CLAIM) == 1 + used
    assert sorted(paths(second)) == [CLAIM, REPORT]


def test_a_stream_that_was_being_opened_while_the_others_moved_is_not_listened_to():
    with linked() as (link, (one, _), (first, second)):
        one.held, one.answers[CLAIM] = {SIGNALS}, problem(503, "draining")
        with meanwhile(lambda: list(link.signals("w1"))) as heard:
            assert one.asked.acquire(timeout=10)
            claim(link)
            one.end.set()
        assert heard == [[]]
    assert (paths(first), paths(second)) == ([SIGNALS, CLAIM], [CLAIM])


def test_a_worker_with_one_server_asks_it_once_and_hangs_up_on_nobody():
    with serving(ScriptedServer()) as fake:
        place = fake.handle
        place.answers[REPORT] = Answer(drop=True)
        link = HttpLink(Transport(fake.url))
        with link.signals("w1") as stream:
            signals = iter(stream)
            next(signals)
            with pytest.raises(ConnectionLost):
                report(link)
            with meanwhile(lambda: next(signals, "over")) as heard:
                assert heard == []
                link.close()
            assert heard == ["over"]
        place.end.set()
    assert paths(fake) == [SIGNALS, REPORT]
